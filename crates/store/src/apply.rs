//! Applying a layer: from the blob in the image to files, names and the tar-split stream, in one pass.
//!
//! One thread reads, hashes and inflates the blob, one hashes the uncompressed stream ([`crate::blob_stream`]), one
//! parses it, computes checksums and writes. Nothing below the layer is needed for that, so that several layers can
//! be applied at a time; what does depend on lower layers is written by [`crate::settle`].
//!
//! Rules of the engines (moby `archive.Unpack`, containers/storage likewise): the entry of the root is skipped;
//! missing parents are made; a parent path may lead through a symlink of the same layer, never out of it; `.wh.X` may
//! be followed by `X`, never the reverse. Where an engine would replace something that the same layer wrote before, or
//! would fail only when the image is saved, this is an error here.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use vcontainer_image::{
    Compression, Content, DiffId, Digest, EntryKind, LayerEntry, LayerError, LayerItem, LayerReader,
    LayerSource, Meta, SourceError, Timestamp, TreePath,
};

use crate::blob_stream::{BlobFault, ChunkReader, Claim, channel};
use crate::crc64::Crc64;
use crate::lower::LowerView;
use crate::sink::{SinkError, TreeWriter};
use crate::tar_split::{TarSplitFile, TarSplitWriter};
use crate::tree::{LayerTree, NewNode, NodeId, Resolved, TreeFault};
use crate::whiteout::{Mark, implied_meta};

/// Most bytes of names, symlink targets and metadata of directories of one layer: they are kept in memory.
const MAX_NAME_BYTES: usize = 512 * 1024 * 1024;
/// Longest physical path, in bytes (Linux `PATH_MAX` without the NUL).
const MAX_PATH: usize = 4095;
/// Bytes of one raw segment of what follows the end of an archive.
const REST: usize = 64 * 1024;

/// What a layer may ask for at most, against layer bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar stream of one layer.
    pub uncompressed_bytes: u64,
    /// Entries of one layer, implied directories included.
    pub entries: u64,
}

impl Default for Limits {
    /// 16 GiB and two million entries.
    fn default() -> Self {
        Self {
            uncompressed_bytes: 16 << 30,
            entries: 2_000_000,
        }
    }
}

/// How layers are applied.
#[derive(Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// Against layer bombs.
    pub limits: Limits,
    /// The time of what the layer does not date itself: directories that it implies and no lower layer has.
    pub epoch: Timestamp,
    /// Where temporary files go (tar-split streams above 256 KiB).
    pub scratch: &'a Path,
    /// Called with the number of bytes of the blob that were read since the last call, on another thread. It says
    /// whether to go on.
    pub on_read: &'a (dyn Fn(u64) -> ControlFlow<()> + Sync),
}

/// A layer blob and what is claimed about it; everything is verified.
pub(crate) struct LayerBlob<'a> {
    /// Digest of the blob as it is shipped.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// How the blob is compressed.
    pub compression: Compression,
    /// The bytes.
    pub reader: Box<dyn Read + Send + 'a>,
}

/// What is known about a layer once it has been written.
#[derive(Debug)]
pub struct AppliedLayer {
    /// Its names; needed by [`crate::settle`] and by the layers above.
    pub tree: LayerTree,
    /// Bytes of the uncompressed tar stream.
    pub uncompressed_size: u64,
    /// Bytes of all content: each inode once, symlinks with the length of their target, devices and directories 0.
    pub content_size: u64,
    /// All owners in its headers, whiteouts excluded.
    pub uids: BTreeSet<u32>,
    /// All groups in its headers, whiteouts excluded.
    pub gids: BTreeSet<u32>,
    /// What rebuilds the exact tar stream.
    pub tar_split: TarSplitFile,
}

/// A layer could not be applied. The chain of sources names the entry, where there is one.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack layer {layer}")]
pub struct ApplyError {
    /// The digest of the layer's blob.
    pub layer: Digest,
    /// What is wrong.
    #[source]
    pub problem: ApplyProblem,
}

