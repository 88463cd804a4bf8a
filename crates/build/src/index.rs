//! Several images as one: a layout with an image for each platform.
//!
//! Source: OCI image-spec `image-index.md`, `image-layout.md`. The images stay what they are: manifests and configurations
//! are copied byte for byte, so their digests are the same alone and together.

use std::path::Path;

use vcontainer_image::{Image, OCI_INDEX, Platform};

use crate::error::Error;
use crate::layout::{Descriptor, Entry, LayoutWriter, index};

/// How a layout tells the platforms of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `index.json` names one index, which lists the platforms: skopeo, podman and registries know it as one image.
    Nested,
    /// `index.json` itself lists the platforms.
    Flat,
}

/// Writes one layout with all these images to `target`, in this order; each must be for another platform.
///
/// # Errors
/// Nothing has been changed at its place then. Messages name the layout that an image comes from.
pub fn write(images: &[Image], form: Form, tag: &str, target: &Path) -> Result<(), Error> {
    check(images)?;
    let mut writer = LayoutWriter::new(target)?;
    let manifests = images
        .iter()
        .map(|image| add(&mut writer, image))
        .collect::<Result<Vec<_>, _>>()?;
    let listed = manifests
        .into_iter()
        .zip(images)
        .map(|(descriptor, image)| Entry {
            descriptor,
            tag: (form == Form::Flat).then_some(tag),
            platform: Some(&image.platform),
            index: None,
        });
    let listed: Vec<Entry<'_>> = listed.collect();
    match form {
        Form::Flat => writer.finish_with(&listed),
        Form::Nested => {
            let descriptor = writer.add_document(OCI_INDEX, &index(&listed))?;
            writer.finish_with(&[Entry {
                descriptor,
                tag: Some(tag),
                platform: None,
                index: None,
            }])
        }
    }
}

fn check(images: &[Image]) -> Result<(), Error> {
    for (number, image) in images.iter().enumerate() {
        let wrong = |fault: String| Error::definition(format!("`{}`", image.origin), fault);
        let own = image.config_view.platform();
        if own.architecture == "unknown" {
            return Err(wrong(format!(
                "the configuration of its image {} does not say which architecture it is for",
                image.manifest.digest
            )));
        }
        if !is_of(&image.platform, &own) {
            return Err(wrong(format!(
                "its index says that {} is for {}, and its configuration says {own}: build it again",
                image.manifest.digest, image.platform
            )));
        }
        let others = images.iter().take(number);
        if let Some(other) = others.into_iter().find(|other| other.platform == image.platform) {
            let place = match other.origin == image.origin {
                true => "it".to_owned(),
                false => format!("`{}`", other.origin),
            };
            return Err(wrong(format!(
                "its image {} is for {}, and {place} has one for that, too ({}): each platform can be there once",
                image.manifest.digest, image.platform, other.manifest.digest
            )));
        }
    }
    Ok(())
}

/// Whether an index may mark an image as being for a platform: it may know the variant better than the configuration.
fn is_of(marked: &Platform, own: &Platform) -> bool {
    (&marked.os, &marked.architecture) == (&own.os, &own.architecture)
}

/// Copies an image: every blob of it.
fn add(writer: &mut LayoutWriter, image: &Image) -> Result<Descriptor, Error> {
    for layer in &image.layers {
        writer.add_layer(layer)?;
    }
    writer.add_document(&image.config.media_type, &image.config.bytes)?;
    writer.add_document(&image.manifest.media_type, &image.manifest.bytes)
}

#[cfg(test)]
mod tests;
