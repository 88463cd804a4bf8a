//! Tar archives byte by byte, so that a test says exactly what is in a layer. Everything odd is allowed here.
//!
//! Formats: POSIX.1-2024 `pax` (extended header records) and the GNU tar manual, "Basic Tar Format".

const BLOCK: usize = 512;

/// How names that don't fit the header, and everything else beyond it, are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PAX extended headers.
    Pax,
    /// GNU `L` and `K` entries; has no place for extended attributes or fractions of seconds.
    Gnu,
}

/// Metadata of an entry.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Permission bits with setuid, setgid, sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970, nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes, name and value.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Meta {
    /// Owned by root, at a fixed time.
    pub fn mode(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime: (1_600_000_000, 0),
            xattrs: Vec::new(),
        }
    }

    /// With this owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// With this modification time.
    #[must_use]
    pub fn mtime(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.mtime = (seconds, nanoseconds);
        self
    }

    /// With one more extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }
}

/// An archive being written.
pub struct Tarball {
    format: Format,
    bytes: Vec<u8>,
}

impl Tarball {
    /// An empty archive.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            bytes: Vec::new(),
        }
    }

    /// A directory; the name should end with a slash, as every tar program writes it.
    #[must_use]
    pub fn directory(self, name: impl AsRef<[u8]>, meta: Meta) -> Self {
        self.entry(b'5', name.as_ref(), &meta, b"", (0, 0), b"")
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, name: impl AsRef<[u8]>, meta: Meta, content: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', name.as_ref(), &meta, b"", (0, 0), content.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(
            b'2',
            name.as_ref(),
            &Meta::mode(0o777),
            target.as_ref(),
            (0, 0),
            b"",
        )
    }

    /// A hard link to an earlier entry.
    #[must_use]
    pub fn hardlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>, meta: Meta) -> Self {
        self.entry(b'1', name.as_ref(), &meta, target.as_ref(), (0, 0), b"")
    }

    /// A character device.
    #[must_use]
    pub fn char_device(self, name: impl AsRef<[u8]>, meta: Meta, device: (u32, u32)) -> Self {
        self.entry(b'3', name.as_ref(), &meta, b"", device, b"")
    }

    /// A block device.
    #[must_use]
    pub fn block_device(self, name: impl AsRef<[u8]>, meta: Meta, device: (u32, u32)) -> Self {
        self.entry(b'4', name.as_ref(), &meta, b"", device, b"")
    }

    /// A named pipe.
    #[must_use]
    pub fn fifo(self, name: impl AsRef<[u8]>, meta: Meta) -> Self {
        self.entry(b'6', name.as_ref(), &meta, b"", (0, 0), b"")
    }

    /// A whiteout of `name` (`dir/name` becomes the empty file `dir/.wh.name`).
    #[must_use]
    pub fn whiteout(self, name: &str) -> Self {
        let (parent, base) = name
            .rsplit_once('/')
            .map_or(("", name), |(parent, base)| (parent, base));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.file(format!("{parent}{slash}.wh.{base}"), Meta::mode(0o644), "")
    }

    /// A mark that makes `directory` opaque.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.file(format!("{directory}/.wh..wh..opq"), Meta::mode(0o644), "")
    }

    /// An entry of any type, as it stands.
    #[must_use]
    pub fn entry(
        mut self,
        kind: u8,
        name: &[u8],
        meta: &Meta,
        link: &[u8],
        device: (u32, u32),
        content: &[u8],
    ) -> Self {
        match self.format {
            Format::Pax => {
                let mut records = Vec::new();
                if name.len() > 100 {
                    record(&mut records, "path", name);
                }
                if link.len() > 100 {
                    record(&mut records, "linkpath", link);
                }
                if meta.mtime.1 != 0 {
                    record(
                        &mut records,
                        "mtime",
                        format!("{}.{:09}", meta.mtime.0, meta.mtime.1).as_bytes(),
                    );
                }
                for (key, value) in &meta.xattrs {
                    record(&mut records, &format!("SCHILY.xattr.{key}"), value);
                }
                if !records.is_empty() {
                    self.header(
                        b'x',
                        b"PaxHeaders.0/extended",
                        &Meta::mode(0o644),
                        b"",
                        (0, 0),
                        records.len(),
                    );
                    self.content(&records);
                }
            }
            Format::Gnu => {
                for (kind, text) in [(b'L', name), (b'K', link)] {
                    if text.len() > 100 {
                        let text = [text, b"\0"].concat();
                        self.header(kind, b"././@LongLink", &Meta::mode(0), b"", (0, 0), text.len());
                        self.content(&text);
                    }
                }
            }
        }
        self.header(kind, name, meta, link, device, content.len());
        self.content(content);
        self
    }

    /// The archive, ended by two zero blocks and this many bytes of further zeros.
    pub fn finish(mut self, padding: usize) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK + padding, 0);
        self.bytes
    }

    fn content(&mut self, content: &[u8]) {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn header(
        &mut self,
        kind: u8,
        name: &[u8],
        meta: &Meta,
        link: &[u8],
        (major, minor): (u32, u32),
        size: usize,
    ) {
        let mut block = [0u8; BLOCK];
        let mut put =
            |offset: usize, value: &[u8]| block[offset..offset + value.len()].copy_from_slice(value);
        let octal = |value: u64, digits: usize| format!("{value:0digits$o}").into_bytes();
        put(0, &name[..name.len().min(100)]);
        put(100, &octal(u64::from(meta.mode), 7));
        put(108, &octal(u64::from(meta.uid), 7));
        put(116, &octal(u64::from(meta.gid), 7));
        put(124, &octal(size as u64, 11));
        put(136, &octal(meta.mtime.0.unsigned_abs(), 11));
        put(148, b"        ");
        put(156, &[kind]);
        put(157, &link[..link.len().min(100)]);
        put(
            257,
            if self.format == Format::Pax {
                b"ustar\x0000"
            } else {
                b"ustar  \0"
            },
        );
        put(329, &octal(u64::from(major), 7));
        put(337, &octal(u64::from(minor), 7));
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&block);
    }
}

/// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Command;

    /// GNU tar is the judge.
    fn listing(tarball: Vec<u8>) -> String {
        let options = ["-tv", "--numeric-owner", "--full-time", "--utc"];
        let listing = Command::new("tar").args(options).output_with(&tarball).unwrap();
        listing
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect()
    }

    #[test]
    fn gnu_tar_reads_both_formats() {
        for format in [Format::Pax, Format::Gnu] {
            let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
            let tarball = Tarball::new(format)
                .file(&long, Meta::mode(0o4755).owner(5, 6), "content")
                .symlink("link", &long)
                .char_device("null", Meta::mode(0o666), (1, 3))
                .finish(10240);
            let listing = listing(tarball);
            assert!(
                listing.contains(&format!("-rwsr-xr-x 5/6 7 2020-09-13 12:26:40 {long}")),
                "{listing}"
            );
            assert!(listing.contains(&format!("link -> {long}")), "{listing}");
            assert!(listing.contains("crw-rw-rw- 0/0 1,3"), "{listing}");
        }
    }

    #[test]
    fn record_lengths_count_themselves() {
        let mut records = Vec::new();
        record(&mut records, "a", b"b");
        record(&mut records, "path", &[b'x'; 91]);
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').unwrap();
            let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
            assert_eq!(rest[length - 1], b'\n');
            rest = &rest[length..];
        }
    }
}
