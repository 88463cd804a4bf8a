//! The entries of a layer's uncompressed tar stream, with every raw byte that is not file content.
//!
//! Reads v7, ustar, star, GNU (long names, base-256 numbers) and PAX archives. Written here rather than taken from a
//! crate because the engines read layers with Go's `archive/tar` and tar-split records the names it resolves: a GNU
//! long name beats a PAX `path`, an empty PAX value leaves the header's, a repeated extended header replaces the
//! earlier one, times may be negative and have fractions. `tar` splits PAX records at newlines, which breaks binary
//! extended attributes; `tar-core` 0.1 decides each of the points above otherwise or refuses the archive.
//!
//! Sources: POSIX.1-2017 `pax`, GNU tar manual "Basic Tar Format", Go `archive/tar` `Reader.next`.

use std::io::{self, BufRead, Read, Seek};

use crate::entry::{EntryKind, LayerEntry, Meta, Timestamp, TreePath, TreePathError, Xattr};
use crate::tar_header::{BLOCK, HeaderFault, RawHeader, decimal, pax_record, pax_time, text};

/// Longest extended header or GNU long name that is read, in bytes, as in Go.
const MAX_EXTENDED: u64 = 1024 * 1024;
/// Most bytes of headers before one entry.
const MAX_SEGMENT: usize = 4 * 1024 * 1024;
/// Longest path and link target, in bytes (Linux `PATH_MAX` without the NUL).
const MAX_PATH: usize = 4095;
/// Longest component of a path and name of an extended attribute, in bytes (Linux `NAME_MAX`, `XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;
/// Longest value of an extended attribute, in bytes (Linux `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 65536;

/// Why a stream is not a layer that can be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream failed.
    #[error("cannot read the archive at byte {offset}")]
    Read {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What went wrong.
        source: io::Error,
    },
    /// The stream ends within an entry.
    #[error("the archive ends at byte {offset}, in the middle of an entry: it is truncated")]
    Truncated {
        /// The length of the stream.
        offset: u64,
    },
    /// A block is no header.
    #[error("the block at byte {offset} is no tar header: {fault}")]
    Header {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// One zero block, then data: the end of the archive is two zero blocks.
    #[error("data follows a single zero block at byte {offset}: the archive is damaged")]
    LoneZeroBlock {
        /// Where the zero block lies in the uncompressed stream.
        offset: u64,
    },
    /// An extended header that cannot be used.
    #[error("the extended header at byte {offset} {fault}")]
    Extended {
        /// Where in the uncompressed stream its header block lies.
        offset: u64,
        /// What is wrong, continuing the sentence.
        fault: &'static str,
    },
    /// An entry that cannot be used.
    #[error("entry `{name}` {fault}")]
    Entry {
        /// The name as the archive has it, unprintable bytes escaped.
        name: String,
        /// What is wrong.
        fault: EntryFault,
    },
}

/// What is wrong with one entry. The texts continue the sentence "entry `x` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// The path leaves the layer or has a NUL.
    #[error("cannot be placed: {0}")]
    Path(#[from] TreePathError),
    /// The path or a component is longer than Linux allows.
    #[error("has a name or link target longer than Linux allows (255 bytes a component, 4095 in all)")]
    TooLong,
    /// An entry other than a directory that stands for the root of the layer.
    #[error("stands for the root of the layer, but is no directory")]
    Root,
    /// GNU sparse, old or PAX form.
    #[error("is a GNU sparse file, which engines cannot save again: make the layer without `tar --sparse`")]
    Sparse,
    /// A directory, link or device that claims to have content.
    #[error("is no regular file, but has a size of {0} bytes")]
    SizeWithoutContent(i64),
    /// A type flag that is no file system object.
    #[error("has the unknown type `{}`", [*.0].escape_ascii())]
    Type(u8),
    /// A number of the header or of a PAX record is out of its range.
    #[error("has a {0} out of range")]
    Range(&'static str),
    /// A link that points nowhere.
    #[error("is a link without a target")]
    NoTarget,
    /// An extended attribute that no Linux file system takes.
    #[error("has an extended attribute longer than Linux allows (name 255 bytes, value 64 KiB)")]
    Xattr,
}

/// One step through a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerItem {
    /// A file system object or a whiteout. The content of a file is to be had from [`LayerReader::content`].
    Entry(LayerEntry),
    /// A PAX global header. Engines ignore what it says; tar-split records it under its own name.
    GlobalHeader {
        /// The name in its header block.
        raw_name: Vec<u8>,
    },
}

