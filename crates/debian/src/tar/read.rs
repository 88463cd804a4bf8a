//! Reading an archive, entry by entry.

use std::io::{self, Read};

use super::{BLOCK, EntryKind, TarError};

/// The longest name that is read, in bytes (Linux `PATH_MAX`).
const MAX_NAME: u64 = 4096;

/// One entry; the content of a file is read through [`Reader::content`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as the archive has it, without `./` before and `/` behind it. Empty for the root.
    pub path: Vec<u8>,
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content was changed, in seconds since 1970.
    pub mtime: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// Walks through an archive.
pub struct Reader<R> {
    inner: R,
    /// Content of the current entry that is still to come, and the padding behind it.
    left: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at the end. Content that wasn't read is skipped.
    ///
    /// # Errors
    /// The stream fails or is no archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let mut header = [0; BLOCK];
            self.inner.read_exact(&mut header).map_err(TarError::Read)?;
            if header.iter().all(|byte| *byte == 0) {
                // dpkg-deb writes on until its pipe is read to the end.
                io::copy(&mut self.inner, &mut io::sink()).map_err(TarError::Read)?;
                return Ok(None);
            }
            let header = Header(&header);
            header.check()?;
            let size = header.number(124, 12)?;
            // Beyond what any file has, sums with it would not fit.
            if size > i64::MAX.cast_unsigned() {
                return Err(TarError::Damaged("a number in a header is out of range"));
            }
            self.left = size;
            self.padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
            match header.flag() {
                b'L' => long_name = Some(self.text()?),
                b'K' => long_link = Some(self.text()?),
                flag => {
                    let name = long_name.take().unwrap_or_else(|| header.name());
                    let link = long_link
                        .take()
                        .unwrap_or_else(|| header.field(157, 100).to_vec());
                    let entry = entry(&header, flag, name, link, size)?;
                    if !matches!(entry.kind, EntryKind::File(_)) && size != 0 {
                        return Err(fault(&entry.path, "is no file, but has content"));
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Takes the next bytes of the current file's content; 0 at its end.
    ///
    /// # Errors
    /// The stream fails or ends too early.
    pub fn content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }

    fn text(&mut self) -> Result<Vec<u8>, TarError> {
        if self.left > MAX_NAME {
            return Err(TarError::Damaged("a name is longer than Linux allows"));
        }
        let mut text = Vec::new();
        (&mut self.inner)
            .take(self.left)
            .read_to_end(&mut text)
            .map_err(TarError::Read)?;
        if text.len() as u64 != self.left {
            return Err(TarError::Damaged("it ends in the middle of a name"));
        }
        self.left = 0;
        Ok(text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        let skipped =
            io::copy(&mut (&mut self.inner).take(bytes), &mut io::sink()).map_err(TarError::Read)?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(TarError::Damaged("it ends in the middle of an entry"))
        }
    }
}

fn entry(header: &Header, flag: u8, name: Vec<u8>, link: Vec<u8>, size: u64) -> Result<Entry, TarError> {
    let path = clean(&name)?;
    let number = |at, length| {
        u32::try_from(header.number(at, length)?).map_err(|_| fault(&path, "has a number out of range"))
    };
    let kind = match flag {
        b'0' | 0 | b'7' => EntryKind::File(size),
        b'1' => EntryKind::HardLink(clean(&link)?),
        b'2' => EntryKind::Symlink(link),
        b'3' => EntryKind::Character(number(329, 8)?, number(337, 8)?),
        b'4' => EntryKind::Block(number(329, 8)?, number(337, 8)?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err(fault(&path, "has a type that packages don't have")),
    };
    Ok(Entry {
        mode: number(100, 8)? & 0o7777,
        uid: number(108, 8)?,
        gid: number(116, 8)?,
        mtime: header.number(136, 12)?,
        path,
        kind,
    })
}

fn fault(path: &[u8], fault: &'static str) -> TarError {
    TarError::Entry {
        name: path.escape_ascii().to_string(),
        fault,
    }
}

/// The path without empty components and `.`.
fn clean(name: &[u8]) -> Result<Vec<u8>, TarError> {
    let parts: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(fault(name, "leaves the package by `..`"));
    }
    Ok(parts.join(&b'/'))
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    /// Bytes up to the first NUL.
    fn field(&self, at: usize, length: usize) -> &[u8] {
        let bytes = self.0.get(at..at + length).unwrap_or_default();
        bytes.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn flag(&self) -> u8 {
        self.0.get(156).copied().unwrap_or(0)
    }

    fn name(&self) -> Vec<u8> {
        let name = self.field(0, 100);
        // Only POSIX's magic has a prefix; in GNU's other things lie there.
        if self.0.get(257..263) == Some(b"ustar\0") && !self.field(345, 155).is_empty() {
            return [self.field(345, 155), name].join(&b'/');
        }
        name.to_vec()
    }

    /// An octal number, or GNU's base-256.
    fn number(&self, at: usize, length: usize) -> Result<u64, TarError> {
        let bytes = self.0.get(at..at + length).unwrap_or_default();
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            let (head, tail) = bytes.split_at(bytes.len().saturating_sub(8));
            let clear = head
                .iter()
                .enumerate()
                .all(|(index, byte)| *byte == if index == 0 { 0x80 } else { 0 });
            return match tail.try_into() {
                Ok(tail) if clear && !head.is_empty() => Ok(u64::from_be_bytes(tail)),
                _ => Err(TarError::Damaged("a number in a header is out of range")),
            };
        }
        let text = std::str::from_utf8(bytes)
            .unwrap_or("?")
            .trim_matches(['\0', ' ']);
        if text.is_empty() {
            return Ok(0);
        }
        u64::from_str_radix(text, 8).map_err(|_| TarError::Damaged("a number in a header is malformed"))
    }

    fn check(&self) -> Result<(), TarError> {
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(index, byte)| {
                if (148..156).contains(&index) {
                    32
                } else {
                    u64::from(*byte)
                }
            })
            .sum();
        if self.number(148, 8)? == sum {
            Ok(())
        } else {
            Err(TarError::Damaged("a header has the wrong checksum"))
        }
    }
}
