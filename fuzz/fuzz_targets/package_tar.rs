//! The tar archives of Debian packages: clean names, and never more content than there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_debian::tar::{EntryKind, Reader};
use vcontainer_fuzz::archive;

fuzz_target!(|data: &[u8]| {
    let data = archive::tar(data);
    let mut reader = Reader::new(&data[..]);
    let mut total = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        let names = entry.path.split(|byte| *byte == b'/');
        assert!(entry.path.is_empty() || names.clone().all(|name| !matches!(name, b"" | b"." | b"..")));
        assert!(entry.mode <= 0o7777);
        let EntryKind::File(size) = entry.kind else { continue };
        let (mut buffer, mut read) = ([0; 512], 0_u64);
        while let Ok(count) = reader.content(&mut buffer) {
            if count == 0 {
                break;
            }
            read += count as u64;
        }
        assert!(read <= size);
        total += read;
    }
    assert!(total <= data.len() as u64);
});
