//! The reader of layers: whatever comes, no entry leaves the root, and no byte of the stream is lost.
#![no_main]

use std::io::{BufRead, BufReader, Read};

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::archive;
use vcontainer_image::{EntryKind, LayerEntry, LayerItem, LayerReader, TreePath};

fuzz_target!(|data: &[u8]| {
    let archive = archive::tar(data);
    let (items, bytes, error) = walk(&archive[..]);
    assert!(archive.starts_with(&bytes) || error);
    // The same through a buffer that divides every header and content.
    let (again, bytes_again, error_again) = walk(BufReader::with_capacity(7, &archive[..]));
    assert_eq!((items, bytes, error), (again, bytes_again, error_again));
});

/// All items, all raw bytes in order, and whether it ended with an error.
fn walk(stream: impl BufRead) -> (Vec<LayerItem>, Vec<u8>, bool) {
    let mut reader = LayerReader::new(stream);
    let (mut items, mut bytes) = (Vec::new(), Vec::new());
    loop {
        let item = match reader.next_item() {
            Err(_) => return (items, bytes, true),
            Ok(None) => {
                bytes.extend_from_slice(reader.segment());
                assert_eq!(bytes.len() as u64, reader.offset());
                return (items, bytes, false);
            }
            Ok(Some(item)) => item,
        };
        bytes.extend_from_slice(reader.segment());
        if let LayerItem::Entry(entry) = &item {
            check(entry);
            // Only the start of some contents is taken: the reader skips the rest.
            let mut content = reader.content();
            if content.left() <= 1 << 20 && content.read_to_end(&mut bytes).is_err() {
                return (items, bytes, true);
            }
        }
        assert_eq!(bytes.len() as u64, reader.offset());
        items.push(item);
    }
}

fn check(entry: &LayerEntry) {
    let clean = |path: &TreePath| {
        assert_eq!(TreePath::clean(path.as_bytes()).as_ref(), Ok(path));
        assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..")));
    };
    clean(&entry.path);
    assert!(entry.path.as_bytes().len() <= 4095);
    assert!(entry.path.components().all(|name| name.len() <= 255));
    match &entry.kind {
        EntryKind::Hardlink { target } => clean(target),
        EntryKind::Symlink { target } => assert!(!target.is_empty() && !target.contains(&0)),
        _ => {}
    }
    assert!(entry.meta.mode <= 0o7777 && entry.meta.mtime.nanoseconds < 1_000_000_000);
    assert!(entry.meta.uid != u32::MAX && entry.meta.gid != u32::MAX);
    assert!(entry.meta.xattrs.is_sorted_by(|a, b| a.name < b.name));
}
