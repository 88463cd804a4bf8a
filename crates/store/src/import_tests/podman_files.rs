//! Everything that an import into an empty Podman store writes.

use serde_json::{Value, json};
use tempfile::tempdir;
use vcontainer_image::{Document, TreePath};

use super::memory_sink::MemorySink;
use super::tiny_image::tiny_image;
use super::{bundle, named, named_listing, options};
use crate::{StoreKind, StoreTarget, import};

#[test]
fn a_store_has_exactly_these_files() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["etc/", "etc/a=1"], &["etc/.wh.a", "etc/b=2"]]);
    let root = tempdir().unwrap();
    let (report, sink) = bundle(StoreKind::PodmanOverlay, root.path(), &[(&image, "app:1")]);
    assert_eq!(named_listing(&sink, &image, &report), include_str!("podman.list"));

    let index = |name: &str| -> Value {
        serde_json::from_slice(&sink.entries()[&format!("var/lib/store/{name}")].content).unwrap()
    };
    let ids = super::super::podman::layer_ids(&[image.layers[0].diff_id, image.layers[1].diff_id]);
    let layer = |number: usize, parent: Option<&str>, size: u64| {
        let source = &image.layers[number];
        let mut layer = json!({ "id": ids[number] });
        if let Some(parent) = parent {
            layer["parent"] = parent.into();
        }
        layer["created"] = "2023-11-14T22:13:20Z".into();
        layer["compressed-diff-digest"] = json!(source.digest);
        layer["compressed-size"] = source.size.into();
        layer["diff-digest"] = json!(source.diff_id);
        layer["diff-size"] = size.into();
        layer["compression"] = 2.into();
        layer["uidset"] = json!([1000]);
        layer["gidset"] = json!([0]);
        layer
    };
    let layers = json!([layer(0, None, 2560), layer(1, Some(&ids[0]), 2560)]);
    assert_eq!(
        index("overlay-layers/layers.json").to_string(),
        layers.to_string()
    );

    let (config, manifest) = (image.config.digest, image.manifest.digest);
    let by_digest = format!("manifest-{manifest}");
    let images = json!([{
        "id": config.hex(), "digest": manifest, "names": ["docker.io/library/app:1"],
        "names-history": ["docker.io/library/app:1"], "layer": ids[1], "metadata": "{}",
        "big-data-names": [config, by_digest, "manifest"],
        "big-data-sizes": {
            "manifest": image.manifest.bytes.len(), by_digest.as_str(): image.manifest.bytes.len(),
            config.to_string(): image.config.bytes.len(),
        },
        "big-data-digests": { "manifest": manifest, by_digest.as_str(): manifest, config.to_string(): config },
        "created": "2024-05-06T05:08:09.5Z",
    }]);
    assert_eq!(
        index("overlay-images/images.json").to_string(),
        images.to_string()
    );
}

#[test]
fn the_index_of_a_source_for_several_platforms_is_kept() {
    let folder = tempdir().unwrap();
    let mut image = tiny_image(folder.path(), &[&["a"]]);
    let index = Document::new(
        "application/vnd.oci.image.index.v1+json",
        b"{\"index\":1}".to_vec(),
    );
    image.index = Some(index.clone());
    let root = tempdir().unwrap();
    let (_, sink) = bundle(StoreKind::PodmanOverlay, root.path(), &[(&image, "app")]);
    assert!(sink.entries().values().any(|entry| entry.content == index.bytes));
    let view = crate::read_store(&root.path().join("var/lib/store")).unwrap();
    assert!(
        view.images[0]
            .digests
            .contains(&format!("docker.io/library/app@{}", index.digest))
    );
}

#[test]
fn indexes_come_last() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["a"], &["b"]]);
    let (_, sink) = bundle(
        StoreKind::PodmanOverlay,
        tempdir().unwrap().path(),
        &[(&image, "app")],
    );
    let order = sink.order.lock().unwrap();
    let position = |name: &str| order.iter().position(|path| path.ends_with(name)).unwrap();
    assert_eq!(position("images.json"), order.len() - 1);
    let last_layer = order
        .iter()
        .rposition(|path| path.contains("/overlay/") || path.contains("tar-split"))
        .unwrap();
    assert!(last_layer < position("layers.json"));
    assert!(position("layers.json") < position("/manifest"));
}

#[test]
fn no_network_is_chosen_for_a_podman_without_netavark() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["a"]]);
    let target = StoreTarget {
        kind: StoreKind::PodmanOverlay,
        root: TreePath::clean(b"store").unwrap(),
        existing: None,
        netavark: false,
    };
    let sink = MemorySink::new(1);
    import(&target, &named(&[(&image, "app")]), &sink, &options(1), &()).unwrap();
    assert!(!sink.entries().contains_key("store/defaultNetworkBackend"));
    assert!(sink.entries().contains_key("store/overlay-images/images.json"));
}
