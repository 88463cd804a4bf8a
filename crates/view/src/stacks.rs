//! Where each layer stands in the picture: in the same place in every image that has it, above those that it lies on.

use crate::layers::Layers;

/// The height of the largest image, in pixels, if its layers were drawn by size alone.
const HEIGHT: f64 = 380.0;
/// The least height of a layer: its number must be readable.
const LEAST: u64 = 22;
/// Between two layers.
const GAP: u64 = 3;

/// Where a layer stands, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// From the ground.
    pub bottom: u64,
    /// How high it is.
    pub height: u64,
}

/// The places of all layers, and the height of the picture.
pub(crate) fn places(layers: &Layers) -> (Vec<Place>, u64) {
    let largest = layers
        .images
        .iter()
        .map(|image| image.size)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut places = vec![Place::default(); layers.layers.len()];
    let mut tops = vec![0; layers.images.len()];
    for number in order(layers) {
        let (Some(layer), Some(place)) = (layers.layers.get(number), places.get_mut(number)) else {
            continue;
        };
        place.height = height(layer.size, largest);
        let below = layer.images.iter().filter_map(|image| tops.get(*image)).max();
        place.bottom = below.copied().unwrap_or(0);
        for image in &layer.images {
            if let Some(top) = tops.get_mut(*image) {
                *top = place.bottom + place.height + GAP;
            }
        }
    }
    (places, tops.into_iter().max().unwrap_or(0))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels"
)]
fn height(size: u64, largest: u64) -> u64 {
    let height = (size as f64 / largest as f64 * HEIGHT).round() as u64;
    height.max(LEAST)
}

/// The layers so that each comes after those below it. Where two images have them the other way round, the first wins.
fn order(layers: &Layers) -> Vec<usize> {
    // How many layers of each image have been put in order.
    let mut done = vec![0; layers.images.len()];
    let mut is_done = vec![false; layers.layers.len()];
    let mut order = Vec::new();
    while order.len() < layers.layers.len() {
        for (image, done) in layers.images.iter().zip(&mut done) {
            let known = |number: &&usize| is_done.get(**number) == Some(&true);
            *done += image.layers.iter().skip(*done).take_while(known).count();
        }
        let next_of = |image: usize| {
            let stack = layers.images.get(image)?;
            stack.layers.get(*done.get(image)?).copied()
        };
        let is_ready = |number: &usize| match layers.layers.get(*number) {
            Some(layer) => layer.images.iter().all(|image| next_of(*image) == Some(*number)),
            None => false,
        };
        let nexts = || (0..layers.images.len()).filter_map(next_of);
        let Some(next) = nexts().find(is_ready).or_else(|| nexts().next()) else {
            break;
        };
        if let Some(is_done) = is_done.get_mut(next) {
            *is_done = true;
        }
        order.push(next);
    }
    order
}