/// Walks through a tar stream. Memory use does not depend on the size of the archive.
pub struct LayerReader<R> {
    inner: R,
    /// Bytes taken from `inner`.
    offset: u64,
    /// Content of the current entry that is still to come.
    content_left: u64,
    /// Padding after that content.
    padding: usize,
    /// Raw bytes since the last content.
    segment: Vec<u8>,
    ended: bool,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extended {
    gnu_name: Vec<u8>,
    gnu_link: Vec<u8>,
    /// The data of the latest PAX header as a range of the segment.
    pax: std::ops::Range<usize>,
}

impl<R: BufRead> LayerReader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            content_left: 0,
            padding: 0,
            segment: Vec::with_capacity(4 * BLOCK),
            ended: false,
        }
    }

    /// The next entry; `None` at the end-of-archive marker or the end of the stream. Content of the previous entry
    /// that was not read is skipped. What follows the marker is to be had from [`LayerReader::into_inner`].
    ///
    /// # Errors
    /// See [`LayerError`]. After an error the reader cannot go on.
    pub fn next_item(&mut self) -> Result<Option<LayerItem>, LayerError> {
        self.segment.clear();
        if self.ended {
            return Ok(None);
        }
        self.skip_content()?;
        // Archives cut off in the last padding are read by everyone.
        self.take_padding()?;
        let mut extended = Extended::default();
        loop {
            let header_offset = self.offset;
            let Some(header) = self.header(header_offset)? else {
                self.ended = true;
                return Ok(None);
            };
            match header.type_flag {
                b'x' => extended.pax = self.extended_data(&header, header_offset)?,
                b'L' => extended.gnu_name = self.gnu_long(&header, header_offset)?,
                b'K' => extended.gnu_link = self.gnu_long(&header, header_offset)?,
                b'g' => {
                    self.extended_data(&header, header_offset)?;
                    return Ok(Some(LayerItem::GlobalHeader {
                        raw_name: header.name,
                    }));
                }
                _ => {
                    return self
                        .entry(header, &extended)
                        .map(|entry| Some(LayerItem::Entry(entry)));
                }
            }
            // As Go does, padding counts to what follows it: a global header's lies in the next segment.
            self.take_padding()?;
        }
    }

    /// All raw bytes between the previous entry's content and the place where this entry's content begins: padding,
    /// extended headers, the header. After the end: the last padding and the end-of-archive marker.
    pub fn segment(&self) -> &[u8] {
        &self.segment
    }

    /// The content of the current entry, from where it has been read to. Empty for everything but regular files.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { reader: self }
    }

    /// How many bytes of the stream have been taken: after [`LayerReader::next_item`], where the content begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream behind this reader, for what follows the end of the archive.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn skip_content(&mut self) -> Result<(), LayerError> {
        while self.content_left > 0 {
            let mut content = Content { reader: self };
            let ready = match content.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(LayerError::Truncated { offset: self.offset });
                }
                Err(source) => {
                    return Err(LayerError::Read {
                        offset: self.offset,
                        source,
                    });
                }
            };
            content.consume(ready);
        }
        Ok(())
    }

    /// Appends up to `count` bytes to the segment; fewer only at the end of the stream.
    fn take(&mut self, count: usize) -> Result<usize, LayerError> {
        let mut left = count;
        while left > 0 {
            let ready = match self.inner.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => &bytes[..bytes.len().min(left)],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(LayerError::Read {
                        offset: self.offset,
                        source,
                    });
                }
            };
            self.segment.extend_from_slice(ready);
            let taken = ready.len();
            self.inner.consume(taken);
            self.offset += taken as u64;
            left -= taken;
        }
        Ok(count - left)
    }

    fn take_padding(&mut self) -> Result<(), LayerError> {
        let padding = std::mem::take(&mut self.padding);
        self.take(padding).map(|_| ())
    }

    /// Appends one block to the segment; `false` at the end of the stream.
    fn block(&mut self) -> Result<Option<&[u8; BLOCK]>, LayerError> {
        match self.take(BLOCK)? {
            0 => Ok(None),
            BLOCK => Ok(self.segment.last_chunk()),
            _ => Err(LayerError::Truncated { offset: self.offset }),
        }
    }

    fn header(&mut self, offset: u64) -> Result<Option<RawHeader>, LayerError> {
        if self.segment.len() > MAX_SEGMENT {
            return Err(LayerError::Extended {
                offset,
                fault: "follows more than 4 MiB of other extended headers",
            });
        }
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block[0] != 0 || block.iter().any(|byte| *byte != 0) {
            let header = RawHeader::parse(block).map_err(|fault| LayerError::Header { offset, fault })?;
            return Ok(Some(header));
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => Err(LayerError::LoneZeroBlock { offset }),
            _ => Ok(None),
        }
    }

    /// Reads the data of an extended header into the segment and tells where it lies there.
    fn extended_data(
        &mut self,
        header: &RawHeader,
        offset: u64,
    ) -> Result<std::ops::Range<usize>, LayerError> {
        let size = u64::try_from(header.size)
            .ok()
            .filter(|size| *size <= MAX_EXTENDED)
            .ok_or(LayerError::Extended {
                offset,
                fault: "is larger than 1 MiB or has a negative size",
            })?;
        let start = self.segment.len();
        // At most 1 MiB: fits every usize.
        let size = size as usize;
        if self.take(size)? < size {
            return Err(LayerError::Truncated { offset: self.offset });
        }
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(start..start + size)
    }

    fn gnu_long(&mut self, header: &RawHeader, offset: u64) -> Result<Vec<u8>, LayerError> {
        let data = self.extended_data(header, offset)?;
        Ok(text(&self.segment[data]).to_vec())
    }

    fn entry(&mut self, header: RawHeader, extended: &Extended) -> Result<LayerEntry, LayerError> {
        let mut fields = Fields::new(header);
        let pax = self.segment.get(extended.pax.clone()).unwrap_or_default();
        fields
            .apply(pax, extended)
            .and_then(|()| fields.resolve())
            .map(|(entry, size)| {
                self.content_left = size;
                self.padding = (size.wrapping_neg() % BLOCK as u64) as usize;
                entry
            })
            .map_err(|fault| LayerError::Entry {
                name: fields.header.name.escape_ascii().to_string(),
                fault,
            })
    }
}

