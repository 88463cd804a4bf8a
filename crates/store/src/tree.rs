//! The names of one layer.

use std::io;
use std::path::Path;

/// What one layer holds, without content. (Signatures only; the body follows.)
#[derive(Debug, Default)]
pub struct LayerTree(());

impl LayerTree {
    /// Reads a layer that lies on disk already, such as `overlay2/<id>/diff`.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn from_directory(path: &Path) -> io::Result<Self> {
        path.read_dir().map(|_| Self(()))
    }
}

/// The merged view of the layers below a layer.
#[derive(Debug, Clone, Default)]
pub struct LowerView<'a>(Vec<&'a LayerTree>);

impl<'a> LowerView<'a> {
    /// From the layers below, nearest parent first; none for a base layer.
    pub fn new(layers: impl IntoIterator<Item = &'a LayerTree>) -> Self {
        Self(layers.into_iter().collect())
    }
}
