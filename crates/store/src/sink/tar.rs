//! A sink that writes a tar stream rooted at `/`, which needs no privilege: owners and devices are only numbers in it.
//!
//! Names are `./var/lib/…` as `tar -c .` writes them; GNU tar, bsdtar, mksquashfs, tar2sqfs and mke2fs take them. The
//! same calls give the same bytes.
//!
//! Unpack it with `tar --xattrs --xattrs-include='*' --delay-directory-restore --numeric-owner -xpf`: without the third,
//! GNU tar sets a directory's time as soon as an entry elsewhere follows, and what comes into it later changes it.
//! It warns of the keyword `hdrcharset` where a long name is not ASCII (bsdtar refuses such a name without it). Of a
//! directory that a layer describes only after its content, the stream has two entries: GNU tar and bsdtar take the
//! last, mksquashfs the first, and tar2sqfs stops.

mod header;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;
use vcontainer_image::{EntryKind, Meta, TreePath};

use super::{Sink, SinkError, TreeWriter, Written};
use crate::Rootfs;

const BLOCK: u64 = 512;
/// What goes to the writer (often a pipe) at a time.
const BUFFER: usize = 256 << 10;

/// How a [`TarSink`] compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TarCompression {
    /// Not at all.
    #[default]
    None,
    /// With zstd. The bytes depend on the level and on the version of libzstd, not on the number of threads: there is
    /// always at least one besides the caller's, and zstd cuts its jobs by input size.
    Zstd {
        /// 1 to 22; 3 is zstd's own default.
        level: i32,
        /// How many threads compress; 0 counts as 1.
        threads: u32,
    },
}

/// Writes a PAX tar stream.
///
/// A stream cannot take back what it said: a path can be written once, and a directory's metadata can only be changed
/// by an entry that repeats it.
pub struct TarSink<'w> {
    stream: Mutex<Stream<'w>>,
    base: Option<Rootfs>,
}

impl std::fmt::Debug for TarSink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarSink").finish_non_exhaustive()
    }
}

type Writer<'w> = BufWriter<Box<dyn Write + Send + 'w>>;

enum Output<'w> {
    Plain(Writer<'w>),
    Zstd(zstd::Encoder<'static, Writer<'w>>),
}

impl Output<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut out) => out.flush(),
            Self::Zstd(out) => out.finish()?.flush(),
        }
    }
}

/// What was written at a path.
enum Item {
    Directory,
    Tree,
    Leaf,
}

struct Stream<'w> {
    /// `None` after an error: what follows half an entry would be nonsense.
    out: Option<Output<'w>>,
    /// The file in the making and what it will be called.
    file: Option<(NamedTempFile, PathBuf)>,
    items: BTreeMap<TreePath, Item>,
    open_trees: usize,
    written: Written,
}

fn broken(error: io::Error) -> SinkError {
    let what = if error.kind() == io::ErrorKind::BrokenPipe {
        "cannot write the tar stream: the program that read it has ended"
    } else {
        "cannot write the tar stream"
    };
    SinkError::Target {
        what: what.to_owned(),
        source: Some(error),
    }
}

/// Errors that name the file to be.
struct NamedFile {
    file: File,
    place: PathBuf,
}

impl Write for NamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            let text = format!(
                "cannot write into the directory of {}: {error}",
                self.place.display()
            );
            io::Error::new(error.kind(), text)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn conflict<T>(path: &TreePath, why: impl Into<String>) -> Result<T, SinkError> {
    Err(SinkError::Conflict {
        action: "write",
        path: path.clone(),
        why: why.into(),
    })
}

impl<'w> TarSink<'w> {
    /// Writes the stream to `out`, such as standard output.
    ///
    /// # Errors
    /// The compressor cannot be set up.
    pub fn new(out: impl Write + Send + 'w, compression: TarCompression) -> Result<Self, SinkError> {
        Self::with_file(Box::new(out), None, compression)
    }

