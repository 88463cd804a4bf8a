//! Archives to start from, for the fuzz targets that read tar: files would be mostly zeros.

use std::io;
use std::path::Path;

/// What each of these targets' first byte says: take the rest as an archive and mend its checksums.
const TARGETS: [(&str, u8); 3] = [("layer", 1), ("archive", 3), ("apply", 1)];

/// Writes the seeds of every target that reads archives.
pub(super) fn write(corpus: &Path) -> io::Result<()> {
    for (target, mode) in TARGETS {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, archive) in archives() {
            std::fs::write(
                folder.join(format!("seed-{name}")),
                [&[mode][..], &archive].concat(),
            )?;
        }
    }
    Ok(())
}

fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let usual = [
        entry(b"usr/", b'5', b"", b""),
        entry(b"usr/bin/sh", b'0', b"", b"content"),
        entry(b"bin", b'2', b"usr/bin", b""),
        entry(b"bin/bash", b'1', b"bin/sh", b""),
        entry(b"dev/null", b'3', b"", b""),
        entry(b"etc/.wh.passwd", b'0', b"", b""),
        entry(b"var/.wh..wh..opq", b'0', b"", b""),
    ];
    let pax = [
        entry(
            b"pax",
            b'x',
            b"",
            b"17 path=usr/long\n21 mtime=1700000.125\n25 SCHILY.xattr.user.a=b\n",
        ),
        entry(b"short", b'0', b"", b"x"),
        entry(b"global", b'g', b"", b"13 comment=a\n"),
        entry(b"end", b'6', b"", b""),
    ];
    let gnu = [
        entry(b"././@LongLink", b'L', b"", b"a/long/name\0"),
        entry(b"././@LongLink", b'K', b"", b"a/long/target\0"),
        entry(b"short", b'2', b"target", b""),
    ];
    let image = [
        entry(b"blobs/sha256/x", b'0', b"", b"{}"),
        entry(b"index.json", b'0', b"", br#"{"schemaVersion":2,"manifests":[]}"#),
        entry(b"manifest.json", b'2', b"blobs/sha256/x", b""),
    ];
    [
        ("usual", usual.concat()),
        ("pax", pax.concat()),
        ("gnu", gnu.concat()),
        ("image", image.concat()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name, [bytes, vec![0; 1024]].concat()))
    .collect()
}

/// A ustar header without its checksum, which the targets mend, and padded content.
fn entry(name: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    for (at, digits) in [
        (100, "0000755"),
        (108, "0001750"),
        (116, "0001750"),
        (136, "14500000000"),
    ] {
        block[at..at + digits.len()].copy_from_slice(digits.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}
