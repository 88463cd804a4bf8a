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
        // What lies between an image and a container is committed, too, but named after the container.
        if chain.parse::<Digest>().is_err() {
            continue;
        }
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
    let mut best = None;
    for manifest in manifests(store, target)? {
        let config = store.document(manifest.config.digest)?;
        let (image, diff_ids) = image_view(id.clone(), config.as_deref());
        let chains: Vec<String> = ChainId::chain(&diff_ids)
            .iter()
            .map(|chain| chain.0.to_string())
            .collect();
        let unpacked = !chains.is_empty() && chains.iter().all(|chain| layers.contains_key(chain));
        // Of the platforms of an image, show the one that is unpacked.
        if unpacked || best.is_none() {
            best = Some((image, diff_ids, chains, manifest));
        }
        if unpacked {
            break;
        }
    }
    let Some((mut image, diff_ids, chains, manifest)) = best else {
        let (mut image, _) = image_view(id, None);
        image.problems = vec!["it has no manifest".to_owned()];
        return Ok(image);
    };
    for (chain, diff_id) in chains.into_iter().zip(diff_ids) {
        match layers.get_mut(&chain) {
            Some(layer) => {
                layer.diff_id = Some(diff_id.0);
                image.add_layer(chain, layers);
            }
            // Unpacked by the engine when it is needed, from its blob.
            None => image.layers.push(chain),
        }
    }
    for layer in manifest.layers {
        if !store.blob(layer.digest, layer.size)? {
            image.problems.push(format!("blob {} is missing", layer.digest));
        }
    }
    Ok(image)
}

/// The manifests that an image's name leads to: of the entries of an index, those that the store has.
fn manifests(store: &Existing, target: Digest) -> Result<Vec<Manifest>, StoreError> {
    let parse = |bytes: Vec<u8>| parse_manifest_or_index(&bytes, "").ok();
    let entries = match store.document(target)?.and_then(parse) {
        None => return Ok(Vec::new()),
        Some(ManifestOrIndex::Manifest(manifest)) => return Ok(vec![*manifest]),
        Some(ManifestOrIndex::Index(index)) => index.manifests,
    };
    let mut manifests = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.is_no_image()) {
        if let Some(ManifestOrIndex::Manifest(manifest)) = store.document(entry.digest)?.and_then(parse) {
            manifests.push(*manifest);
        }
    }
    Ok(manifests)
}
