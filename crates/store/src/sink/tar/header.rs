//! The headers of one tar entry: ustar, preceded by a PAX extended header for what does not fit (POSIX.1-2017, pax).

use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath};

const BLOCK: usize = 512;
/// The name of every extended header. Readers take no notice of it; it must be the same each time.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// Why an entry has no form in a tar stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the device number {major}:{minor} does not fit into a tar header")]
    Device { major: u32, minor: u32 },
}

/// The header blocks of an entry at `path`. A hard link's metadata is its target's: readers do not look at its own.
pub(super) fn encode(path: &TreePath, kind: &EntryKind, meta: &Meta) -> Result<Vec<u8>, HeaderError> {
    let mut header = Header::new();
    header.bytes(
        "path",
        0..100,
        &name_of(path, matches!(kind, EntryKind::Directory)),
    );
    header.octal(100..108, u64::from(meta.mode));
    header.number("uid", 108..116, u64::from(meta.uid));
    header.number("gid", 116..124, u64::from(meta.gid));
    header.number(
        "size",
        124..136,
        if let EntryKind::File { size } = kind {
            *size
        } else {
            0
        },
    );
    header.time(meta.mtime);
    header.block[156] = match kind {
        EntryKind::File { .. } => b'0',
        EntryKind::Hardlink { .. } => b'1',
        EntryKind::Symlink { .. } => b'2',
        EntryKind::Char { .. } => b'3',
        EntryKind::Block { .. } => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    match kind {
        EntryKind::Hardlink { target } => header.bytes("linkpath", 157..257, &name_of(target, false)),
        EntryKind::Symlink { target } => header.bytes("linkpath", 157..257, target),
        EntryKind::Char { major, minor } | EntryKind::Block { major, minor } => {
            let (major, minor) = (*major, *minor);
            if major > 0o7_777_777 || minor > 0o7_777_777 {
                return Err(HeaderError::Device { major, minor });
            }
            header.octal(329..337, u64::from(major));
            header.octal(337..345, u64::from(minor));
        }
        _ => {}
    }
    for xattr in &meta.xattrs {
        let key = [b"SCHILY.xattr.", &xattr_key(&xattr.name)[..]].concat();
        header.record(&key, &xattr.value);
    }
    Ok(header.finish())
}

/// `./a/b`, as `tar -c .` writes it; a directory with a slash at its end.
fn name_of(path: &TreePath, directory: bool) -> Vec<u8> {
    let slash: &[u8] = if directory && !path.is_root() { b"/" } else { b"" };
    [b"./", path.as_bytes(), slash].concat()
}

/// A record's key ends at the first `=`; GNU tar writes one within a name, and the `%` that this needs, like this.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

struct Header {
    block: [u8; BLOCK],
    records: Vec<u8>,
    /// Whether the records' names were declared to be plain bytes.
    binary: bool,
}

impl Header {
    fn new() -> Self {
        Self {
            block: [0; BLOCK],
            records: Vec::new(),
            binary: false,
        }
    }

    /// A name: in the header when it fits, else in a record. Names are bytes, but records are UTF-8, which bsdtar
    /// converts to its locale's character set or gives up, unless they are declared to be what they are (POSIX, pax,
    /// `hdrcharset`).
    fn bytes(&mut self, key: &str, field: std::ops::Range<usize>, value: &[u8]) {
        let length = value.len().min(field.len());
        self.block[field][..length].copy_from_slice(&value[..length]);
        if length < value.len() {
            if !value.is_ascii() && !self.binary {
                self.record(b"hdrcharset", b"BINARY");
                self.binary = true;
            }
            self.record(key.as_bytes(), value);
        }
    }

    fn octal(&mut self, field: std::ops::Range<usize>, value: u64) {
        let digits = format!("{value:0width$o}", width = field.len() - 1);
        self.block[field][..digits.len()].copy_from_slice(digits.as_bytes());
    }

    /// A number: in the header when its octal digits fit, else in a record.
    fn number(&mut self, key: &str, field: std::ops::Range<usize>, value: u64) {
        if value < 1 << (3 * (field.len() - 1)) {
            self.octal(field, value);
        } else {
            self.octal(field, 0);
            self.record(key.as_bytes(), value.to_string().as_bytes());
        }
    }

    /// The header takes whole seconds from 1970 to 2242.
    fn time(&mut self, time: Timestamp) {
        let plain = u64::try_from(time.seconds)
            .ok()
            .filter(|seconds| *seconds < 1 << 33);
        self.octal(136..148, plain.unwrap_or(0));
        if plain.is_none() || time.nanoseconds != 0 {
            self.record(b"mtime", decimal(time).as_bytes());
        }
    }

    /// `LENGTH KEY=VALUE\n`, where LENGTH counts all of it.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        let rest = 1 + key.len() + 1 + value.len() + 1;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            self.records.extend_from_slice(part);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let mut blocks = Vec::new();
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            let mut pax = Header::new();
            pax.bytes("path", 0..100, PAX_NAME);
            pax.octal(100..108, 0o644);
            pax.octal(108..116, 0);
            pax.octal(116..124, 0);
            // 64 KiB an attribute, 4 KiB a path: far from 8 GiB.
            pax.octal(124..136, records.len() as u64);
            pax.octal(136..148, 0);
            pax.block[156] = b'x';
            pax.seal();
            blocks.extend_from_slice(&pax.block);
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        self.seal();
        blocks.extend_from_slice(&self.block);
        blocks
    }

    fn seal(&mut self) {
        self.block[257..265].copy_from_slice(b"ustar\x0000");
        self.block[148..156].fill(b' ');
        let sum: u64 = self.block.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148..155, sum);
    }
}

