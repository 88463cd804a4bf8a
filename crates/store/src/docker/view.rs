//! What is in a Docker store.

use std::collections::BTreeMap;

use vcontainer_image::{ChainId, Digest};

use super::existing::Existing;
use crate::StoreError;
use crate::import::StoreKind;
use crate::store_dir::StoreDir;
use crate::view::{LayerView, StoreView, image_view};

/// Reads the store.
pub(crate) fn read(dir: &StoreDir) -> Result<StoreView, StoreError> {
    let names = Existing::new(Some(dir.root())).repositories()?;
    let mut references: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (reference, image) in names.references() {
        references.entry(image).or_default().push(reference.to_owned());
    }
    let mut layers: BTreeMap<String, LayerView> = BTreeMap::new();
    for hex in dir.list("image/overlay2/layerdb/sha256")? {
        let field = |name: &str| dir.text(&format!("image/overlay2/layerdb/sha256/{hex}/{name}"));
        let diff_id = field("diff")?.and_then(|text| text.parse::<Digest>().ok());
        let size = field("size")?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let id = format!("sha256:{hex}");
        layers.insert(
            id.clone(),
            LayerView {
                id,
                diff_id,
                size,
                images: 0,
            },
        );
    }
    let mut images = Vec::new();
    for hex in dir.list("image/overlay2/imagedb/content/sha256")? {
        let id = format!("sha256:{hex}");
        let references = references.remove(id.as_str()).unwrap_or_default();
        let (digests, tags) = references
            .into_iter()
            .partition(|reference| reference.contains('@'));
        let config = dir.read(&format!("image/overlay2/imagedb/content/sha256/{hex}"))?;
        let (mut image, diff_ids) = image_view(id, config.as_deref());
        (image.names, image.digests) = (tags, digests);
        for chain in ChainId::chain(&diff_ids) {
            image.add_layer(chain.0.to_string(), &mut layers);
        }
        images.push(image);
    }
    Ok(StoreView::new(StoreKind::DockerOverlay2, images, layers))
}
