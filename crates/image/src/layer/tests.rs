use std::io::{BufReader, Read};

use proptest::prelude::*;

use super::*;

/// A ustar header block with a right checksum.
fn header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0004755\0");
    block[108..116].copy_from_slice(b"0001750\0");
    block[116..124].copy_from_slice(b"0000144\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000012\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    checksum(block)
}

fn checksum(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    [header(name, kind, content.len() as u64), padded(content)].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length += 1;
        }
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    member(b"PaxHeaders/x", b'x', &data)
}

const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn first(archive: &[u8]) -> Result<LayerEntry, LayerError> {
    match LayerReader::new(archive).next_item()? {
        Some(LayerItem::Entry(entry)) => Ok(entry),
        other => panic!("{other:?}"),
    }
}

fn fault(archive: &[u8]) -> EntryFault {
    match first(archive) {
        Err(LayerError::Entry { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

/// An item, the raw bytes before it, its content.
type Walked = (LayerItem, Vec<u8>, Vec<u8>);

/// All items, and the raw bytes at the end.
fn walk(archive: &[u8], buffer: usize) -> (Vec<Walked>, Vec<u8>) {
    let mut reader = LayerReader::new(BufReader::with_capacity(buffer, archive));
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let segment = reader.segment().to_vec();
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        items.push((item, segment, content));
    }
    let mut end = reader.segment().to_vec();
    reader.into_inner().read_to_end(&mut end).unwrap();
    (items, end)
}

#[test]
fn pax_records_win_over_the_header_and_keep_every_byte() {
    let capability = b"\x01\0\0\x02\0\x0a=\n\0\0";
    let archive = [
        pax(&[
            ("path", "ü/very".as_bytes()),
            ("SCHILY.xattr.user.z", b""),
            ("SCHILY.xattr.security.capability", capability),
            ("uid", b"3000000"),
            ("mtime", b"1700000000.25"),
            ("size", b""),
            ("LIBARCHIVE.xattr.user.other", b"AA=="),
        ]),
        member(b"short", b'0', b"hello"),
        END.to_vec(),
    ]
    .concat();
    let entry = first(&archive).unwrap();
    assert_eq!(entry.raw_name, "ü/very".as_bytes());
    assert_eq!(entry.kind, EntryKind::File { size: 5 });
    assert_eq!(
        (entry.meta.mode, entry.meta.uid, entry.meta.gid),
        (0o4755, 3_000_000, 100)
    );
    assert_eq!(
        entry.meta.mtime,
        Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 250_000_000
        }
    );
    let xattrs: Vec<_> = entry
        .meta
        .xattrs
        .iter()
        .map(|x| (&x.name[..], &x.value[..]))
        .collect();
    assert_eq!(
        xattrs,
        [(&b"security.capability"[..], &capability[..]), (b"user.z", b"")]
    );
}

#[test]
fn of_a_repeated_attribute_the_last_one_counts() {
    let records: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.user.a", b"1"),
        ("SCHILY.xattr.user.b", b"x"),
        ("SCHILY.xattr.user.a", b"2"),
    ];
    let entry = first(&[pax(&records), header(b"f", b'0', 0)].concat()).unwrap();
    let values: Vec<_> = entry.meta.xattrs.iter().map(|x| &x.value[..]).collect();
    assert_eq!(values, [b"2", b"x"]);
}

#[test]
fn gnu_long_names_win_over_pax_as_in_go() {
    let name = [&b"d/".repeat(100)[..], b"f"].concat();
    let archive = [
        pax(&[("path", b"pax")]),
        member(b"././@LongLink", b'L', &[&name[..], b"\0"].concat()),
        member(b"././@LongLink", b'K', b"target\0"),
        header(b"short", b'2', 0),
    ]
    .concat();
    let entry = first(&archive).unwrap();
    assert_eq!(entry.raw_name, name);
    assert_eq!(
        entry.kind,
        EntryKind::Symlink {
            target: b"target".to_vec()
        }
    );
}

#[test]
fn prefixes_join_by_format() {
    let mut ustar = header(b"name", b'0', 0);
    ustar[345..350].copy_from_slice(b"prefi");
    assert_eq!(first(&checksum(ustar.clone())).unwrap().raw_name, b"prefi/name");
    // GNU headers have an access time there.
    ustar[257..265].copy_from_slice(b"ustar  \0");
    ustar[345..357].copy_from_slice(b"00000000012\0");
    assert_eq!(first(&checksum(ustar.clone())).unwrap().raw_name, b"name");
    ustar[257..265].fill(0);
    assert_eq!(first(&checksum(ustar)).unwrap().raw_name, b"name");
}

#[test]
fn old_archives_tell_directories_by_a_slash() {
    assert_eq!(first(&header(b"d/", 0, 0)).unwrap().kind, EntryKind::Directory);
    assert_eq!(
        first(&header(b"f", 0, 0)).unwrap().kind,
        EntryKind::File { size: 0 }
    );
    assert_eq!(
        first(&header(b"d/", b'0', 0)).unwrap().kind,
        EntryKind::File { size: 0 }
    );
}

#[test]
fn devices_and_links_are_resolved() {
    let mut device = header(b"dev/null", b'3', 0);
    device[329..337].copy_from_slice(b"0000001\0");
    device[337..345].copy_from_slice(b"0000003\0");
    assert_eq!(
        first(&checksum(device)).unwrap().kind,
        EntryKind::Char { major: 1, minor: 3 }
    );
    let mut link = header(b"a", b'1', 0);
    link[157..163].copy_from_slice(b"/./b/c");
    let target = TreePath::clean(b"b/c").unwrap();
    assert_eq!(
        first(&checksum(link)).unwrap().kind,
        EntryKind::Hardlink { target }
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    assert_eq!(fault(&header(b"f", b'S', 0)), EntryFault::Sparse);
    let sparse = [pax(&[("GNU.sparse.major", b"1")]), header(b"f", b'0', 0)].concat();
    assert_eq!(fault(&sparse), EntryFault::Sparse);
    assert_eq!(fault(&header(b"d/", b'5', 3)), EntryFault::SizeWithoutContent(3));
    assert_eq!(fault(&header(b"f", b'V', 0)), EntryFault::Type(b'V'));
    assert_eq!(fault(&header(b"./", b'0', 0)), EntryFault::Root);
    assert_eq!(fault(&header(b"l", b'2', 0)), EntryFault::NoTarget);
    assert!(matches!(
        fault(&header(b"a/../../b", b'0', 0)),
        EntryFault::Path(TreePathError::Escapes(_))
    ));
    assert_eq!(
        fault(&[pax(&[("path", &[b'x'; 256])]), header(b"f", b'0', 0)].concat()),
        EntryFault::TooLong
    );
    let value = vec![0; 65537];
    let xattr = [pax(&[("SCHILY.xattr.user.x", &value)]), header(b"f", b'0', 0)].concat();
    assert_eq!(fault(&xattr), EntryFault::Xattr);
    for uid in [&b"-1"[..], b"4294967295", b"x"] {
        let owner = [pax(&[("uid", uid)]), header(b"f", b'0', 0)].concat();
        assert_eq!(fault(&owner), EntryFault::Range("user id"));
    }
    let long_link = [pax(&[("linkpath", &[b'x'; 4096])]), header(b"l", b'2', 0)].concat();
    assert_eq!(fault(&long_link), EntryFault::TooLong);
    let error = first(&header(b"\xff\n", b'V', 0)).unwrap_err();
    assert_eq!(error.to_string(), "entry `\\xff\\n` has the unknown type `V`");
}

#[test]
fn damaged_archives_are_errors() {
    let whole = [member(b"f", b'0', &[7; 1000]), END.to_vec()].concat();
    let walk = |archive: &[u8]| {
        let mut reader = LayerReader::new(archive);
        loop {
            match reader.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    assert!(walk(&whole).is_ok());
    assert!(walk(&whole[..BLOCK + 1000]).is_ok(), "only padding is missing");
    assert!(walk(&whole[..2 * BLOCK + BLOCK]).is_ok(), "no end marker");
    assert!(matches!(
        walk(&whole[..BLOCK + 999]),
        Err(LayerError::Truncated { offset: 1511 })
    ));
    assert!(matches!(
        walk(&whole[..100]),
        Err(LayerError::Truncated { offset: 100 })
    ));
    let mut flipped = whole.clone();
    flipped[0] ^= 1;
    assert!(matches!(
        walk(&flipped),
        Err(LayerError::Header {
            offset: 0,
            fault: HeaderFault::Checksum
        })
    ));
    let lone = [vec![0; BLOCK], member(b"f", b'0', b"")].concat();
    assert!(matches!(
        walk(&lone),
        Err(LayerError::LoneZeroBlock { offset: 0 })
    ));
    let huge = header(b"x", b'x', 2 << 20);
    assert!(matches!(walk(&huge), Err(LayerError::Extended { offset: 0, .. })));
    let endless = pax(&[("comment", &[b'x'; 1000])]).repeat(3000);
    assert!(matches!(walk(&endless), Err(LayerError::Extended { .. })));
}

#[test]
fn a_global_header_is_an_item_of_its_own() {
    let mut global = pax(&[("comment", b"x")]);
    global[156] = b'g';
    let global = [checksum(global[..BLOCK].to_vec()), global[BLOCK..].to_vec()].concat();
    let archive = [&global[..], &member(b"f", b'0', b"abc"), &END].concat();
    let (items, _) = walk(&archive, 100);
    assert!(matches!(&items[0].0, LayerItem::GlobalHeader { raw_name } if raw_name == b"PaxHeaders/x"));
    // The padding of its data counts to the next segment, as in Go.
    assert_eq!(items[0].1, &archive[..BLOCK + 13]);
    assert_eq!(items[1].1, &archive[BLOCK + 13..3 * BLOCK]);
}

proptest! {
    #[test]
    fn segments_and_contents_are_the_archive(
        members in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..1500), any::<bool>()), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..700),
        buffer in 1usize..2000,
    ) {
        let mut archive = Vec::new();
        for (name, content, extended) in &members {
            if *extended {
                archive.extend(pax(&[("path", name.as_bytes()), ("SCHILY.xattr.user.x", content)]));
            }
            archive.extend(member(name.as_bytes(), b'0', content));
        }
        archive.extend(END);
        archive.extend(&tail);
        let (items, end) = walk(&archive, buffer);
        prop_assert_eq!(items.len(), members.len());
        let mut rebuilt = Vec::new();
        for ((_, segment, content), (_, expected, _)) in items.iter().zip(&members) {
            prop_assert_eq!(content, expected);
            rebuilt.extend(segment);
            rebuilt.extend(content);
        }
        rebuilt.extend(end);
        prop_assert_eq!(rebuilt, archive);
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut archive in prop::collection::vec(any::<u8>(), 0..4096),
        valid in 0usize..8,
    ) {
        // Some blocks get a right checksum, so that what is behind it is reached.
        for block in archive.chunks_exact_mut(BLOCK).take(valid) {
            block[257..265].copy_from_slice(b"ustar\x0000");
            block[156] = b"05123xgLKS"[usize::from(block[156]) % 10];
            block[100..148].fill(b'0');
            block.copy_from_slice(&checksum(block.to_vec()));
        }
        let mut reader = LayerReader::new(&archive[..]);
        while let Ok(Some(_)) = reader.next_item() {}
    }
}
