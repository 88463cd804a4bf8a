//! `vcontainer oci list`.

use anyhow::Result;
use serde::Serialize;
use vcontainer_image::{Image, list_layout};

use super::source;
use crate::args::{Format, OciList};
use crate::output::{bytes, columns, json, print, visible};

/// An image of a layout. This is the form of `--format json` (an array of these).
#[derive(Debug, Serialize)]
struct Listed {
    /// Such as `linux/arm64`.
    platform: String,
    /// What the layout calls it; empty if it has no name.
    tags: Vec<String>,
    /// The digest of its manifest.
    digest: String,
    /// How many layers it has.
    layers: usize,
    /// Bytes of all its layers as they lie there.
    size: u64,
}

/// Lists the images of a layout.
///
/// # Errors
/// It is no layout, or damaged.
pub fn run(args: &OciList) -> Result<()> {
    let images = source::images(&args.layout, list_layout)?;
    let listed: Vec<Listed> = images.iter().map(of).collect();
    print(&match args.format {
        Format::Table => table(&listed),
        Format::Json => json(&listed)?,
    })
}

fn of(image: &Image) -> Listed {
    Listed {
        platform: image.platform.to_string(),
        tags: image.tags.clone(),
        digest: image.manifest.digest.to_string(),
        layers: image.layers.len(),
        size: image.layers.iter().map(|layer| layer.size).sum(),
    }
}

fn table(listed: &[Listed]) -> String {
    let mut rows = vec![
        ["PLATFORM", "TAG", "LAYERS", "SIZE", "DIGEST"]
            .map(String::from)
            .to_vec(),
    ];
    rows.extend(listed.iter().map(|image| {
        vec![
            visible(&image.platform),
            match image.tags.is_empty() {
                true => "-".to_owned(),
                false => visible(&image.tags.join(", ")),
            },
            image.layers.to_string(),
            bytes(image.size),
            image.digest.clone(),
        ]
    }));
    columns(&rows)
}
