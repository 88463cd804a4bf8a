//! Several layers on each other, made of few names that get in each other's way. The properties are in `vcontainer_store::fuzzing`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vcontainer_store::fuzzing::layers(data));