/// What is wrong with a layer, or with the place where it is written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyProblem {
    /// The blob cannot be opened.
    #[error(transparent)]
    Open(Box<SourceError>),
    /// The blob is not what it is said to be.
    #[error(transparent)]
    Blob(#[from] BlobFault),
    /// The blob is intact, but its content is not the one that the image's configuration names.
    #[error(
        "its uncompressed content has the digest {actual}, but the image's configuration says {expected}: the image was put together wrongly, build it again"
    )]
    DiffId {
        /// The diff ID in the configuration.
        expected: Digest,
        /// What was computed.
        actual: Digest,
    },
    /// The archive or an entry of it cannot be read.
    #[error(transparent)]
    Archive(#[from] LayerError),
    /// An entry has no place in the layer.
    #[error("entry `{path}` {fault}")]
    Entry {
        /// The cleaned name.
        path: TreePath,
        /// Why not.
        fault: TreeFault,
    },
    /// A whiteout mark without a name.
    #[error("entry `{0}` is a whiteout of nothing")]
    NamelessWhiteout(TreePath),
    /// A whiteout mark or another file of aufs that has content. An engine records it, does not unpack it, and then
    /// cannot give it back.
    #[error(
        "entry `{0}` is a whiteout or a mark of aufs, but has content, which engines could not save again: make the \
         layer again with empty marks"
    )]
    MarkWithContent(TreePath),
    /// An entry whose physical path is too long.
    #[error("entry `{0}` lies behind symlinks that lead to a path longer than Linux allows")]
    TooLong(TreePath),
    /// A layer bomb.
    #[error("it has more than {limit} entries; if that is what it should have, raise the limit")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// A layer bomb.
    #[error("its names and the attributes of its directories take more than 512 MiB")]
    TooManyNames,
    /// An entry could not be written.
    #[error("cannot write entry `{path}`")]
    Write {
        /// The cleaned name.
        path: TreePath,
        /// What went wrong.
        source: SinkError,
    },
    /// The tar-split stream could not be written.
    #[error("cannot write a temporary file in `{}`: free some space there or name another folder for it", folder.display())]
    Spool {
        /// The folder for temporary files.
        folder: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Writes a layer to `out` and verifies blob digest, blob size and diff ID. To be followed by [`crate::settle`] with
/// the same writer.
///
/// With `lower`, directories that the layer implies get the metadata that show below at once, which a stream needs;
/// without, [`crate::settle`] gives them.
///
/// # Errors
/// See [`ApplyProblem`]; what was written to `out` is then of no use.
pub fn apply(
    layer: &LayerSource,
    out: &mut dyn TreeWriter,
    lower: Option<&LowerView<'_>>,
    options: &ApplyOptions<'_>,
) -> Result<AppliedLayer, ApplyError> {
    let reader = layer.open().map_err(|error| ApplyError {
        layer: layer.digest,
        problem: ApplyProblem::Open(Box::new(error)),
    })?;
    let blob = LayerBlob {
        digest: layer.digest,
        size: layer.size,
        diff_id: layer.diff_id,
        compression: layer.compression,
        reader,
    };
    apply_blob(blob, out, lower, options)
}

/// [`apply`] for a blob that comes from anywhere.
pub(crate) fn apply_blob(
    layer: LayerBlob<'_>,
    out: &mut dyn TreeWriter,
    lower: Option<&LowerView<'_>>,
    options: &ApplyOptions<'_>,
) -> Result<AppliedLayer, ApplyError> {
    let fail = |problem| ApplyError {
        layer: layer.digest,
        problem,
    };
    let claim = Claim {
        digest: layer.digest,
        size: layer.size,
        compression: layer.compression,
        limit: options.limits.uncompressed_bytes,
    };
    let (writer, hasher, stream) = channel();
    let mut blob = layer.reader;
    let (inflated, actual, unpacked) = std::thread::scope(|scope| {
        let inflating = scope.spawn(move || writer.inflate(&claim, &mut *blob, options.on_read));
        let hashing = scope.spawn(move || hasher.run());
        let unpacked = Unpacking::new(out, lower, options).run(stream);
        (join(inflating), join(hashing), unpacked)
    });
    // A damaged blob explains whatever went wrong behind it.
    inflated.map_err(|fault| fail(fault.into()))?;
    let applied = unpacked.map_err(&fail)?;
    if actual != layer.diff_id.0 {
        return Err(fail(ApplyProblem::DiffId {
            expected: layer.diff_id.0,
            actual,
        }));
    }
    Ok(applied)
}

/// A temporary file could not be written.
fn spool(options: &ApplyOptions<'_>, source: io::Error) -> ApplyProblem {
    ApplyProblem::Spool {
        folder: options.scratch.to_owned(),
        source,
    }
}

/// What a thread returns; its panic is passed on.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A layer in the middle of being unpacked.
struct Unpacking<'a> {
    out: &'a mut dyn TreeWriter,
    lower: Option<&'a LowerView<'a>>,
    options: &'a ApplyOptions<'a>,
    tree: LayerTree,
    tar_split: TarSplitWriter,
    entries: u64,
    content_size: u64,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
    /// The parent of the previous entry and where it led: mostly the next entry's too. Neither directories nor
    /// symlinks ever change within a layer, so it stays true.
    parent: Option<(TreePath, Resolved)>,
    /// Names that are recorded, but not in the tree: tar-split does not allow any name twice.
    unplaced: BTreeSet<Vec<u8>>,
    /// Directories just implied; empty between entries.
    made: Vec<NodeId>,
    /// Bytes kept in memory besides the tree's names: paths and extended attributes of directories, unplaced names.
    kept: usize,
}

