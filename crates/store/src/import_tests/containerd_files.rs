//! Everything that an import into an empty containerd store writes, and imports into one that is there already.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::tempdir;
use vcontainer_image::{Digest, Document, Image, OpenOptions, Platform, open};

use super::memory_sink::MemorySink;
use super::tiny_image::{labelled_image, tiny_image};
use super::{bundle, named_listing, try_bundle};
use crate::{StoreError, StoreKind, StoreView, read_store};

const KIND: StoreKind = StoreKind::DockerContainerd;
const BASE: &[&str] = &["etc/", "etc/a=1"];
const META_DB: &str = "io.containerd.metadata.v1.bolt/meta.db";
const SNAPSHOTS_DB: &str = "io.containerd.snapshotter.v1.overlayfs/metadata.db";

fn view(root: &Path) -> StoreView {
    read_store(&root.join("var/lib/store")).unwrap()
}

#[test]
fn a_store_has_exactly_these_files() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[BASE, &["etc/.wh.a", "etc/b=2"]]);
    let root = tempdir().unwrap();
    let (report, sink) = bundle(KIND, root.path(), &[(&image, "app:1 ghcr.example/x/y")]);
    let listing = named_listing(&sink, &image, &report).replace(&image.manifest.digest.hex(), "MANIFEST");
    let mut lines: Vec<&str> = listing.lines().collect();
    lines.sort_by_key(|line| line.split(' ').nth(3));
    assert_eq!(lines.join("\n") + "\n", include_str!("containerd.list"));
    assert_eq!(report.images[0].names, ["app:1", "ghcr.example/x/y:latest"]);
    assert_eq!(report.images[0].id, image.manifest.digest);

    let view = view(root.path());
    let [shown] = &view.images[..] else {
        panic!("{view:?}")
    };
    assert_eq!(shown.names, ["app:1", "ghcr.example/x/y:latest"]);
    assert_eq!((shown.platform.as_str(), shown.size), ("linux/arm64", 2));
    assert!(shown.problems.is_empty(), "{:?}", shown.problems);
}

#[test]
fn records_come_after_what_they_speak_of() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["a"], &["b"]]);
    let (_, sink) = bundle(KIND, tempdir().unwrap().path(), &[(&image, "app")]);
    let order = sink.order.lock().unwrap();
    let [.., snapshots, meta] = &order[..] else {
        panic!()
    };
    assert!(snapshots.ends_with(SNAPSHOTS_DB) && meta.ends_with(META_DB));
}

/// An index with the image and one of another platform, which is not there.
fn of_two_platforms(folder: &Path, image: &Image, other: &Document) -> Image {
    let entry = |digest: Digest, size: usize, architecture: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let manifests = [
        entry(other.digest, other.bytes.len(), "amd64"),
        entry(image.manifest.digest, image.manifest.bytes.len(), "arm64"),
    ];
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests }).to_string();
    let digest = Digest::of(index.as_bytes());
    fs::write(folder.join("blobs/sha256").join(digest.hex()), &index).unwrap();
    let entry = json!({ "mediaType": media_type, "digest": digest, "size": index.len() });
    let top = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), top.to_string()).unwrap();
    let platform = Platform::for_machine("aarch64").unwrap();
    open(folder, &OpenOptions::new(platform)).unwrap()
}

