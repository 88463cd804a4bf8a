//! Images that commands are given.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use vcontainer_image::{Image, OpenOptions, Platform, SourceError};

use crate::output::visible;

type List = fn(&Path, &OpenOptions) -> Result<Vec<Image>, SourceError>;

/// The images at a path, read by `list`; one at least.
pub(super) fn images(path: &Path, list: List) -> Result<Vec<Image>> {
    read(path, Platform::new("linux", std::env::consts::ARCH, None), list)
}

/// The platform only matters for a root filesystem, which has none itself.
fn read(path: &Path, platform: Platform, list: List) -> Result<Vec<Image>> {
    let doing = || format!("`{}` cannot be used", path.display());
    let images = list(path, &OpenOptions::new(platform)).with_context(doing)?;
    match images.is_empty() {
        true => Err(anyhow!("there is no image in it")).with_context(doing),
        false => Ok(images),
    }
}

/// The images of any kind of source; with `arch` only those for it, one at least.
pub(super) fn images_for(path: &Path, arch: Option<&str>) -> Result<Vec<Image>> {
    let wanted = match arch {
        None => return images(path, vcontainer_image::list),
        Some(arch) => Platform::for_machine(arch).context("--arch cannot be used")?,
    };
    let mut images = read(path, wanted.clone(), vcontainer_image::list)?;
    let there: Vec<String> = images.iter().map(label).collect();
    images.retain(|image| image.platform == wanted);
    match images.is_empty() {
        true => bail!(
            "`{}` has no image for {wanted}, only: {}",
            path.display(),
            there.join(", ")
        ),
        false => Ok(images),
    }
}

/// The one image of any kind of source, or the one for `arch`.
pub(super) fn image_for(path: &Path, arch: Option<&str>) -> Result<Image> {
    let mut images = images_for(path, arch)?;
    let labels: Vec<String> = images.iter().map(label).collect();
    match (images.pop(), images.is_empty()) {
        (Some(image), true) => Ok(image),
        _ if arch.is_none() => bail!(
            "`{}` has several images, choose one with --arch: {}",
            path.display(),
            labels.join(", ")
        ),
        _ => bail!(
            "`{}` has several images for that: take one out with `vcontainer oci extract`: {}",
            path.display(),
            labels.join(", ")
        ),
    }
}

/// An image among others, for a message.
pub(super) fn label(image: &Image) -> String {
    let platform = image.platform.to_string();
    visible(&match image.tags.is_empty() {
        true => platform,
        false => format!("{platform} ({})", image.tags.join(", ")),
    })
}