    /// Writes the stream to the file `path`, which appears or is replaced when the sink is committed. A named pipe or a
    /// device is written to directly.
    ///
    /// # Errors
    /// Its directory cannot be written, or `path` is a directory.
    pub fn create(path: &Path, compression: TarCompression) -> Result<TarSink<'static>, SinkError> {
        let cannot = |source| SinkError::Target {
            what: format!("cannot create the tar file {}", path.display()),
            source: Some(source),
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let what = format!(
                    "cannot create the tar file {}: there is a directory; name a file",
                    path.display()
                );
                return Err(SinkError::Target { what, source: None });
            }
            Ok(metadata) if !metadata.is_file() => {
                let out = File::options().write(true).open(path).map_err(cannot)?;
                return TarSink::new(out, compression);
            }
            _ => {}
        }
        // Through a symlink, which is to stay one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".vcontainer-")
            .suffix(".tar.part")
            .permissions(Permissions::from_mode(0o666)) // less the umask, as for any new file
            .tempfile_in(directory)
            .map_err(cannot)?;
        let out = NamedFile {
            file: file.as_file().try_clone().map_err(cannot)?,
            place: path.to_owned(),
        };
        TarSink::with_file(Box::new(out), Some((file, place)), compression)
    }

    fn with_file(
        out: Box<dyn Write + Send + 'w>,
        file: Option<(NamedTempFile, PathBuf)>,
        compression: TarCompression,
    ) -> Result<Self, SinkError> {
        let out = BufWriter::with_capacity(BUFFER, out);
        let out = match compression {
            TarCompression::None => Output::Plain(out),
            TarCompression::Zstd { level, threads } => {
                let encoder = || -> io::Result<_> {
                    let mut encoder = zstd::Encoder::new(out, level)?;
                    encoder.multithread(threads.max(1))?;
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                };
                Output::Zstd(encoder().map_err(|source| SinkError::Target {
                    what: format!("cannot set up zstd with level {level}"),
                    source: Some(source),
                })?)
            }
        };
        let items = BTreeMap::new();
        let stream = Stream {
            out: Some(out),
            file,
            items,
            open_trees: 0,
            written: Written::default(),
        };
        Ok(Self {
            stream: Mutex::new(stream),
            base: None,
        })
    }

    /// The stream is to be unpacked over this root filesystem: directories that it has get no entry, for an entry would
    /// give them another mode, owner and time.
    #[must_use]
    pub fn over(self, base: Rootfs) -> Self {
        Self {
            base: Some(base),
            ..self
        }
    }

    /// A thread that panicked while it wrote leaves half an entry; `out` is then missing.
    fn stream(&self) -> MutexGuard<'_, Stream<'w>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream<'_> {
    /// Writes one entry with its content.
    fn entry(
        &mut self,
        path: &TreePath,
        kind: &EntryKind,
        meta: &Meta,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        let header = match header::encode(path, kind, meta) {
            Ok(header) => header,
            Err(error) => return conflict(path, error.to_string()),
        };
        // Put back only when the entry is whole.
        let Some(mut out) = self.out.take() else {
            let what = "cannot write the tar stream any further after an error".to_owned();
            return Err(SinkError::Target { what, source: None });
        };
        out.write_all(&header).map_err(broken)?;
        if let EntryKind::File { size } = kind {
            copy(&mut out, path, *size, content)?;
            let padding = size.next_multiple_of(BLOCK) - size;
            out.write_all(&[0; BLOCK as usize][..usize::try_from(padding).unwrap_or(0)])
                .map_err(broken)?;
            self.written.bytes += size;
        }
        self.written.entries += 1;
        self.out = Some(out);
        Ok(())
    }

    /// Checks that `path` can be written, once, into a directory that has been.
    fn claim(&self, path: &TreePath) -> Result<(), SinkError> {
        let Some(parent) = path.parent() else {
            return conflict(path, "it is the root");
        };
        if self.items.contains_key(path) {
            return conflict(
                path,
                "it was written already, and a tar stream cannot take that back",
            );
        }
        match self.items.get(&parent) {
            Some(Item::Directory) => Ok(()),
            None if parent.is_root() => Ok(()),
            Some(Item::Tree) => conflict(path, format!("it belongs to the subtree `{parent}`")),
            Some(Item::Leaf) => conflict(path, format!("`{parent}` is a file, not a directory")),
            None => conflict(path, "the directory that it should be in has not been made"),
        }
    }

    /// Notes which of `path` and its parents are directories of `base`.
    fn known(&mut self, base: &Rootfs, path: &TreePath) -> Result<(), SinkError> {
        let mut at = TreePath::root();
        for name in path.components() {
            at = at.join(name);
            if self.items.contains_key(&at) {
                continue;
            }
            let there = base.metadata(&at).map_err(|error| SinkError::Target {
                what: format!("cannot tell whether the target has the directory `{at}`: {error}"),
                source: None,
            })?;
            if !there.is_some_and(|metadata| metadata.is_dir()) {
                return Ok(());
            }
            self.items.insert(at.clone(), Item::Directory);
        }
        Ok(())
    }

    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        if path.is_root() || matches!(self.items.get(path), Some(Item::Directory | Item::Tree)) {
            return Ok(());
        }
        if let Some(parent) = path.parent()
            && !self.items.contains_key(&parent)
        {
            let implied = Meta {
                mode: 0o755,
                mtime: meta.mtime,
                ..Meta::default()
            };
            self.directory(&parent, &implied)?;
        }
        self.claim(path)?;
        self.entry(path, &EntryKind::Directory, meta, &mut io::empty())?;
        self.items.insert(path.clone(), Item::Directory);
        Ok(())
    }

    fn leaf(
        &mut self,
        path: &TreePath,
        kind: &EntryKind,
        meta: &Meta,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.claim(path)?;
        self.entry(path, kind, meta, content)?;
        self.items.insert(path.clone(), Item::Leaf);
        Ok(())
    }

    fn finish(&mut self) -> Result<Written, SinkError> {
        if self.open_trees > 0 {
            let what = "cannot end the tar stream: a subtree has been begun and not finished".to_owned();
            return Err(SinkError::Target { what, source: None });
        }
        let Some(mut out) = self.out.take() else {
            let what = "cannot end the tar stream after an error".to_owned();
            return Err(SinkError::Target { what, source: None });
        };
        out.write_all(&[0; 2 * BLOCK as usize])
            .and_then(|()| out.finish())
            .map_err(broken)?;
        if let Some((file, place)) = self.file.take() {
            file.as_file().sync_all().map_err(broken)?;
            file.persist(&place).map_err(|error| SinkError::Target {
                what: format!("cannot put the finished tar file in place as {}", place.display()),
                source: Some(error.error),
            })?;
        }
        Ok(self.written)
    }
}

