//! From a file system to a layer: one tar stream, its blob, its digests.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;
use vcontainer_image::{DiffId, Digest, EntryKind, Hasher, Meta, Timestamp, TreePath};

use crate::compress::Method;
use crate::error::{Error, OnPath as _};
use crate::tar::TarWriter;
use crate::tree::{Content, Kind, Link, Node, Tree};
use crate::unpack::{is_whiteout, whiteout_name};

/// The times in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// `SOURCE_DATE_EPOCH`: nothing is younger, in seconds since 1970.
    pub epoch: Option<i64>,
}

impl Times {
    /// The time of an object. Those of directories and links are made by whoever unpacked them, and tell nothing: they are
    /// all the same. Files keep theirs (Python compares them with its caches).
    pub(crate) fn of(self, meta: &Meta, kind: &Kind) -> Timestamp {
        let seconds = match kind {
            Kind::File { .. } => self
                .epoch
                .map_or(meta.mtime.seconds, |epoch| meta.mtime.seconds.min(epoch)),
            _ => self.epoch.unwrap_or(0),
        };
        Timestamp {
            seconds,
            nanoseconds: 0,
        }
    }

    /// When an image was made.
    #[must_use]
    pub fn created(self) -> Timestamp {
        Timestamp {
            seconds: self.epoch.unwrap_or(0),
            nanoseconds: 0,
        }
    }
}

/// A finished layer in a temporary file.
#[derive(Debug)]
pub struct Layer {
    /// The blob.
    pub file: NamedTempFile,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the tar stream.
    pub diff_id: DiffId,
    /// The length of the tar stream in bytes.
    pub unpacked: u64,
    /// How it is compressed.
    pub method: Method,
}

/// Writes a file system as a layer into a temporary file in `directory`.
///
/// # Errors
/// A file cannot be read or has changed meanwhile, or the directory takes no more.
pub fn write(
    tree: &Tree,
    times: Times,
    method: Method,
    threads: usize,
    directory: &Path,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Layer, Error> {
    let file = NamedTempFile::new_in(directory).at("making a temporary file in", directory)?;
    let doing = "writing the layer into";
    let blob = Hashing::new(BufWriter::with_capacity(1 << 18, file));
    let compressor = method.writer(blob, threads).at(doing, directory)?;
    let stream = Hashing::new(BufWriter::with_capacity(1 << 18, compressor));
    let mut tar = TarWriter::new(stream);
    let mut first_names: BTreeMap<Link, TreePath> = BTreeMap::new();
    let mut buffer = vec![0; 1 << 18];
    for (path, node) in tree.iter() {
        if is_given_up() {
            return Err(Error::GivenUp);
        }
        check(path, node)?;
        let mut content = None;
        let kind = match &node.kind {
            Kind::Directory => EntryKind::Directory,
            Kind::File { content: found, link } => match link.and_then(|link| first_names.get(&link)) {
                Some(first) => EntryKind::Hardlink {
                    target: first.clone(),
                },
                None => {
                    if let Some(link) = link {
                        first_names.insert(*link, path.clone());
                    }
                    content = Some(found);
                    EntryKind::File { size: found.size() }
                }
            },
            Kind::Symlink(target) => EntryKind::Symlink {
                target: target.clone(),
            },
            Kind::Char(major, minor) => EntryKind::Char {
                major: *major,
                minor: *minor,
            },
            Kind::Block(major, minor) => EntryKind::Block {
                major: *major,
                minor: *minor,
            },
            Kind::Fifo => EntryKind::Fifo,
        };
        let meta = Meta {
            mtime: times.of(&node.meta, &node.kind),
            // What tools show of links differs from system to system.
            mode: match node.kind {
                Kind::Symlink(_) => 0o777,
                _ => node.meta.mode,
            },
            ..node.meta.clone()
        };
        tar.entry(path, &meta, &kind).at(doing, directory)?;
        if let Some(content) = content {
            let place = match content {
                Content::Host { path, .. } => path.clone(),
                Content::Spool { .. } => directory.to_owned(),
            };
            // What cannot be written is no fault of the file that is read.
            let mut is_full = false;
            let copied = content.copy(&mut buffer, |bytes| {
                let written = tar.content(bytes);
                is_full = written.is_err();
                written
            });
            match is_full {
                true => copied.at(doing, directory)?,
                false => copied.at("copying", &place)?,
            }
            tar.pad(content.size()).at(doing, directory)?;
        }
    }
    let finish = || -> io::Result<Layer> {
        let stream = tar.finish()?;
        let (compressor, diff_id, unpacked) = stream.finish()?;
        let blob = compressor
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .finish()?;
        let (file, digest, size) = blob.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Layer {
            file,
            digest,
            size,
            diff_id: DiffId(diff_id),
            unpacked,
            method,
        })
    };
    finish().at(doing, directory)
}

/// Refuses what a layer cannot say.
fn check(path: &TreePath, node: &Node) -> Result<(), Error> {
    if is_whiteout(path) {
        return Err(Error::Stream {
            origin: "its content".into(),
            fault: whiteout_name(path),
        });
    }
    // PAX ends the name of a record at the first `=`.
    let attribute = node.meta.xattrs.iter().find(|xattr| xattr.name.contains(&b'='));
    match attribute {
        Some(xattr) => Err(Error::Stream {
            origin: "its content".into(),
            fault: format!(
                "the extended attribute `{}` of `{path}` cannot be in a layer: its name has a `=`",
                xattr.name.escape_ascii()
            ),
        }),
        None => Ok(()),
    }
}

/// Hashes and counts what goes through.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(),
            count: 0,
        }
    }

    fn finish(mut self) -> io::Result<(W, Digest, u64)> {
        self.inner.flush()?;
        Ok((self.inner, self.hasher.finish(), self.count))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
