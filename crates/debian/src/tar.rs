//! Tar as `.deb` files hold it, and as it is given to other programs.
//!
//! Reads what dpkg reads: v7, ustar and GNU headers with GNU long names (deb(5)). Writes ustar headers with GNU long
//! names where a name is longer than 100 bytes.

mod read;
mod write;

use std::io;

pub use read::{Entry, Reader};
pub use write::Writer;

const BLOCK: usize = 512;

/// What an entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of so many bytes, which follow.
    File(u64),
    /// Another name of a file that came before, by its path.
    HardLink(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A character device: major and minor number.
    Character(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Why a stream is no archive that can be used.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// A header makes no sense.
    #[error("its archive is damaged: {0}")]
    Damaged(&'static str),
    /// An entry that has no place in a package.
    #[error("its entry `{name}` {fault}")]
    Entry {
        /// The path in the archive.
        name: String,
        /// What is wrong, continuing the sentence.
        fault: &'static str,
    },
    /// What was read could not be kept.
    #[error("its content cannot be written to the cache")]
    Keep(#[source] io::Error),
}