impl<R: BufRead + Seek> LayerReader<R> {
    /// Passes over the rest of the current entry's content without reading it. At the end of a truncated archive this
    /// goes past the end without notice: the caller knows the length and compares.
    ///
    /// # Errors
    /// When the stream cannot be moved.
    pub fn seek_over_content(&mut self) -> io::Result<()> {
        let distance = i64::try_from(self.content_left)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an entry is larger than any file"))?;
        self.inner.seek_relative(distance)?;
        self.offset = self.offset.saturating_add(self.content_left);
        self.content_left = 0;
        Ok(())
    }
}

/// A header with the extended headers applied to it.
struct Fields {
    header: RawHeader,
    nanoseconds: u32,
    xattrs: Vec<Xattr>,
}

impl Fields {
    fn new(header: RawHeader) -> Self {
        Self {
            header,
            nanoseconds: 0,
            xattrs: Vec::new(),
        }
    }

    fn apply(&mut self, mut pax: &[u8], extended: &Extended) -> Result<(), EntryFault> {
        while !pax.is_empty() {
            let (record, rest) = pax_record(pax).ok_or(EntryFault::Range("PAX record"))?;
            pax = rest;
            if record.key.starts_with(b"GNU.sparse.") {
                return Err(EntryFault::Sparse);
            }
            if let Some(name) = record.key.strip_prefix(b"SCHILY.xattr.") {
                if name.is_empty() || name.len() > MAX_NAME || record.value.len() > MAX_XATTR {
                    return Err(EntryFault::Xattr);
                }
                self.xattrs.push(Xattr {
                    name: name.to_vec(),
                    value: record.value.to_vec(),
                });
                continue;
            }
            if record.value.is_empty() {
                continue;
            }
            let number = |name| decimal(record.value).ok_or(EntryFault::Range(name));
            match record.key {
                b"path" => self.header.name = record.value.to_vec(),
                b"linkpath" => self.header.link_name = record.value.to_vec(),
                b"size" => self.header.size = number("size")?,
                b"uid" => self.header.uid = number("user id")?,
                b"gid" => self.header.gid = number("group id")?,
                b"mtime" => {
                    let time = pax_time(record.value).ok_or(EntryFault::Range("modification time"))?;
                    (self.header.mtime, self.nanoseconds) = time;
                }
                _ => {}
            }
        }
        if !extended.gnu_name.is_empty() {
            self.header.name.clone_from(&extended.gnu_name);
        }
        if !extended.gnu_link.is_empty() {
            self.header.link_name.clone_from(&extended.gnu_link);
        }
        // Sorted by name; of a repeated attribute the last one counts.
        self.xattrs.reverse();
        self.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        self.xattrs.dedup_by(|later, kept| later.name == kept.name);
        Ok(())
    }

