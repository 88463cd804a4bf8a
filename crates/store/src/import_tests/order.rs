//! The result depends neither on the order of the images nor on threads; and images that cannot be together.

use std::path::Path;

use tempfile::tempdir;
use vcontainer_image::{Image, TreePath};

use super::memory_sink::{Entries, MemorySink};
use super::tiny_image::{labelled_image, tiny_image};
use super::{bundle, named, options, try_bundle};
use crate::{StoreError, StoreKind, StoreTarget, import};

const KINDS: [StoreKind; 3] = [
    StoreKind::DockerOverlay2,
    StoreKind::PodmanOverlay,
    StoreKind::DockerContainerd,
];

fn entries(kind: StoreKind, images: &[(&Image, &str)], parallelism: usize) -> Entries {
    let target = StoreTarget {
        kind,
        root: TreePath::clean(b"store").unwrap(),
        existing: None,
        netavark: true,
    };
    let sink = MemorySink::new(parallelism);
    import(&target, &named(images), &sink, &options(parallelism), &()).unwrap();
    sink.entries()
}

#[test]
fn order_and_threads_do_not_show() {
    let folder = tempdir().unwrap();
    let base: &[&str] = &["etc/", "etc/a=1", "etc/b=2", "home/", "home/me/"];
    let a = tiny_image(
        &folder.path().join("a"),
        &[base, &["etc/.wh.a"], &["home/me/file=x"]],
    );
    let b = tiny_image(
        &folder.path().join("b"),
        &[base, &["etc/", "etc/.wh..wh..opq", "etc/c"], &["x"]],
    );
    let c = tiny_image(&folder.path().join("c"), &[&["other"], base]);
    for kind in KINDS {
        let first = entries(kind, &[(&a, "a:1 a:2"), (&b, "b"), (&c, "c")], 1);
        for parallelism in [1, 4] {
            assert_eq!(
                entries(kind, &[(&c, "c"), (&b, "b"), (&a, "a:2 a:1")], parallelism),
                first
            );
        }
    }
}

#[test]
fn many_images_that_share_layers_write_each_once() {
    let folder = tempdir().unwrap();
    let base: &[&str] = &["base"];
    let tops: Vec<String> = (0..60).map(|number| format!("top{number}")).collect();
    let images: Vec<(Image, String)> = tops
        .iter()
        .map(|top| (tiny_image(&folder.path().join(top), &[base, &[top]]), top.clone()))
        .collect();
    let images: Vec<(&Image, &str)> = images
        .iter()
        .map(|(image, name)| (image, name.as_str()))
        .collect();
    for kind in KINDS {
        let (report, _) = bundle(kind, tempdir().unwrap().path(), &images);
        assert_eq!(report.layers.len(), 61);
        assert_eq!(report.layers.iter().map(|layer| layer.images).max(), Some(60));
        assert!(report.layers.iter().all(|layer| layer.written.is_some()));
    }
}

#[test]
fn one_name_for_two_images_is_an_error_that_names_both() {
    let folder = tempdir().unwrap();
    let a = tiny_image(&folder.path().join("a"), &[&["a"]]);
    let b = tiny_image(&folder.path().join("b"), &[&["b"]]);
    for kind in KINDS {
        let same = [(&a, "app"), (&b, "docker.io/library/app:latest")];
        let error = try_bundle(kind, Path::new("/nonexistent"), &same, &MemorySink::new(1)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StoreError::SameName { .. }));
        for part in ["docker.io/library/app:latest", &a.origin, &b.origin] {
            assert!(text.contains(part), "{text}");
        }
        // The same image twice is no contradiction.
        let (report, _) = bundle(kind, tempdir().unwrap().path(), &[(&a, "x"), (&a, "x y")]);
        assert_eq!(report.images.len(), 1);
        assert_eq!(report.images[0].names.len(), 2);
    }
}

#[test]
fn images_without_layers_and_with_equal_layers_are_imported() {
    let folder = tempdir().unwrap();
    let none = tiny_image(&folder.path().join("none"), &[]);
    let twice = tiny_image(&folder.path().join("twice"), &[&["a"], &["a"], &["a"]]);
    for kind in KINDS {
        let (report, _) = bundle(
            kind,
            tempdir().unwrap().path(),
            &[(&none, "none"), (&twice, "twice")],
        );
        assert_eq!(report.images[0].layers, [0; 0]);
        assert_eq!(report.layers.len(), 3);
    }
}

#[test]
fn too_many_layers_are_an_error_before_anything_is_written() {
    let folder = tempdir().unwrap();
    let layer: &[&str] = &["a"];
    let image = labelled_image(&folder.path().join("deep"), &vec![layer; 126], "");
    let sink = MemorySink::new(1);
    let error = try_bundle(
        StoreKind::DockerOverlay2,
        Path::new("/nonexistent"),
        &[(&image, "deep")],
        &sink,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("126 layers, but Docker stacks at most 125")
    );
    assert!(sink.entries().is_empty());
}
