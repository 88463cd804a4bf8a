//! Applying one layer. (Signatures only; the body follows.)

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use vcontainer_image::{DiffId, Digest, Timestamp};

use crate::sink::{SinkError, TreeWriter};
use crate::tar_split::TarSplitFile;
use crate::tree::{LayerTree, LowerView};

/// What a layer may ask for at most, against layer bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar stream of one layer.
    pub uncompressed_bytes: u64,
    /// Entries of one layer.
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
    /// The time of what the layer does not date itself: implied directories that no lower layer has, whiteouts.
    pub epoch: Timestamp,
    /// Where temporary files go (tar-split streams above 256 KiB).
    pub scratch: &'a Path,
    /// Called with the number of bytes of the blob that were read since the last call, on another thread.
    pub on_read: &'a (dyn Fn(u64) + Sync),
}

/// What is known about a layer once it has been written.
#[derive(Debug)]
pub struct AppliedLayer {
    /// Its names; needed by [`settle`] and by the layers above.
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

/// A layer could not be applied. The text names the layer and, where there is one, the entry.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack layer {layer}")]
pub struct ApplyError {
    /// The digest of the layer's blob.
    pub layer: Digest,
}

/// A layer blob and what is claimed about it; everything is verified.
pub struct LayerBlob<'a> {
    /// Digest of the blob as it is shipped.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// The bytes.
    pub reader: Box<dyn Read + Send + 'a>,
}

/// Writes a layer to `out` and verifies it. To be followed by [`settle`] with the same writer.
///
/// # Errors
/// See [`ApplyError`]; `out` is then of no use.
pub fn apply(
    layer: LayerBlob<'_>,
    _out: &mut dyn TreeWriter,
    _lower: Option<&LowerView<'_>>,
    _options: &ApplyOptions<'_>,
) -> Result<AppliedLayer, ApplyError> {
    Err(ApplyError { layer: layer.digest })
}

/// Writes what depends on the layers below: explicit whiteouts for all that the layer hides, and the metadata of
/// implied directories. Returns how many whiteouts were written.
///
/// # Errors
/// The writer's.
pub fn settle(
    _tree: &LayerTree,
    _lower: &LowerView<'_>,
    _out: &mut dyn TreeWriter,
    _epoch: Timestamp,
) -> Result<u64, SinkError> {
    Ok(0)
}
