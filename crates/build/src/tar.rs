//! Writes a layer's tar stream, so that equal trees give equal bytes.
//!
//! ustar headers; a PAX extended header (POSIX.1-2017 `pax`) only for what they cannot hold: long names, large numbers,
//! extended attributes (`SCHILY.xattr.`, as GNU tar, star and Go's `archive/tar` write them). Whole seconds.

use std::io::{self, Write};

use vcontainer_image::{EntryKind, Meta, TreePath};

const BLOCK: usize = 512;

/// Writes entries and the end of the archive.
pub struct TarWriter<W> {
    output: W,
}

impl<W: Write> TarWriter<W> {
    /// An archive without entries.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes what stands before an entry's content. A file's content follows through [`TarWriter::content`], all of
    /// it, and then [`TarWriter::pad`].
    ///
    /// # Errors
    /// The output fails.
    pub fn entry(&mut self, path: &TreePath, meta: &Meta, kind: &EntryKind) -> io::Result<()> {
        let mut name = match path.is_root() {
            true => b".".to_vec(),
            false => path.as_bytes().to_vec(),
        };
        let (flag, size, link, device) = match kind {
            EntryKind::File { size } => (b'0', *size, &[][..], (0, 0)),
            EntryKind::Hardlink { target } => (b'1', 0, target.as_bytes(), (0, 0)),
            EntryKind::Symlink { target } => (b'2', 0, target.as_slice(), (0, 0)),
            EntryKind::Char { major, minor } => (b'3', 0, &[][..], (*major, *minor)),
            EntryKind::Block { major, minor } => (b'4', 0, &[][..], (*major, *minor)),
            EntryKind::Directory => {
                name.push(b'/');
                (b'5', 0, &[][..], (0, 0))
            }
            EntryKind::Fifo => (b'6', 0, &[][..], (0, 0)),
        };
        let mut records = Vec::new();
        let mut header = [0; BLOCK];
        put_text(&mut header, 0..100, &name, "path", &mut records);
        put_number(
            &mut header,
            100..108,
            u64::from(meta.mode & 0o7777),
            "",
            &mut records,
        );
        put_number(&mut header, 108..116, u64::from(meta.uid), "uid", &mut records);
        put_number(&mut header, 116..124, u64::from(meta.gid), "gid", &mut records);
        put_number(&mut header, 124..136, size, "size", &mut records);
        match u64::try_from(meta.mtime.seconds) {
            Ok(seconds) => put_number(&mut header, 136..148, seconds, "mtime", &mut records),
            Err(_) => {
                put_number(&mut header, 136..148, 0, "", &mut records);
                record(&mut records, b"mtime", meta.mtime.seconds.to_string().as_bytes());
            }
        }
        put_byte(&mut header, 156, flag);
        put_text(&mut header, 157..257, link, "linkpath", &mut records);
        put(&mut header, 257, b"ustar\x0000");
        put_number(
            &mut header,
            329..337,
            u64::from(device.0),
            "SCHILY.devmajor",
            &mut records,
        );
        put_number(
            &mut header,
            337..345,
            u64::from(device.1),
            "SCHILY.devminor",
            &mut records,
        );
        for xattr in &meta.xattrs {
            record(
                &mut records,
                &[b"SCHILY.xattr.", &xattr.name[..]].concat(),
                &xattr.value,
            );
        }
        if !records.is_empty() {
            self.extended(&records)?;
        }
        self.header(header)
    }

    fn extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = [0; BLOCK];
        put(&mut header, 0, b"././@PaxHeader");
        let none = &mut Vec::new();
        put_number(&mut header, 100..108, 0o644, "", none);
        for field in [108..116, 116..124, 136..148, 329..337, 337..345] {
            put_number(&mut header, field, 0, "", none);
        }
        put_number(&mut header, 124..136, records.len() as u64, "", none);
        put_byte(&mut header, 156, b'x');
        put(&mut header, 257, b"ustar\x0000");
        self.header(header)?;
        self.output.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn header(&mut self, mut header: [u8; BLOCK]) -> io::Result<()> {
        put(&mut header, 148, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.output.write_all(&header)
    }

    /// Writes a piece of the current file.
    ///
    /// # Errors
    /// The output fails.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    /// Fills the last block of a file of this size.
    ///
    /// # Errors
    /// The output fails.
    pub fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        match over {
            0 => Ok(()),
            over => self.output.write_all([0; BLOCK].get(over..).unwrap_or_default()),
        }
    }

    /// Writes the end of the archive and gives the output back.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(field) = header.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn put_byte(header: &mut [u8; BLOCK], at: usize, byte: u8) {
    put(header, at, &[byte]);
}

/// A name: in the field when it fits, else its start there and all of it in a record.
fn put_text(
    header: &mut [u8; BLOCK],
    field: std::ops::Range<usize>,
    text: &[u8],
    key: &str,
    records: &mut Vec<u8>,
) {
    let room = field.len();
    if text.len() > room {
        record(records, key.as_bytes(), text);
    }
    put(
        header,
        field.start,
        text.get(..text.len().min(room)).unwrap_or_default(),
    );
}

/// A number in octal when it fits (with a NUL behind it), else zero there and the number in a record.
fn put_number(
    header: &mut [u8; BLOCK],
    field: std::ops::Range<usize>,
    number: u64,
    key: &str,
    records: &mut Vec<u8>,
) {
    let digits = field.len() - 1;
    let fits = number < 1 << (3 * digits).min(63);
    if !fits {
        record(records, key.as_bytes(), number.to_string().as_bytes());
    }
    let number = if fits { number } else { 0 };
    put(header, field.start, format!("{number:0digits$o}\0").as_bytes());
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign, a newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
