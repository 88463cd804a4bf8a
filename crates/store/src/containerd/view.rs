//! What is in a containerd store.

use std::collections::BTreeMap;

use vcontainer_image::{
    ChainId, Digest, Manifest, ManifestOrIndex, Reference, Timestamp, parse_manifest_or_index,
};

use super::existing::Existing;
use super::metadata::is_dangling;
use crate::StoreError;
use crate::import::StoreKind;
use crate::store_dir::StoreDir;
use crate::view::{ImageView, LayerView, StoreView, image_view};

/// Reads what dockerd has in the store. Layers of containers, which are no image's, are not shown.
pub(crate) fn read(dir: &StoreDir) -> Result<StoreView, StoreError> {
    let store = Existing::open(Some(dir.root()), Timestamp::default())?;
    let mut layers: BTreeMap<String, LayerView> = BTreeMap::new();
    for (chain, name) in store.metadata.snapshots() {
        let Some(snapshot) = store.snapshots.get(&name).filter(|snapshot| snapshot.committed) else {
            continue;
        };
        let layer = LayerView {
            id: chain.clone(),
            diff_id: None,
            size: snapshot.usage.bytes,
            images: 0,
        };
        layers.insert(chain, layer);
    }
    let mut targets: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for (name, target) in store.metadata.images() {
        targets.entry(target).or_default().push(name);
    }
    let mut images = Vec::new();
    for (target, names) in targets {
        let mut image = image(&store, target, &mut layers)?;
        for name in names.into_iter().filter(|name| !is_dangling(name)) {
            match Reference::parse(&name) {
                Ok(name) => {
                    image.digests.push(format!("{}@{target}", name.familiar_name()));
                    if name.digest().is_none() {
                        image.names.push(name.familiar());
                    }
                }
                Err(_) => image.names.push(name),
            }
        }
        image.names.sort();
        image.digests.sort();
        image.digests.dedup();
        images.push(image);
    }
    Ok(StoreView::new(StoreKind::DockerContainerd, images, layers))
}

fn image(
    store: &Existing,
    target: Digest,
    layers: &mut BTreeMap<String, LayerView>,
) -> Result<ImageView, StoreError> {
    let id = target.to_string();
    let Some(manifest) = manifest(store, target)? else {
        let (mut image, _) = image_view(id, None);
        image.problems = vec!["it has no manifest".to_owned()];
        return Ok(image);
    };
    let config = store.document(manifest.config.digest)?;
    let (mut image, diff_ids) = image_view(id, config.as_deref());
    for (chain, diff_id) in ChainId::chain(&diff_ids).into_iter().zip(diff_ids) {
        let chain = chain.0.to_string();
        if let Some(layer) = layers.get_mut(&chain) {
            layer.diff_id = Some(diff_id.0);
        }
        image.add_layer(chain, layers);
    }
    for layer in manifest.layers {
        if !store.blob(layer.digest, layer.size)? {
            image.problems.push(format!("blob {} is missing", layer.digest));
        }
    }
    Ok(image)
}

/// The manifest that an image's name leads to: of the entries of an index, the first that the store has.
fn manifest(store: &Existing, target: Digest) -> Result<Option<Manifest>, StoreError> {
    let parse = |bytes: Vec<u8>| parse_manifest_or_index(&bytes, "").ok();
    let entries = match store.document(target)?.and_then(parse) {
        None => return Ok(None),
        Some(ManifestOrIndex::Manifest(manifest)) => return Ok(Some(*manifest)),
        Some(ManifestOrIndex::Index(index)) => index.manifests,
    };
    for entry in entries.iter().filter(|entry| !entry.is_no_image()) {
        if let Some(ManifestOrIndex::Manifest(manifest)) = store.document(entry.digest)?.and_then(parse) {
            return Ok(Some(*manifest));
        }
    }
    Ok(None)
}