impl<'a> Unpacking<'a> {
    fn new(
        out: &'a mut dyn TreeWriter,
        lower: Option<&'a LowerView<'a>>,
        options: &'a ApplyOptions<'a>,
    ) -> Self {
        Self {
            out,
            lower,
            options,
            tree: LayerTree::new(),
            tar_split: TarSplitWriter::new(options.scratch),
            entries: 0,
            content_size: 0,
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
            parent: None,
            unplaced: BTreeSet::new(),
            made: Vec::new(),
            kept: 0,
        }
    }

    fn run(mut self, stream: ChunkReader) -> Result<AppliedLayer, ApplyProblem> {
        let mut reader = LayerReader::new(stream);
        while let Some(item) = reader.next_item()? {
            self.entries += 1;
            self.check_limits()?;
            self.tar_split
                .segment(reader.segment())
                .map_err(|source| spool(self.options, source))?;
            match item {
                LayerItem::Entry(entry) => {
                    let checksum = self.entry(&entry, reader.content())?;
                    let size = if let EntryKind::File { size } = entry.kind {
                        size
                    } else {
                        0
                    };
                    self.tar_split.file(&entry.raw_name, size, checksum)
                }
                LayerItem::GlobalHeader { raw_name } => {
                    // Its name is no path that is written; one that cannot be cleaned is only recorded.
                    if let Ok(path) = TreePath::clean(&raw_name) {
                        self.unplaced(&path)?;
                    }
                    self.tar_split.file(&raw_name, 0, 0)
                }
            }
            .map_err(|source| spool(self.options, source))?;
        }
        self.tar_split
            .segment(reader.segment())
            .map_err(|source| spool(self.options, source))?;
        let offset = reader.offset();
        let mut stream = reader.into_inner();
        let uncompressed_size = self.rest(&mut stream, offset)?;
        Ok(AppliedLayer {
            tree: self.tree,
            uncompressed_size,
            content_size: self.content_size,
            uids: self.uids,
            gids: self.gids,
            tar_split: self
                .tar_split
                .finish()
                .map_err(|source| spool(self.options, source))?,
        })
    }

    /// Keeps what follows the end of the archive, as engines do: mostly zeros that fill its last record. Returns the
    /// length of the whole stream.
    fn rest(&mut self, stream: &mut ChunkReader, mut offset: u64) -> Result<u64, ApplyProblem> {
        let mut rest = Vec::with_capacity(REST);
        loop {
            rest.clear();
            stream
                .by_ref()
                .take(REST as u64)
                .read_to_end(&mut rest)
                .map_err(|source| LayerError::Read { offset, source })?;
            if rest.is_empty() {
                return Ok(offset);
            }
            offset += rest.len() as u64;
            self.tar_split
                .segment(&rest)
                .map_err(|source| spool(self.options, source))?;
        }
    }

