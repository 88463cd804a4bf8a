//! The JSON indexes of Docker's and Podman's stores, and what is merged into them. The properties are in `vcontainer_store::fuzzing`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vcontainer_store::fuzzing::indexes(data));
