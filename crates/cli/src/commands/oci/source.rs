//! Images that commands are given.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use vcontainer_image::{Image, OpenOptions, Platform, SourceError};

/// The images at a path, read by `list`; one at least.
pub(super) fn images(
    path: &Path,
    list: impl FnOnce(&Path, &OpenOptions) -> Result<Vec<Image>, SourceError>,
) -> Result<Vec<Image>> {
    let doing = || format!("`{}` cannot be used", path.display());
    // The platform only matters for a root filesystem, which has none itself.
    let any = Platform::new("linux", std::env::consts::ARCH, None);
    let images = list(path, &OpenOptions::new(any)).with_context(doing)?;
    match images.is_empty() {
        true => Err(anyhow!("there is no image in it")).with_context(doing),
        false => Ok(images),
    }
}
