//! containerd's records in a bbolt file: see `vcontainer_store::fuzzing`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vcontainer_store::fuzzing::containerd(data));