    fn check_limits(&self) -> Result<(), ApplyProblem> {
        // Nodes have 32-bit numbers, and one path makes fewer than 4096 of them.
        let limit = self.options.limits.entries.min(u64::from(NodeId::MAX) - 8192);
        if self.entries > limit || self.tree.len() as u64 > limit.saturating_add(1) {
            return Err(ApplyProblem::TooManyEntries {
                limit: self.options.limits.entries,
            });
        }
        if self.tree.name_bytes().saturating_add(self.kept) > MAX_NAME_BYTES {
            return Err(ApplyProblem::TooManyNames);
        }
        Ok(())
    }

    /// Puts one entry in its place. Returns the checksum of its content.
    fn entry(&mut self, entry: &LayerEntry, content: Content<'_, ChunkReader>) -> Result<u64, ApplyProblem> {
        let mut content = CheckedContent {
            content,
            checksum: Crc64::new(),
            truncated: None,
        };
        let written = self.put(entry, &mut content).and_then(|()| content.drain(entry));
        // Whatever the writer made of a content that ended too early.
        if let Some(offset) = content.truncated {
            return Err(LayerError::Truncated { offset }.into());
        }
        written.map(|()| content.checksum.finish())
    }

    fn put(&mut self, entry: &LayerEntry, content: &mut CheckedContent<'_>) -> Result<(), ApplyProblem> {
        let (Some(name), Some(parent)) = (entry.path.name(), entry.path.parent()) else {
            // The root, whose metadata the engines do not take from a layer.
            self.note_owner(entry);
            return self.unplaced(&entry.path);
        };
        let mark = Mark::of(name);
        if mark != Mark::None && matches!(entry.kind, EntryKind::File { size: 1.. }) {
            return Err(ApplyProblem::MarkWithContent(entry.path.clone()));
        }
        match mark {
            Mark::None => {
                self.note_owner(entry);
                let parent = self.resolve(entry, parent)?;
                self.object(entry, parent, name, content)
            }
            Mark::Whiteout(b"" | b"." | b"..") => Err(ApplyProblem::NamelessWhiteout(entry.path.clone())),
            Mark::Whiteout(name) => {
                let parent = self.resolve(entry, parent)?;
                self.place(entry, parent, name, &NewNode::Whiteout)
            }
            Mark::Opaque => {
                let parent = self.resolve(entry, parent)?;
                if self.tree.set_opaque(parent.directory) {
                    Ok(())
                } else {
                    Err(fault(entry, TreeFault::Twice))
                }
            }
            Mark::Ignored => self.unplaced(&entry.path),
        }
    }

    /// Counts what tree and writer remember of a directory.
    fn keep(&mut self, path: &TreePath, meta: &Meta) {
        let xattrs = meta
            .xattrs
            .iter()
            .map(|xattr| xattr.name.len() + xattr.value.len());
        self.kept += path.as_bytes().len() + 2 * xattrs.sum::<usize>();
    }

    fn note_owner(&mut self, entry: &LayerEntry) {
        self.uids.insert(entry.meta.uid);
        self.gids.insert(entry.meta.gid);
    }

    fn unplaced(&mut self, path: &TreePath) -> Result<(), ApplyProblem> {
        self.kept += path.as_bytes().len();
        if self.unplaced.insert(path.as_bytes().to_vec()) {
            return Ok(());
        }
        Err(ApplyProblem::Entry {
            path: path.clone(),
            fault: TreeFault::Twice,
        })
    }

    /// The directory that an entry lies in; makes the missing ones.
    fn resolve(&mut self, entry: &LayerEntry, parent: TreePath) -> Result<Resolved, ApplyProblem> {
        if let Some((path, resolved)) = &self.parent
            && *path == parent
        {
            return Ok(*resolved);
        }
        let resolved = self
            .tree
            .resolve(&parent, &mut self.made)
            .map_err(|reason| fault(entry, reason))?;
        for node in std::mem::take(&mut self.made) {
            let path = self.tree.path(node);
            if path.as_bytes().len() > MAX_PATH {
                return Err(ApplyProblem::TooLong(entry.path.clone()));
            }
            let meta = match self.lower.and_then(|lower| lower.directory_meta(&path)) {
                Some(meta) => {
                    self.tree.set_implied_meta(node, meta.clone());
                    meta.clone()
                }
                None => implied_meta(self.options.epoch),
            };
            self.keep(&path, &meta);
            self.out
                .directory(&path, &meta)
                .map_err(|source| ApplyProblem::Write { path, source })?;
        }
        self.parent = Some((parent, resolved));
        Ok(resolved)
    }

