//! Compressed streams: told by their first bytes, inflated in bounded memory.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use vcontainer_image::Compression;

fuzz_target!(|data: &[u8]| {
    let Ok(compression) = Compression::sniff(data) else {
        return;
    };
    let Ok(stream) = compression.reader(data) else {
        return;
    };
    let mut stream = stream.take(16 << 20);
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    while let Ok(count) = stream.read(&mut buffer) {
        total += count;
        if count == 0 {
            assert!(compression != Compression::None || total == data.len());
            return;
        }
    }
});
