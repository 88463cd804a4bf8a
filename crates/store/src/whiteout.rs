//! What a layer hides: the marks in its archive, and the devices that overlayfs understands.
//!
//! Source of the marks: OCI image-spec `layer.md`, "Whiteouts". This tool never writes the `trusted.overlay.opaque`
//! attribute: since the layers below are known, an opaque directory is written as one whiteout for each name that it
//! hides. Such a store survives every archiver, and serves rootful and rootless engines alike. Whiteouts that hide
//! nothing are dropped: overlayfs does not filter them in a directory that is not merged, where they show as names
//! that cannot be opened.

use vcontainer_image::{EntryKind, Meta, Timestamp};

use crate::lower::{Lower, LowerView, MergedDirectory};
use crate::sink::{SinkError, TreeWriter};
use crate::tree::{LayerTree, NodeId, NodeKind, ROOT};

/// The mark on a name.
const PREFIX: &[u8] = b".wh.";
/// Marks of aufs itself; only the opaque one means something to others.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// The mark of an opaque directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the last component of an entry's path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    /// The entry is what it says.
    None,
    /// The directory that the entry lies in hides everything below.
    Opaque,
    /// Nothing to anybody but aufs.
    Ignored,
    /// This name is hidden. Empty, `.` and `..` are no names: an error.
    Whiteout(&'a [u8]),
}

impl<'a> Mark<'a> {
    pub fn of(name: &'a [u8]) -> Self {
        if name == OPAQUE {
            Self::Opaque
        } else if name.starts_with(AUFS_PREFIX) {
            Self::Ignored
        } else {
            name.strip_prefix(PREFIX).map_or(Self::None, Self::Whiteout)
        }
    }
}

/// A directory that nothing describes: what engines make, with a fixed time.
pub(crate) fn implied_meta(epoch: Timestamp) -> Meta {
    Meta {
        mode: 0o755,
        mtime: epoch,
        ..Meta::default()
    }
}

/// Writes what depends on the layers below: a whiteout for everything that the layer hides, and the metadata of the
/// directories that it only implies. Returns how many whiteouts were written.
///
/// A whiteout is a character device 0:0 with mode 0 and owner 0:0, dated `epoch`: nobody ever sees it, so it does not
/// take the owner of its mark in the archive. An implied directory looks as it does below (engines reset it to 0755
/// and root, which changes an image by accident), or as 0755, 0:0, dated `epoch` if there is no directory below. `tree`
/// learns these metadata, so that layers above see them.
///
/// # Errors
/// The writer's.
pub fn settle(
    tree: &mut LayerTree,
    lower: &LowerView<'_>,
    out: &mut dyn TreeWriter,
    epoch: Timestamp,
) -> Result<u64, SinkError> {
    let mut settled = Settlement {
        tree,
        out,
        whiteout: Meta {
            mtime: epoch,
            ..Meta::default()
        },
        written: 0,
        implied: Vec::new(),
        open: vec![(ROOT, lower.root(), tree.is_opaque(ROOT))],
    };
    while let Some((directory, below, hides)) = settled.open.pop() {
        settled.directory(directory, &below, hides)?;
    }
    let Settlement { written, implied, .. } = settled;
    for (directory, meta) in implied {
        tree.set_implied_meta(directory, meta.clone());
    }
    Ok(written)
}

struct Settlement<'t, 'l, 'o> {
    tree: &'t LayerTree,
    out: &'o mut dyn TreeWriter,
    /// The metadata of all whiteouts.
    whiteout: Meta,
    written: u64,
    /// Directories of the layer that were given the metadata they have below.
    implied: Vec<(NodeId, &'l Meta)>,
    /// Directories still to be settled, what lies below them, and whether they hide all of that.
    open: Vec<(NodeId, MergedDirectory<'l>, bool)>,
}

impl<'l> Settlement<'_, 'l, '_> {
    fn directory(
        &mut self,
        directory: NodeId,
        below: &MergedDirectory<'l>,
        hides: bool,
    ) -> Result<(), SinkError> {
        for child in self.tree.children(directory) {
            let name = self.tree.name(child);
            match self.tree.kind(child) {
                NodeKind::Symlink | NodeKind::Other => {}
                NodeKind::Whiteout if hides => {}
                NodeKind::Whiteout => {
                    if !matches!(below.lookup(name), Lower::Nothing) {
                        self.write_whiteout(directory, name)?;
                    }
                }
                NodeKind::Directory => {
                    if let Lower::Directory(merged) = below.lookup(name) {
                        if let (None, Some(meta)) = (self.tree.directory_meta(child), merged.meta()) {
                            self.out.directory(&self.tree.path(child), meta)?;
                            self.implied.push((child, meta));
                        }
                        self.open
                            .push((child, merged, hides || self.tree.is_opaque(child)));
                    }
                }
            }
        }
        if hides {
            for name in below.names() {
                let own = self
                    .tree
                    .child(directory, name)
                    .map(|child| self.tree.kind(child));
                if matches!(own, None | Some(NodeKind::Whiteout)) {
                    self.write_whiteout(directory, name)?;
                }
            }
        }
        Ok(())
    }

    fn write_whiteout(&mut self, directory: NodeId, name: &[u8]) -> Result<(), SinkError> {
        let path = self.tree.path(directory).join(name);
        self.written += 1;
        self.out
            .node(&path, &self.whiteout, &EntryKind::Char { major: 0, minor: 0 })
    }
}