    fn place(
        &mut self,
        entry: &LayerEntry,
        parent: Resolved,
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<(), ApplyProblem> {
        self.tree
            .place(parent.directory, name, new)
            .map(|_| ())
            .map_err(|reason| fault(entry, reason))
    }

    /// Puts a file system object into the tree and writes it.
    fn object(
        &mut self,
        entry: &LayerEntry,
        parent: Resolved,
        name: &[u8],
        content: &mut CheckedContent<'_>,
    ) -> Result<(), ApplyProblem> {
        let physical;
        let path = if parent.through_symlink {
            physical = self.tree.path(parent.directory).join(name);
            &physical
        } else {
            &entry.path
        };
        if path.as_bytes().len() > MAX_PATH {
            return Err(ApplyProblem::TooLong(entry.path.clone()));
        }
        let meta = &entry.meta;
        let written = match &entry.kind {
            EntryKind::File { size } => {
                self.place(entry, parent, name, &NewNode::Other)?;
                self.content_size += size;
                self.out.file(path, meta, *size, content)
            }
            EntryKind::Directory => {
                self.place(entry, parent, name, &NewNode::Directory(meta))?;
                self.keep(path, meta);
                self.out.directory(path, meta)
            }
            EntryKind::Symlink { target } => {
                self.place(entry, parent, name, &NewNode::Symlink(target))?;
                self.content_size += target.len() as u64;
                self.out.symlink(path, meta, target)
            }
            EntryKind::Hardlink { target } => {
                let existing = self
                    .tree
                    .place_hardlink(parent.directory, name, target)
                    .map_err(|reason| fault(entry, reason))?;
                self.out.hardlink(path, &existing)
            }
            // What overlayfs itself takes for a whiteout. Written only if it hides something, like the others.
            EntryKind::Char { major: 0, minor: 0 } => {
                return self.place(entry, parent, name, &NewNode::Whiteout);
            }
            kind @ (EntryKind::Char { .. } | EntryKind::Block { .. } | EntryKind::Fifo) => {
                self.place(entry, parent, name, &NewNode::Other)?;
                self.out.node(path, meta, kind)
            }
        };
        written.map_err(|source| ApplyProblem::Write {
            path: entry.path.clone(),
            source,
        })
    }
}

fn fault(entry: &LayerEntry, fault: TreeFault) -> ApplyProblem {
    ApplyProblem::Entry {
        path: entry.path.clone(),
        fault,
    }
}

/// The content of a file on its way to the writer; takes the checksum of what the writer takes.
struct CheckedContent<'a> {
    content: Content<'a, ChunkReader>,
    checksum: Crc64,
    /// Where in the stream it ended, if that was too early.
    truncated: Option<u64>,
}

impl CheckedContent<'_> {
    /// Takes what the writer did not want.
    fn drain(&mut self, entry: &LayerEntry) -> Result<(), ApplyProblem> {
        while self.content.left() > 0 {
            let ready = self.fill_buf().map_err(|source| ApplyProblem::Write {
                path: entry.path.clone(),
                source: SinkError::Content {
                    path: entry.path.clone(),
                    source,
                },
            })?;
            let count = ready.len();
            self.consume(count);
        }
        Ok(())
    }
}

impl BufRead for CheckedContent<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let offset = self.content.offset();
        match self.content.fill_buf() {
            Err(error) => {
                self.truncated = Some(offset);
                Err(error)
            }
            Ok(ready) => Ok(ready),
        }
    }

    fn consume(&mut self, count: usize) {
        // What is consumed is buffered already: this reads nothing.
        if let Ok(ready) = self.content.fill_buf() {
            self.checksum.update(&ready[..count]);
        }
        self.content.consume(count);
    }
}

impl Read for CheckedContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
