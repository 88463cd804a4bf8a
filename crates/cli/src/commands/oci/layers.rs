//! `vcontainer oci layers`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use vcontainer_image::Image;
use vcontainer_view::Limits;
use vcontainer_view::layers::{Layers, compare};
use vcontainer_view::page::page;

use super::source;
use crate::args::{Format, OciLayers};
use crate::output::{bytes, columns, count, json, print, visible};
use crate::progress::short;

/// Shows the layers of images.
///
/// # Errors
/// An image cannot be read, or the page not be written.
pub fn run(args: &OciLayers) -> Result<()> {
    let mut images = Vec::new();
    for path in &args.images {
        images.extend(named(path, source::images_for(path, args.arch.as_deref())?));
    }
    let layers = compare(&images, Limits::default()).context("the layers cannot be compared")?;
    if let Some(file) = &args.html {
        fs::write(file, page(&layers)).with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    print(&match args.format {
        Format::Table => table(&layers),
        Format::Json => json(&layers)?,
    })
}

/// Images by the path that they come from, and where that has several by platform, too.
fn named(path: &Path, images: Vec<Image>) -> Vec<(String, Image)> {
    let several = images.len() > 1;
    let path = path.display().to_string();
    let name = |image: &Image| match several {
        true => format!("{path} ({})", image.platform),
        false => path.clone(),
    };
    images.into_iter().map(|image| (name(&image), image)).collect()
}

fn table(layers: &Layers) -> String {
    let header = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut images = vec![header(&["", "IMAGE", "PLATFORM", "LAYERS", "SIZE", "SHARED"])];
    for (number, image) in layers.images.iter().enumerate() {
        images.push(vec![
            format!("[{}]", number + 1),
            visible(&image.name),
            visible(&image.platform),
            image.layers.len().to_string(),
            bytes(image.size),
            bytes(image.shared),
        ]);
    }
    let mut rows = vec![header(&[
        "LAYER",
        "SIZE",
        "UNCOMPRESSED",
        "OBJECTS",
        "IMAGES",
        "MADE BY",
    ])];
    for layer in &layers.layers {
        let images: Vec<String> = layer
            .images
            .iter()
            .map(|number| format!("[{}]", number + 1))
            .collect();
        rows.push(vec![
            short(&layer.digest.hex()).to_owned(),
            bytes(layer.size),
            bytes(layer.unpacked),
            layer.objects.to_string(),
            images.join(" "),
            match layer.created_by.is_empty() {
                true => "-".to_owned(),
                false => visible(&layer.created_by),
            },
        ]);
    }
    format!(
        "{}\n{}\n{}, {}: {} in all, {} needed, {} saved by sharing\n",
        columns(&images),
        columns(&rows),
        count(layers.images.len(), "image"),
        count(layers.layers.len(), "layer"),
        bytes(layers.total),
        bytes(layers.needed),
        bytes(layers.saved)
    )
}