#[test]
fn an_image_of_several_platforms_is_known_by_its_index() {
    let folder = tempdir().unwrap();
    let single = tiny_image(folder.path(), &[BASE]);
    let elsewhere = Document::new(
        "application/vnd.oci.image.manifest.v1+json",
        b"elsewhere".to_vec(),
    );
    let image = of_two_platforms(folder.path(), &single, &elsewhere);
    let index = image.index.as_ref().unwrap().digest;
    let root = tempdir().unwrap();
    let (report, sink) = bundle(KIND, root.path(), &[(&image, "app")]);
    assert_eq!(report.images[0].id, index);
    let blobs = sink
        .entries()
        .keys()
        .filter(|path| path.contains("/blobs/sha256/"))
        .count();
    assert_eq!(blobs, 4, "index, manifest, configuration, layer");
    let view = view(root.path());
    assert_eq!(view.images[0].digests, [format!("app@{index}")]);
    assert_eq!(view.images[0].names, ["app:latest"]);
    assert_eq!(view.images[0].platform, "linux/arm64");
    assert!(view.images[0].problems.is_empty());

    let manifest = image.manifest.digest;
    for (pinned, target) in [(index, index), (manifest, manifest)] {
        let root = tempdir().unwrap();
        let name = format!("app@{pinned}");
        let (report, _) = bundle(KIND, root.path(), &[(&image, &name)]);
        assert_eq!(report.images[0].names, [name.as_str()]);
        let view = self::view(root.path());
        assert_eq!(view.images[0].id, target.to_string());
        assert_eq!(view.images[0].digests, [name]);
    }
}

#[test]
fn the_unpacked_platform_of_an_image_is_shown() {
    let folder = tempdir().unwrap();
    let single = tiny_image(folder.path(), &[BASE]);
    let other = labelled_image(&folder.path().join("other"), &[&["x"]], "other");
    let image = of_two_platforms(folder.path(), &single, &other.manifest);
    let root = tempdir().unwrap();
    bundle(KIND, root.path(), &[(&image, "app")]);
    // As after `docker load`, which takes in all platforms and unpacks one.
    let blobs = "io.containerd.content.v1.content/blobs/sha256";
    let place = |document: &Document| {
        root.path()
            .join("var/lib/store")
            .join(blobs)
            .join(document.digest.hex())
    };
    for document in [&other.manifest, &other.config] {
        fs::write(place(document), &document.bytes).unwrap();
    }
    let view = view(root.path());
    assert_eq!((view.images[0].size, view.images[0].layers.len()), (1, 1));
    assert_eq!(view.images[0].problems, [""; 0]);
}

#[test]
fn only_what_is_missing_is_written() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let b = tiny_image(&folder.path().join("b"), &[BASE, &["etc/.wh.a", "new=x"]]);
    let root = tempdir().unwrap();
    bundle(KIND, root.path(), &[(&a, "a")]);
    let (report, sink) = bundle(KIND, root.path(), &[(&b, "b")]);
    let written: Vec<bool> = report
        .layers
        .iter()
        .map(|layer| layer.written.is_some())
        .collect();
    assert_eq!(written, [false, true]);
    let entries = sink.entries();
    let names: Vec<&String> = entries
        .keys()
        .filter(|path| path.contains("/snapshots/"))
        .collect();
    assert!(
        names.iter().all(|path| path.contains("/snapshots/2")),
        "{names:?}"
    );
    let shared = a.layers[0].digest.hex();
    assert!(
        !entries.keys().any(|path| path.ends_with(&shared)),
        "the blob is shared, too"
    );

    let view = view(root.path());
    let names: Vec<&str> = view
        .images
        .iter()
        .flat_map(|image| &image.names)
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["a:latest", "b:latest"]);
    assert_eq!(view.layers.iter().map(|layer| layer.images).max(), Some(2));
    assert!(
        view.images.iter().all(|image| image.problems.is_empty()),
        "{view:?}"
    );
}

#[test]
fn importing_again_gives_the_same_databases() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE, &["b"]]);
    let root = tempdir().unwrap();
    let (_, first) = bundle(KIND, root.path(), &[(&a, "a:1 a:2")]);
    let (report, second) = bundle(KIND, root.path(), &[(&a, "a:1 a:2")]);
    assert!(report.layers.iter().all(|layer| layer.written.is_none()));
    let before = first.entries();
    for (path, entry) in second.entries() {
        assert_eq!(before.get(&path), Some(&entry), "{path}");
    }
    let files = second.order.lock().unwrap().len();
    assert_eq!(files, 2, "nothing but the databases");
}

