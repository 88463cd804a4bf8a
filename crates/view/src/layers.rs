//! The layers of several images: which image has which, and what sharing saves.

use std::collections::BTreeMap;

use serde::Serialize;
use vcontainer_image::{DiffId, Digest, Image};

use crate::describe::steps;
use crate::error::Error;
use crate::read::{Limits, measure};

/// Images with their layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// The images, in the order given.
    pub images: Vec<Stack>,
    /// Each layer once: in the order of the images, base first.
    pub layers: Vec<Layer>,
    /// Bytes of all layers of all images together.
    pub total: u64,
    /// Bytes of all layers, each once: what is really needed.
    pub needed: u64,
    /// What sharing saves: the difference.
    pub saved: u64,
}

/// An image as a stack of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// What it is called here.
    pub name: String,
    /// Such as `linux/arm64`.
    pub platform: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes of all its layers.
    pub size: u64,
    /// Bytes of those layers that another image here has, too.
    pub shared: u64,
    /// Its layers, base first, as places in [`Layers::layers`].
    pub layers: Vec<usize>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The digest of the blob, by which layers are the same.
    pub digest: Digest,
    /// The digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The size of the uncompressed stream in bytes.
    pub unpacked: u64,
    /// How many objects are in it, whiteouts included.
    pub objects: usize,
    /// What made it, according to the first image that has it; empty if nothing says it.
    pub created_by: String,
    /// The images that have it, as places in [`Layers::images`].
    pub images: Vec<usize>,
}

/// Compares the layers of images, each with what it is called. Every layer is read once.
///
/// # Errors
/// A layer is damaged.
pub fn compare(images: &[(String, Image)], limits: Limits) -> Result<Layers, Error> {
    let mut places: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut layers: Vec<Layer> = Vec::new();
    let mut stacks = Vec::new();
    for (number, (name, image)) in images.iter().enumerate() {
        let steps = steps(&image.config_view.history, &image.layers);
        let mut made_by = steps.into_iter().filter(|step| step.layer.is_some());
        let mut stack = Vec::new();
        for source in &image.layers {
            let created_by = made_by.next().map(|step| step.created_by).unwrap_or_default();
            let place = match places.get(&source.digest) {
                Some(place) => *place,
                None => {
                    let (measured, objects) = measure(source, limits)?;
                    layers.push(Layer {
                        digest: source.digest,
                        diff_id: source.diff_id,
                        size: source.size,
                        unpacked: measured.unpacked,
                        objects,
                        created_by,
                        images: Vec::new(),
                    });
                    places.insert(source.digest, layers.len() - 1);
                    layers.len() - 1
                }
            };
            if let Some(layer) = layers.get_mut(place)
                && layer.images.last() != Some(&number)
            {
                layer.images.push(number);
            }
            stack.push(place);
        }
        stacks.push(Stack {
            name: name.clone(),
            platform: image.platform.to_string(),
            digest: image.manifest.digest,
            size: image.layers.iter().map(|layer| layer.size).sum(),
            shared: 0,
            layers: stack,
        });
    }
    for stack in &mut stacks {
        let shared = stack.layers.iter().filter_map(|place| layers.get(*place));
        stack.shared = shared
            .filter(|layer| layer.images.len() > 1)
            .map(|layer| layer.size)
            .sum();
    }
    let total: u64 = stacks.iter().map(|stack| stack.size).sum();
    let needed: u64 = layers.iter().map(|layer| layer.size).sum();
    Ok(Layers {
        images: stacks,
        layers,
        total,
        needed,
        saved: total.saturating_sub(needed),
    })
}
