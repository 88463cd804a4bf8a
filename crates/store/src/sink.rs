//! Where a store is written to. Everything that makes a store goes through these two traits, so that a directory
//! (as root, or under fakeroot or pseudo) and a tar stream (with no privilege at all) get the same entries.

use std::io::{self, BufRead};

use vcontainer_image::{Meta, TreePath};

pub(crate) mod directory;
pub(crate) mod tar;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An operation on one path failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done, as a verb ("create directory").
        action: &'static str,
        /// To which path of the target's root filesystem.
        path: TreePath,
        /// What went wrong.
        source: io::Error,
    },
    /// An operation that this process is not allowed: owners and devices need root or a pretended one.
    #[error(
        "cannot {action} `{path}`: this process may not; run as root, under fakeroot or under pseudo, or write a tar \
         stream (--tar) instead of a directory"
    )]
    Privilege {
        /// What was being done, as a verb.
        action: &'static str,
        /// To which path of the target's root filesystem.
        path: TreePath,
        /// What went wrong.
        source: io::Error,
    },
    /// The content handed to the sink could not be read, or was too short. The fault is the source's, not the sink's.
    #[error("cannot read the content of `{path}`")]
    Content {
        /// The file that was being written.
        path: TreePath,
        /// What went wrong.
        source: io::Error,
    },
    /// The caller, or what is there already, asks for something that cannot be.
    #[error("cannot {action} `{path}`: {why}")]
    Conflict {
        /// What was being done, as a verb.
        action: &'static str,
        /// To which path of the target's root filesystem.
        path: TreePath,
        /// What is in the way, and what to do if there is something to do.
        why: String,
    },
    /// Anything about the sink as a whole (lock, journal, root that is no directory).
    #[error("{what}")]
    Target {
        /// A whole sentence: what is wrong and what to do.
        what: String,
        /// What went wrong underneath, if anything.
        source: Option<io::Error>,
    },
}

impl SinkError {
    /// The content of `path` ended after `got` of `size` bytes.
    fn ends_early(path: &TreePath, got: u64, size: u64) -> Self {
        let text = format!("it ends after {got} of {size} bytes");
        Self::Content {
            path: path.clone(),
            source: io::Error::new(io::ErrorKind::UnexpectedEof, text),
        }
    }
}

/// Writes one subtree, such as a layer's `diff` directory. Paths are relative to the subtree's root and physical: no
/// component of a parent is a symlink. Parents are created before children; no name is created twice, but
/// [`TreeWriter::directory`] may be called again for a directory to give it other metadata.
pub trait TreeWriter: Send {
    /// Creates a directory, or updates the metadata of one created before. The empty path is the subtree's root.
    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError>;
    /// Creates a regular file of exactly `size` bytes, read from `content` (which may hold more).
    fn file(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError>;
    /// Creates a symbolic link.
    fn symlink(&mut self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError>;
    /// Creates another name for the non-directory `existing` of the same subtree.
    fn hardlink(&mut self, path: &TreePath, existing: &TreePath) -> Result<(), SinkError>;
    /// Creates a device or a named pipe. `kind` is one of `Char`, `Block`, `Fifo`.
    fn node(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        kind: &vcontainer_image::EntryKind,
    ) -> Result<(), SinkError>;
    /// Sets the times of directories (which creating children changed) and finishes.
    fn finish(self: Box<Self>) -> Result<(), SinkError>;
}

/// What went through a sink: for progress reports and the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Files, directories, links and devices (a directory that was there already does not count).
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// A target's root filesystem in the making. Paths are relative to its `/` and physical: where a component is a
/// symlink on the target, the caller has resolved it (`Rootfs::resolve`), and a sink that finds one refuses it.
///
/// Nothing becomes visible in a directory sink before [`Sink::commit`]; a sink that is dropped without it leaves the
/// target as it was. Parents of what is written must exist on the target or have been made by [`Sink::directory`].
pub trait Sink: Sync {
    /// How many subtrees may be written at a time: 1 for a stream, which also needs them in order.
    fn parallelism(&self) -> usize;
    /// Opens a new subtree whose root is `root`. A directory that is there already is replaced as a whole.
    fn tree(&self, root: &TreePath, meta: &Meta) -> Result<Box<dyn TreeWriter + '_>, SinkError>;
    /// Makes sure that a directory exists, with `meta` if it has to be made (an existing one is left as it is). Parents
    /// that are missing are made with mode 0755, owner 0:0 and the time of `meta`: who wants others makes them first.
    fn directory(&self, path: &TreePath, meta: &Meta) -> Result<(), SinkError>;
    /// Writes a small file, replacing a file or a link that is there when the sink is committed.
    fn file(&self, path: &TreePath, meta: &Meta, content: &[u8]) -> Result<(), SinkError>;
    /// As [`Sink::file`], but what is written becomes visible before everything that was written without this wish. For a
    /// file that announces what lies in other files, and is known only when those are written.
    fn file_first(&self, path: &TreePath, meta: &Meta, content: &[u8]) -> Result<(), SinkError> {
        self.file(path, meta, content)
    }
    /// Writes a file of `size` bytes from a reader, replacing what is there as [`Sink::file`] does.
    fn stream(
        &self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError>;
    /// Creates a symbolic link, replacing a file or a link that is there when the sink is committed.
    fn symlink(&self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError>;
    /// Announces that whatever is written below the directory `path` becomes visible in one step at commit (an
    /// exchange of directories; what is there already and is not written again is kept). To be called before anything
    /// is written below `path`; `path` itself exists or is made by [`Sink::directory`], before or after this call.
    fn atomic_directory(&self, path: &TreePath) -> Result<(), SinkError>;
    /// Makes everything visible, in the order in which it was written: what refers to something comes after it.
    ///
    /// # Errors
    /// Besides failures to write: a subtree that was opened and not finished.
    fn commit(self: Box<Self>) -> Result<Written, SinkError>;
}