#[test]
fn a_name_moves_to_the_new_image_and_the_old_one_stays() {
    let folder = tempdir().unwrap();
    let old = labelled_image(&folder.path().join("old"), &[BASE], "old");
    let new = labelled_image(&folder.path().join("new"), &[BASE], "new");
    let root = tempdir().unwrap();
    bundle(KIND, root.path(), &[(&old, "app")]);
    bundle(KIND, root.path(), &[(&new, "app")]);
    let view = view(root.path());
    let names = |image: &Image| {
        let id = image.manifest.digest.to_string();
        view.images
            .iter()
            .find(|image| image.id == id)
            .unwrap()
            .names
            .clone()
    };
    assert_eq!((names(&old).len(), names(&new).len()), (0, 1));
}

#[test]
fn a_layer_without_its_directory_or_record_is_written_anew() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE, &["b"]]);
    for lost in ["snapshots/1/fs", "metadata.db"] {
        let root = tempdir().unwrap();
        bundle(KIND, root.path(), &[(&a, "a")]);
        let snapshotter = root
            .path()
            .join("var/lib/store/io.containerd.snapshotter.v1.overlayfs");
        let path = snapshotter.join(lost);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let (report, sink) = bundle(KIND, root.path(), &[(&a, "a")]);
        assert!(
            report.layers.iter().all(|layer| layer.written.is_some()),
            "{lost}"
        );
        let entries = sink.entries();
        assert!(
            entries.keys().all(|path| !path.contains("/snapshots/1")),
            "numbers are not used twice"
        );
        let (report, _) = bundle(KIND, root.path(), &[(&a, "a")]);
        assert!(
            report.layers.iter().all(|layer| layer.written.is_none()),
            "{lost}"
        );
    }
}

#[test]
fn a_lost_blob_of_a_shared_layer_is_written_again() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let root = tempdir().unwrap();
    bundle(KIND, root.path(), &[(&a, "a")]);
    let blobs = root
        .path()
        .join("var/lib/store/io.containerd.content.v1.content/blobs/sha256");
    let blob = blobs.join(a.layers[0].digest.hex());
    fs::write(&blob, "cut").unwrap();
    assert_eq!(view(root.path()).images[0].problems.len(), 1);
    let (report, _) = bundle(KIND, root.path(), &[(&a, "a")]);
    assert!(report.layers[0].written.is_none());
    assert_eq!(Digest::of(&fs::read(&blob).unwrap()), a.layers[0].digest);
}

#[test]
fn a_damaged_blob_is_an_error_even_when_its_layer_is_shared() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    let root = tempdir().unwrap();
    bundle(KIND, root.path(), &[(&a, "a")]);
    let digest = a.layers[0].digest;
    let blobs = root
        .path()
        .join("var/lib/store/io.containerd.content.v1.content/blobs/sha256");
    fs::remove_file(blobs.join(digest.hex())).unwrap();
    let source = folder.path().join("a/blobs/sha256").join(digest.hex());
    let mut bytes = fs::read(&source).unwrap();
    bytes[20] ^= 1;
    fs::write(&source, bytes).unwrap();
    let error = try_bundle(KIND, root.path(), &[(&a, "b")], &MemorySink::new(1)).unwrap_err();
    assert!(matches!(error, StoreError::Blob { .. }), "{error}");
    assert!(error.to_string().contains(&digest.to_string()), "{error}");
}

#[test]
fn a_database_that_cannot_be_understood_is_left_alone() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[BASE]);
    for database in [META_DB, SNAPSHOTS_DB] {
        let root = tempdir().unwrap();
        bundle(KIND, root.path(), &[(&a, "a")]);
        let path = root.path().join("var/lib/store").join(database);
        let whole = fs::read(&path).unwrap();
        for damaged in [
            Vec::new(),
            whole[..4096].to_vec(),
            whole[..whole.len() - 1].to_vec(),
        ] {
            fs::write(&path, damaged).unwrap();
            let sink = MemorySink::new(1);
            let error = try_bundle(KIND, root.path(), &[(&a, "b")], &sink).unwrap_err();
            assert!(error.to_string().contains(database), "{error}");
            assert!(matches!(error, StoreError::Existing { .. }));
            assert!(sink.entries().is_empty());
        }
    }
}