/// Seconds since 1970 as a decimal number, which for a time before counts backwards from 0.
fn decimal(time: Timestamp) -> String {
    let (sign, whole, fraction) = match (time.seconds, time.nanoseconds) {
        (seconds, nanoseconds) if seconds >= 0 => ("", seconds.unsigned_abs(), nanoseconds),
        (seconds, 0) => ("-", seconds.unsigned_abs(), 0),
        (seconds, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{fraction:09}")
        .trim_end_matches('0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_decimal_numbers() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (5, 500_000_000, "5.5"),
            (-2, 500_000_000, "-1.5"),
            (-1, 999_999_999, "-0.000000001"),
            (-3, 0, "-3"),
        ] {
            assert_eq!(decimal(Timestamp { seconds, nanoseconds }), text);
        }
    }

    #[test]
    fn record_lengths_count_themselves() {
        for size in (80..110).chain(975..1010).chain(9980..10010) {
            let mut header = Header::new();
            header.record(b"k", &vec![b'v'; size]);
            let text = String::from_utf8(header.records.clone()).unwrap();
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, header.records.len());
        }
    }

    #[test]
    fn device_numbers_out_of_range_are_refused() {
        let kind = EntryKind::Char {
            major: 1 << 21,
            minor: 0,
        };
        assert!(encode(&TreePath::clean(b"d").unwrap(), &kind, &Meta::default()).is_err());
    }

    proptest! {
        /// The reader that the rest of the project uses gives back what was written.
        #[test]
        fn what_is_written_is_read_back(
            path in prop::collection::vec(1..=255_u8, 1..300),
            mode in 0..=0o7777_u32,
            uid: u32,
            gid: u32,
            size: u64,
            seconds in 0..1_u64 << 40,
            xattr in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let Ok(path) = TreePath::clean(&path) else { return Ok(()) };
            prop_assume!(!path.is_root());
            let mtime = Timestamp { seconds: i64::try_from(seconds).unwrap(), nanoseconds: 0 };
            let xattrs = vec![vcontainer_image::Xattr { name: b"user.x".to_vec(), value: xattr.clone() }];
            let meta = Meta { mode, uid, gid, mtime, xattrs };
            let bytes = encode(&path, &EntryKind::File { size }, &meta).unwrap();
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let mut parser = tar_core::parse::Parser::new(tar_core::parse::Limits::permissive());
            let event = parser.parse(&bytes).unwrap();
            let tar_core::parse::ParseEvent::Entry { entry, .. } = event else {
                panic!("{event:?}");
            };
            prop_assert_eq!(&entry.path[..], &name_of(&path, false)[..]);
            prop_assert_eq!((entry.mode, entry.uid, entry.gid), (mode, u64::from(uid), u64::from(gid)));
            prop_assert_eq!((entry.size, entry.mtime), (size, seconds));
            prop_assert_eq!(&entry.xattrs[0].1[..], &xattr[..]);
        }
    }
}
