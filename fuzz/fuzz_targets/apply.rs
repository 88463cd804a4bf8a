//! A layer, applied: the contract of writers is kept, and tar-split gives back the archive. The properties are in
//! `vcontainer_store::fuzzing`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::archive;
use vcontainer_image::Compression;
use vcontainer_store::fuzzing;

fuzz_target!(|data: &[u8]| match data.first() {
    // A blob that may be a compressed stream.
    Some(mode) if mode & 2 != 0 => {
        let blob = &data[1..];
        if let Ok(compression) = Compression::sniff(blob) {
            fuzzing::apply_blob(blob, compression);
        }
    }
    _ => fuzzing::apply(&archive::tar(data)),
});
