//! Where the bytes of a blob lie: a file of a directory, or a range of an archive.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The bytes of one blob; cheap to clone, can be opened several times and from several threads.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    place: Place,
    /// Size in bytes.
    pub size: u64,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Range { archive: Arc<File>, offset: u64 },
}

impl Blob {
    /// A whole file of a directory.
    pub fn file(path: PathBuf, size: u64) -> Self {
        Self {
            place: Place::File(path),
            size,
        }
    }

    /// A part of an archive, which stays open as long as any of its blobs lives.
    pub fn range(archive: Arc<File>, offset: u64, size: u64) -> Self {
        Self {
            place: Place::Range { archive, offset },
            size,
        }
    }

    /// A reader from the first byte, never yielding more than `size` bytes.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.place {
            Place::File(path) => Box::new(File::open(path)?.take(self.size)),
            Place::Range { archive, offset } => Box::new(RangeReader {
                archive: Arc::clone(archive),
                offset: *offset,
                left: self.size,
            }),
        })
    }

    /// The first bytes, at most `count`.
    pub fn start(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut start = Vec::with_capacity(count);
        self.open()?.take(count as u64).read_to_end(&mut start)?;
        Ok(start)
    }
}

/// Reads a range by position, so that readers on several threads do not disturb each other.
struct RangeReader {
    archive: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.archive.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive became shorter while it was read",
            ));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