    /// The entry and how many bytes of content follow it.
    fn resolve(&mut self) -> Result<(LayerEntry, u64), EntryFault> {
        let header = &self.header;
        let path = TreePath::clean(&header.name)?;
        check_length(path.as_bytes())?;
        let device = || {
            let number = |value| u32::try_from(value).map_err(|_| EntryFault::Range("device number"));
            Ok::<_, EntryFault>((number(header.major)?, number(header.minor)?))
        };
        let is_old_directory = header.type_flag == 0 && header.name.ends_with(b"/");
        let mut size = 0;
        let kind = match header.type_flag {
            b'0' | 0 if !is_old_directory => {
                size = u64::try_from(header.size).map_err(|_| EntryFault::Range("size"))?;
                EntryKind::File { size }
            }
            b'5' | 0 => EntryKind::Directory,
            b'1' => EntryKind::Hardlink {
                target: TreePath::clean(&header.link_name)?,
            },
            b'2' => EntryKind::Symlink {
                target: self.symlink_target()?,
            },
            b'3' => device().map(|(major, minor)| EntryKind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::Block { major, minor })?,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(EntryFault::Sparse),
            other => return Err(EntryFault::Type(other)),
        };
        if size == 0 && header.size != 0 {
            return Err(EntryFault::SizeWithoutContent(header.size));
        }
        if path.is_root() && kind != EntryKind::Directory {
            return Err(EntryFault::Root);
        }
        // All ones means "leave it" to chown.
        let owner = |value, name| match u32::try_from(value) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(EntryFault::Range(name)),
        };
        let meta = Meta {
            mode: (header.mode & 0o7777) as u32,
            uid: owner(header.uid, "user id")?,
            gid: owner(header.gid, "group id")?,
            mtime: Timestamp {
                seconds: header.mtime,
                nanoseconds: self.nanoseconds,
            },
            xattrs: std::mem::take(&mut self.xattrs),
        };
        let raw_name = header.name.clone();
        Ok((
            LayerEntry {
                raw_name,
                path,
                kind,
                meta,
            },
            size,
        ))
    }

    fn symlink_target(&self) -> Result<Vec<u8>, EntryFault> {
        let target = &self.header.link_name;
        if target.is_empty() {
            return Err(EntryFault::NoTarget);
        }
        if target.len() > MAX_PATH {
            return Err(EntryFault::TooLong);
        }
        if target.contains(&0) {
            return Err(EntryFault::Path(TreePathError::Nul(
                target.escape_ascii().to_string(),
            )));
        }
        Ok(target.clone())
    }
}

fn check_length(path: &[u8]) -> Result<(), EntryFault> {
    if path.len() > MAX_PATH || path.split(|byte| *byte == b'/').any(|name| name.len() > MAX_NAME) {
        return Err(EntryFault::TooLong);
    }
    Ok(())
}

/// The content of one regular file: ends where the file ends. A stream that ends earlier is an
/// [`io::ErrorKind::UnexpectedEof`].
pub struct Content<'a, R> {
    reader: &'a mut LayerReader<R>,
}

impl<R: BufRead> Content<'_, R> {
    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.reader.content_left
    }

    /// How many bytes of the stream have been taken.
    pub fn offset(&self) -> u64 {
        self.reader.offset
    }
}

impl<R: BufRead> BufRead for Content<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.reader.content_left;
        if left == 0 {
            return Ok(&[]);
        }
        let ready = self.reader.inner.fill_buf()?;
        if ready.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of a file",
            ));
        }
        let count = usize::try_from(left).map_or(ready.len(), |left| ready.len().min(left));
        Ok(&ready[..count])
    }

    fn consume(&mut self, count: usize) {
        self.reader.inner.consume(count);
        self.reader.content_left -= count as u64;
        self.reader.offset += count as u64;
    }
}

impl<R: BufRead> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
