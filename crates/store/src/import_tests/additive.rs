//! Importing into a store that is there already.

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use super::memory_sink::MemorySink;
use super::tiny_image::{labelled_image, tiny_image};
use super::{bundle, try_bundle};
use crate::{StoreError, StoreKind, read_store};

const DOCKER: StoreKind = StoreKind::DockerOverlay2;
const PODMAN: StoreKind = StoreKind::PodmanOverlay;
const BASE: &[&str] = &["etc/", "etc/a=1"];

#[test]
fn only_what_is_missing_is_written() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let b = tiny_image(&folder.path().join("b"), &[BASE, &["etc/.wh.a", "new=x"]]);
    for kind in [DOCKER, PODMAN] {
        let root = tempdir().unwrap();
        bundle(kind, root.path(), &[(&a, "a")]);
        let (report, sink) = bundle(kind, root.path(), &[(&b, "b")]);
        let written: Vec<bool> = report
            .layers
            .iter()
            .map(|layer| layer.written.is_some())
            .collect();
        assert_eq!(written, [false, true]);
        let content = |name: &str| sink.entries().keys().filter(|path| path.ends_with(name)).count();
        assert_eq!(
            content("/diff/etc/a"),
            1,
            "the whiteout of the lower file, and nothing of the shared layer"
        );
        assert_eq!(content("/diff/new"), 1);

        let view = read_store(&root.path().join("var/lib/store")).unwrap();
        let names: Vec<&str> = view
            .images
            .iter()
            .flat_map(|image| &image.names)
            .map(String::as_str)
            .collect();
        let wanted = ["a:latest", "b:latest"].map(|name| match kind {
            PODMAN => format!("docker.io/library/{name}"),
            _ => name.to_owned(),
        });
        assert_eq!(names, wanted);
        assert_eq!(view.layers.iter().map(|layer| layer.images).max(), Some(2));
        assert!(
            view.images.iter().all(|image| image.problems.is_empty()),
            "{view:?}"
        );
        assert!(
            view.images
                .iter()
                .all(|image| image.platform == "linux/arm64" && image.digests.len() == 1)
        );
    }
}

#[test]
fn a_layer_that_gets_its_first_child_is_marked_committed() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let b = tiny_image(&folder.path().join("b"), &[BASE, &["b"]]);
    let root = tempdir().unwrap();
    let (_, first) = bundle(DOCKER, root.path(), &[(&a, "a")]);
    let (_, second) = bundle(DOCKER, root.path(), &[(&b, "b")]);
    let committed = |sink: &MemorySink| {
        sink.entries()
            .keys()
            .filter(|path| path.ends_with("/committed"))
            .count()
    };
    assert_eq!((committed(&first), committed(&second)), (0, 1));
}

#[test]
fn importing_again_changes_nothing_but_writes_no_layer() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE, &["b"]]);
    for kind in [DOCKER, PODMAN] {
        let root = tempdir().unwrap();
        let (_, first) = bundle(kind, root.path(), &[(&a, "a:1 a:2")]);
        let (report, second) = bundle(kind, root.path(), &[(&a, "a:1 a:2")]);
        assert!(report.layers.iter().all(|layer| layer.written.is_none()));
        let before = first.entries();
        for (path, entry) in second.entries() {
            assert_eq!(before.get(&path), Some(&entry), "{path}");
        }
        assert!(!second.entries().keys().any(|path| path.ends_with("/diff")));
    }
}

#[test]
fn a_name_moves_to_the_new_image_and_the_old_one_stays() {
    let folder = tempdir().unwrap();
    let old = labelled_image(&folder.path().join("old"), &[BASE], "old");
    let new = labelled_image(&folder.path().join("new"), &[BASE], "new");
    for kind in [DOCKER, PODMAN] {
        let root = tempdir().unwrap();
        bundle(kind, root.path(), &[(&old, "app")]);
        bundle(kind, root.path(), &[(&new, "app")]);
        let view = read_store(&root.path().join("var/lib/store")).unwrap();
        let of = |digest: &str| {
            view.images
                .iter()
                .find(|image| digest.ends_with(&image.id))
                .unwrap()
        };
        assert!(of(&old.config.digest.to_string()).names.is_empty());
        assert_eq!(of(&new.config.digest.to_string()).names.len(), 1);
    }
}

#[test]
fn a_record_without_its_directory_is_written_anew() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE, &["b"]]);
    for (kind, layers) in [(DOCKER, "overlay2"), (PODMAN, "overlay")] {
        for lost in ["diff", "link", "lower"] {
            let root = tempdir().unwrap();
            bundle(kind, root.path(), &[(&a, "a")]);
            let mut hit = false;
            for layer in fs::read_dir(root.path().join("var/lib/store").join(layers)).unwrap() {
                let path = layer.unwrap().path().join(lost);
                if path.is_dir() && lost == "diff" {
                    fs::remove_dir_all(&path).unwrap();
                    hit = true;
                } else if path.is_file() {
                    fs::write(&path, "").unwrap();
                    hit = true;
                }
            }
            let (report, _) = bundle(kind, root.path(), &[(&a, "a")]);
            let rewritten = report.layers.iter().any(|layer| layer.written.is_some());
            assert_eq!(rewritten, hit, "{kind:?} {lost}");
            let (report, _) = bundle(kind, root.path(), &[(&a, "a")]);
            assert!(
                report.layers.iter().all(|layer| layer.written.is_none()),
                "{kind:?} {lost}"
            );
        }
    }
}

#[test]
fn an_index_that_cannot_be_understood_is_left_alone() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    for (kind, index) in [
        (DOCKER, "image/overlay2/repositories.json"),
        (PODMAN, "overlay-layers/layers.json"),
        (PODMAN, "overlay-images/images.json"),
    ] {
        let root = tempdir().unwrap();
        bundle(kind, root.path(), &[(&a, "a")]);
        let path = root.path().join("var/lib/store").join(index);
        fs::write(&path, "[{").unwrap();
        let sink = MemorySink::new(1);
        let error = try_bundle(kind, root.path(), &[(&a, "b")], &sink).unwrap_err();
        assert!(error.to_string().contains(index), "{error}");
        assert!(matches!(error, StoreError::Existing { .. }));
        assert!(sink.entries().is_empty());
    }
}

#[test]
fn what_the_store_knows_besides_is_kept() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let root = tempdir().unwrap();
    bundle(PODMAN, root.path(), &[(&a, "a")]);
    let store = root.path().join("var/lib/store");
    let layers = store.join("overlay-layers/layers.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&layers).unwrap()).unwrap();
    index[0]["later"] = serde_json::json!({ "z": 1, "a": [true] });
    index
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({ "id": "container", "parent": "x" }));
    fs::write(&layers, index.to_string()).unwrap();
    fs::write(store.join("overlay-layers/layers.lock"), "lock").unwrap();
    fs::write(store.join("defaultNetworkBackend"), "cni").unwrap();

    let b = tiny_image(&folder.path().join("b"), &[BASE, &["b"]]);
    bundle(PODMAN, root.path(), &[(&b, "b")]);
    let after: Value = serde_json::from_slice(&fs::read(&layers).unwrap()).unwrap();
    assert_eq!(after[0], index[0]);
    assert_eq!(after[1], index[1]);
    assert_eq!(after.as_array().unwrap().len(), 3);
    assert_eq!(
        fs::read(store.join("overlay-layers/layers.lock")).unwrap(),
        b"lock"
    );
    assert_eq!(fs::read(store.join("defaultNetworkBackend")).unwrap(), b"cni");
}
