//! What is bundled: the probe image and one on top of it, as layouts in a directory of images.

use std::path::PathBuf;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::layout::{Compression, Descriptor, Image, Layout};
use e2e::machine::scratch_directory;
use e2e::probe;
use tempfile::TempDir;

/// A directory of images, and what is in it.
pub struct Images {
    directory: TempDir,
    /// The image `probe`.
    pub probe: Image,
    /// Digests of its blobs.
    pub probe_blobs: Descriptor,
    /// The image `derived`: `probe` and a layer.
    pub derived: Image,
    /// Digests of its blobs.
    pub derived_blobs: Descriptor,
}

impl Images {
    /// Images that run: with a busybox of this release.
    pub fn new(suite: Suite, compression: Compression) -> Result<Self> {
        Self::of("amd64", &suite.busybox()?, compression)
    }

    /// Images of another architecture, which nobody here can run.
    pub fn foreign(architecture: &str) -> Result<Self> {
        Self::of(architecture, b"no program", Compression::Gzip)
    }

    fn of(architecture: &str, busybox: &[u8], compression: Compression) -> Result<Self> {
        let directory = scratch_directory()?;
        let probe = probe::image(architecture, busybox);
        let derived = probe::derived(&probe);
        let add = |name: &str, image: &Image| {
            let mut layout = Layout::create(directory.path().join(name))?;
            let descriptor = layout.add(image, compression)?;
            layout.name(&descriptor, Some("latest"))?;
            anyhow::Ok(descriptor)
        };
        let probe_blobs = add("probe", &probe)?;
        let derived_blobs = add("derived", &derived)?;
        Ok(Self {
            directory,
            probe,
            probe_blobs,
            derived,
            derived_blobs,
        })
    }

    /// The directory, as `--images` takes it.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The same as text.
    pub fn option(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }
}
