//! What is in a Podman store.

use std::collections::{BTreeMap, HashSet};

use super::MAX_LAYERS;
use super::existing::Existing;
use super::images_json::BigData;
use super::records::{text, texts};
use crate::StoreError;
use crate::import::StoreKind;
use crate::store_dir::StoreDir;
use crate::view::{LayerView, StoreView, image_view};

/// Reads the store.
pub(crate) fn read(dir: &StoreDir) -> Result<StoreView, StoreError> {
    let store = Existing::new(Some(dir.root()))?;
    let mut layers: BTreeMap<String, LayerView> = BTreeMap::new();
    let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
    for record in store.layers.iter() {
        let id = text(record, "id").unwrap_or_default();
        let diff_id = text(record, "diff-digest").and_then(|text| text.parse().ok());
        let size = record
            .get("diff-size")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        // A container's own layer has no digest; it belongs to no image.
        if diff_id.is_some() {
            layers.insert(
                id.to_owned(),
                LayerView {
                    id: id.to_owned(),
                    diff_id,
                    size,
                    images: 0,
                },
            );
        }
        if let Some(parent) = text(record, "parent").filter(|parent| !parent.is_empty()) {
            parents.insert(id, parent);
        }
    }
    let mut images = Vec::new();
    for record in store.images.iter() {
        let id = text(record, "id").unwrap_or_default();
        let key = BigData {
            key: format!("sha256:{id}"),
            content: b"",
            digest: vcontainer_image::Digest::of(b""),
        };
        let config = match id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            true => dir.read(&format!("overlay-images/{id}/{}", key.file_name()))?,
            false => None,
        };
        let (mut image, diff_ids) = image_view(id.to_owned(), config.as_deref());
        image.names = texts(record, "names");
        image.names.sort();
        let mut digests: Vec<String> = texts(record, "big-data-names")
            .iter()
            .filter_map(|key| key.strip_prefix("manifest-").map(str::to_owned))
            .chain(text(record, "digest").map(str::to_owned))
            .collect();
        digests.sort();
        digests.dedup();
        let mut repositories: Vec<&str> = image.names.iter().map(|name| repository(name)).collect();
        repositories.dedup();
        image.digests = repositories
            .iter()
            .flat_map(|name| digests.iter().map(move |digest| format!("{name}@{digest}")))
            .collect();

        let mut stack = Vec::new();
        let mut seen = HashSet::new();
        let mut next = text(record, "layer").filter(|layer| !layer.is_empty());
        while let Some(layer) = next {
            if !seen.insert(layer) {
                image.problems.push(format!("layer {layer} lies below itself"));
                break;
            }
            // Many images on one endless chain would take the product of both in time and memory.
            if stack.len() >= MAX_LAYERS {
                let problem = format!("it has more than {MAX_LAYERS} layers, which no engine mounts");
                image.problems.push(problem);
                break;
            }
            stack.push(layer.to_owned());
            next = parents.get(layer).copied();
        }
        if config.is_some() && image.problems.is_empty() && stack.len() != diff_ids.len() {
            image.problems.push(format!(
                "it has {} layers, its configuration {}",
                stack.len(),
                diff_ids.len()
            ));
        }
        for layer in stack.into_iter().rev() {
            image.add_layer(layer, &mut layers);
        }
        images.push(image);
    }
    Ok(StoreView::new(StoreKind::PodmanOverlay, images, layers))
}

/// A name without its tag or digest.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_longer_than_engines_mount_is_a_problem_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["overlay-layers", "overlay-images"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let layers: Vec<_> = (0..2000)
            .map(|number| json!({"id": format!("l{number}"), "parent": format!("l{}", number + 1)}))
            .collect();
        let images = json!([{"id": "i", "layer": "l0"}]);
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("overlay-layers/layers.json", json!(layers).to_string());
        write("overlay-images/images.json", images.to_string());
        let view = read(&StoreDir::new(folder.path())).unwrap();
        assert_eq!(view.images[0].layers.len(), MAX_LAYERS);
        let problems = view.images[0].problems.join("\n");
        assert!(problems.contains("more than 500 layers"), "{problems}");
    }
}
