//! What the layers below a layer show when overlayfs merges them.
//!
//! Source: Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories" and "Multiple lower
//! layers": the nearest layer that has a name decides; directories merge with directories below them until an opaque
//! one, a whiteout or something that is no directory.

use std::collections::BTreeMap;

use vcontainer_image::{Meta, TreePath};

use crate::tree::{LayerTree, NodeId, NodeKind, ROOT};

/// The merged view of the layers below a layer.
#[derive(Debug, Clone, Default)]
pub struct LowerView<'a> {
    /// Nearest parent first.
    layers: Vec<&'a LayerTree>,
}

/// What a name stands for in the merged view.
#[derive(Debug, Clone)]
pub(crate) enum Lower<'a> {
    Nothing,
    /// Anything but a directory.
    Object,
    Directory(MergedDirectory<'a>),
}

/// The directories of several layers that show as one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MergedDirectory<'a> {
    /// Nearest parent first.
    parts: Vec<(&'a LayerTree, NodeId)>,
}

impl<'a> LowerView<'a> {
    /// From the layers below, nearest parent first; none for a base layer.
    pub fn new(layers: impl IntoIterator<Item = &'a LayerTree>) -> Self {
        Self {
            layers: layers.into_iter().collect(),
        }
    }

    /// The metadata of the directory at `path`, if there is one and any layer describes it.
    #[must_use]
    pub fn directory_meta(&self, path: &TreePath) -> Option<&'a Meta> {
        let mut at = self.root();
        for name in path.components() {
            match at.lookup(name) {
                Lower::Directory(directory) => at = directory,
                Lower::Object | Lower::Nothing => return None,
            }
        }
        at.meta()
    }

    pub(crate) fn root(&self) -> MergedDirectory<'a> {
        let mut parts = Vec::new();
        for layer in &self.layers {
            parts.push((*layer, ROOT));
            if layer.is_opaque(ROOT) {
                break;
            }
        }
        MergedDirectory { parts }
    }
}

impl<'a> MergedDirectory<'a> {
    pub fn lookup(&self, name: &[u8]) -> Lower<'a> {
        let mut parts = Vec::new();
        for (layer, directory) in &self.parts {
            let Some(node) = layer.child(*directory, name) else {
                continue;
            };
            match layer.kind(node) {
                NodeKind::Directory => {
                    parts.push((*layer, node));
                    if layer.is_opaque(node) {
                        break;
                    }
                }
                NodeKind::Whiteout => break,
                NodeKind::Symlink | NodeKind::Other if parts.is_empty() => return Lower::Object,
                NodeKind::Symlink | NodeKind::Other => break,
            }
        }
        if parts.is_empty() {
            Lower::Nothing
        } else {
            Lower::Directory(Self { parts })
        }
    }

    /// The names that show, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut shows = BTreeMap::new();
        for (layer, directory) in &self.parts {
            for node in layer.children(*directory) {
                shows
                    .entry(layer.name(node))
                    .or_insert_with(|| layer.kind(node) != NodeKind::Whiteout);
            }
        }
        shows
            .into_iter()
            .filter_map(|(name, shows)| shows.then_some(name))
    }

    /// The metadata that show: those of the nearest layer that describes the directory instead of implying it.
    pub fn meta(&self) -> Option<&'a Meta> {
        self.parts
            .iter()
            .find_map(|(layer, directory)| layer.directory_meta(*directory))
    }
}
