//! What lies below the next layer: read only when somebody asks.

use std::fs::File;
use std::path::{Path, PathBuf};

use vcontainer_image::Compression;

use crate::error::{Error, OnPath as _};
use crate::tree::Tree;
use crate::unpack::Unpacker;

/// The file system that the layers so far make.
pub(crate) struct Below {
    unpacker: Unpacker,
    /// Layers that have not been unpacked yet, lowest first.
    waiting: Vec<(PathBuf, Compression)>,
}

impl Below {
    /// Nothing; what is unpacked is kept in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            unpacker: Unpacker::new(directory)?,
            waiting: Vec::new(),
        })
    }

    /// One more layer, as a blob.
    pub(crate) fn add(&mut self, blob: PathBuf, compression: Compression) {
        self.waiting.push((blob, compression));
    }

    /// One more layer, on top of what was asked for.
    pub(crate) fn lay_over(&mut self, layer: &Tree) {
        self.unpacker.lay_over(layer);
    }

    /// The file system.
    pub(crate) fn tree(&mut self) -> Result<&Tree, Error> {
        for (blob, compression) in self.waiting.drain(..) {
            let file = File::open(&blob).at("opening", &blob)?;
            let origin = format!("layer `{}`", blob.display());
            self.unpacker.add(file, compression, &origin)?;
        }
        Ok(self.unpacker.tree())
    }
}
