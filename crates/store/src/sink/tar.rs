//! A sink that writes a tar stream rooted at `/`, which needs no privilege.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use vcontainer_image::{Meta, TreePath};

use super::{Sink, SinkError, TreeWriter, Written};

/// How a [`TarSink`] compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TarCompression {
    /// Not at all.
    #[default]
    None,
    /// With zstd at this level (3 is zstd's own default).
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

/// Writes a PAX tar stream.
#[derive(Debug)]
pub struct TarSink<W: Write + Send> {
    _out: Mutex<W>,
}

/// A tar file in the making: written beside its place, put there when the sink is committed.
#[derive(Debug)]
pub struct TarFile {
    _path: PathBuf,
}

impl Write for TarFile {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("not there yet"))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send> TarSink<W> {
    /// Writes the stream to `out`, such as standard output.
    ///
    /// # Errors
    /// The compressor cannot be set up.
    pub fn new(out: W, _compression: TarCompression) -> Result<Self, SinkError> {
        Ok(Self {
            _out: Mutex::new(out),
        })
    }
}

impl TarSink<TarFile> {
    /// Writes the stream to the file `path`, which appears or is replaced when the sink is committed.
    ///
    /// # Errors
    /// Its directory cannot be written, or `path` is something else than a regular file.
    pub fn create(path: &Path, compression: TarCompression) -> Result<Self, SinkError> {
        Self::new(
            TarFile {
                _path: path.to_owned(),
            },
            compression,
        )
    }
}

fn not_yet<T>() -> Result<T, SinkError> {
    Err(SinkError::Target {
        what: "writing a tar stream is not there yet".to_owned(),
        source: None,
    })
}

impl<W: Write + Send> Sink for TarSink<W> {
    fn parallelism(&self) -> usize {
        1
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