fn copy(
    out: &mut Output<'_>,
    path: &TreePath,
    size: u64,
    content: &mut dyn BufRead,
) -> Result<(), SinkError> {
    let mut left = size;
    while left > 0 {
        let chunk = match content.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(SinkError::Content {
                    path: path.clone(),
                    source,
                });
            }
        };
        if chunk.is_empty() {
            return Err(SinkError::ends_early(path, size - left, size));
        }
        let take = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        out.write_all(&chunk[..take]).map_err(broken)?;
        content.consume(take);
        left -= take as u64;
    }
    Ok(())
}

impl Sink for TarSink<'_> {
    fn parallelism(&self) -> usize {
        1
    }

    fn tree(&self, root: &TreePath, meta: &Meta) -> Result<Box<dyn TreeWriter + '_>, SinkError> {
        let mut stream = self.stream();
        stream.claim(root)?;
        stream.entry(root, &EntryKind::Directory, meta, &mut io::empty())?;
        stream.items.insert(root.clone(), Item::Tree);
        stream.open_trees += 1;
        let directories = BTreeMap::from([(TreePath::root(), meta.clone())]);
        Ok(Box::new(TarTree {
            sink: self,
            root: root.clone(),
            directories,
        }))
    }

    fn directory(&self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        if let Some(base) = &self.base {
            self.stream().known(base, path)?;
        }
        self.stream().directory(path, meta)
    }

    fn file(&self, path: &TreePath, meta: &Meta, mut content: &[u8]) -> Result<(), SinkError> {
        let kind = EntryKind::File {
            size: content.len() as u64,
        };
        self.stream().leaf(path, &kind, meta, &mut content)
    }

    fn stream(
        &self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.stream().leaf(path, &EntryKind::File { size }, meta, content)
    }

    fn symlink(&self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        let kind = EntryKind::Symlink {
            target: target.to_vec(),
        };
        self.stream().leaf(path, &kind, meta, &mut io::empty())
    }

    /// A stream has no moment at which something becomes visible.
    fn atomic_directory(&self, _path: &TreePath) -> Result<(), SinkError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Written, SinkError> {
        self.stream().finish()
    }
}

struct TarTree<'s, 'w> {
    sink: &'s TarSink<'w>,
    root: TreePath,
    /// What was said of each directory.
    directories: BTreeMap<TreePath, Meta>,
}

impl TarTree<'_, '_> {
    fn full(&self, path: &TreePath) -> TreePath {
        path.components()
            .fold(self.root.clone(), |full, name| full.join(name))
    }

    fn entry(&self, path: &TreePath, kind: &EntryKind, meta: &Meta) -> Result<(), SinkError> {
        self.sink
            .stream()
            .entry(&self.full(path), kind, meta, &mut io::empty())
    }
}

impl TreeWriter for TarTree<'_, '_> {
    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        if self.directories.get(path) == Some(meta) {
            return Ok(());
        }
        self.entry(path, &EntryKind::Directory, meta)?;
        self.directories.insert(path.clone(), meta.clone());
        Ok(())
    }

    fn file(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.sink
            .stream()
            .entry(&self.full(path), &EntryKind::File { size }, meta, content)
    }

    fn symlink(&mut self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.entry(
            path,
            &EntryKind::Symlink {
                target: target.to_vec(),
            },
            meta,
        )
    }

    fn hardlink(&mut self, path: &TreePath, existing: &TreePath) -> Result<(), SinkError> {
        // Its metadata is the other name's; readers take no notice of what stands here.
        let meta = Meta {
            mode: 0o644,
            ..Meta::default()
        };
        self.entry(
            path,
            &EntryKind::Hardlink {
                target: self.full(existing),
            },
            &meta,
        )
    }

    fn node(&mut self, path: &TreePath, meta: &Meta, kind: &EntryKind) -> Result<(), SinkError> {
        self.entry(path, kind, meta)
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        self.sink.stream().open_trees -= 1;
        Ok(())
    }
}
