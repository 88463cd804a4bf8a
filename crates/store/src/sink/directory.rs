//! A sink that writes into a root filesystem directory.

use std::io::BufRead;

use vcontainer_image::{Meta, TreePath};

use super::{Sink, SinkError, TreeWriter, Written};
use crate::rootfs::Rootfs;

/// How a [`DirectorySink`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryOptions {
    /// Wait at commit until everything is on stable storage, so that not even a power cut can harm.
    pub sync: bool,
}

/// Writes into a root filesystem directory, as root or under fakeroot or pseudo.
#[derive(Debug)]
pub struct DirectorySink {
    _rootfs: Rootfs,
    _options: DirectoryOptions,
}

const NOT_YET: &str = "writing into a directory is not there yet";

fn not_yet<T>() -> Result<T, SinkError> {
    Err(SinkError::Target {
        what: NOT_YET.to_owned(),
        source: None,
    })
}

impl DirectorySink {
    /// Locks `rootfs` against other bundles, mends what an interrupted one left, and prepares to write.
    ///
    /// # Errors
    /// Another bundle is at work there, or the root filesystem cannot be written.
    pub fn open(rootfs: &Rootfs, options: DirectoryOptions) -> Result<Self, SinkError> {
        Ok(Self {
            _rootfs: rootfs.clone(),
            _options: options,
        })
    }
}

impl Sink for DirectorySink {
    fn parallelism(&self) -> usize {
        usize::MAX
    }
    fn tree(&self, _root: &TreePath, _meta: &Meta) -> Result<Box<dyn TreeWriter + '_>, SinkError> {
        not_yet()
    }
    fn directory(&self, _path: &TreePath, _meta: &Meta) -> Result<(), SinkError> {
        not_yet()
    }
    fn file(&self, _path: &TreePath, _meta: &Meta, _content: &[u8]) -> Result<(), SinkError> {
        not_yet()
    }
    fn stream(&self, _: &TreePath, _: &Meta, _: u64, _: &mut dyn BufRead) -> Result<(), SinkError> {
        not_yet()
    }
    fn symlink(&self, _path: &TreePath, _meta: &Meta, _target: &[u8]) -> Result<(), SinkError> {
        not_yet()
    }
    fn atomic_directory(&self, _path: &TreePath) -> Result<(), SinkError> {
        not_yet()
    }
    fn commit(self: Box<Self>) -> Result<Written, SinkError> {
        not_yet()
    }
}
