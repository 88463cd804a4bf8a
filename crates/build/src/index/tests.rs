//! Layouts of several platforms, made of built images and read back by the reader of images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vcontainer_image::{Compression, Digest, OpenOptions, list_whole_layout};

use super::*;
use crate::compress::Method;
use crate::config::Settings;
use crate::key::Inputs;
use crate::layer::Times;
use crate::{Request, build, scan};

/// A folder with an image for each of these platforms, called as its number.
fn images(platforms: &[(&str, Option<&str>)]) -> (TempDir, Vec<Image>) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/same"), "same").unwrap();
    let mut images = Vec::new();
    for (number, (architecture, variant)) in platforms.iter().enumerate() {
        fs::write(root.join("etc/number"), number.to_string()).unwrap();
        let target = folder.path().join(number.to_string());
        build(
            &Request {
                root: Some(&scan::directory(&root).unwrap()),
                base: None,
                layers: &[
                    "a:files:/etc/same".parse().unwrap(),
                    "b:files:/etc/number".parse().unwrap(),
                ],
                settings: &Settings::default(),
                platform: &Platform::new("linux", architecture, *variant),
                method: Method::new(Compression::Gzip, None).unwrap(),
                threads: 1,
                times: Times { epoch: Some(7) },
                tag: "of-its-own",
                annotations: &BTreeMap::new(),
                target: &target,
                packages: None,
                installed: &BTreeMap::new(),
                states: &BTreeMap::new(),
                inputs: &Inputs::default(),
                cache: None,
                is_given_up: &|| false,
            },
            &mut |_| (),
        )
        .unwrap();
        images.extend(read(&target));
    }
    (folder, images)
}

fn read(layout: &Path) -> Vec<Image> {
    list_whole_layout(layout, &OpenOptions::new(Platform::new("linux", "arm64", None))).unwrap()
}

fn json(path: PathBuf) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The files of a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const THREE: [(&str, Option<&str>); 3] = [("arm64", None), ("amd64", None), ("arm", Some("v6"))];

#[test]
fn all_images_are_there_as_they_were() {
    for form in [Form::Nested, Form::Flat] {
        let (folder, images) = images(&THREE);
        let target = folder.path().join("all");
        write(&images, form, "1.0", &target).unwrap();
        let found = read(&target);
        assert_eq!(found.len(), 3);
        for (found, image) in found.iter().zip(&images) {
            assert_eq!(found.manifest, image.manifest);
            assert_eq!(found.config, image.config);
            assert_eq!(found.platform, image.platform);
            assert_eq!(found.tags, ["1.0"]);
        }
        // A layer that all have, one of each, configurations, manifests, the index.
        let blobs = target.join("blobs/sha256");
        assert_eq!(names(&blobs).len(), 1 + 3 * 3 + usize::from(form == Form::Nested));
        for name in names(&blobs) {
            assert_eq!(Digest::of(&fs::read(blobs.join(&name)).unwrap()).hex(), name);
        }
        let index = json(target.join("index.json"));
        let entries = index["manifests"].as_array().unwrap();
        let manifests = match form {
            Form::Flat => entries.clone(),
            Form::Nested => {
                assert_eq!(entries.len(), 1);
                assert_eq!(entries[0]["mediaType"], OCI_INDEX);
                let digest = entries[0]["digest"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("sha256:")
                    .unwrap();
                let inner = json(blobs.join(digest));
                inner["manifests"].as_array().unwrap().clone()
            }
        };
        let platforms: Vec<String> = manifests
            .iter()
            .map(|entry| entry["platform"].to_string())
            .collect();
        assert_eq!(
            platforms,
            [
                r#"{"architecture":"arm64","os":"linux"}"#,
                r#"{"architecture":"amd64","os":"linux"}"#,
                r#"{"architecture":"arm","os":"linux","variant":"v6"}"#
            ]
        );
    }
}

#[test]
fn one_taken_out_and_put_together_again_is_the_same() {
    let (folder, images) = images(&THREE);
    let path = |name: &str| folder.path().join(name);
    write(&images, Form::Nested, "1.0", &path("all")).unwrap();
    let mut again = Vec::new();
    for (number, image) in read(&path("all")).iter().enumerate() {
        let one = path(&format!("one-{number}"));
        write(std::slice::from_ref(image), Form::Flat, "x", &one).unwrap();
        assert_eq!(names(&one.join("blobs/sha256")).len(), 4);
        again.extend(read(&one));
    }
    write(&again, Form::Nested, "1.0", &path("again")).unwrap();
    let entries = ["all", "again"].map(|name| fs::read(path(name).join("index.json")).unwrap());
    assert_eq!(entries[0], entries[1]);
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let (folder, images) = images(&[("arm64", None), ("arm64", Some("v8"))]);
    let target = folder.path().join("all");
    let before = names(folder.path());
    let error = write(&images, Form::Nested, "1.0", &target)
        .unwrap_err()
        .to_string();
    for part in ["/1`", "/0`", "linux/arm64"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_damaged_layer_ends_it_and_leaves_what_was_there() {
    let (folder, images) = images(&THREE);
    let target = folder.path().join("all");
    write(&images, Form::Flat, "old", &target).unwrap();
    let layer = &images[2].layers[1];
    let blob = folder.path().join("2/blobs/sha256").join(layer.digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let before = (names(folder.path()), fs::read(target.join("index.json")).unwrap());
    let error = write(&images, Form::Nested, "new", &target)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/2") && error.contains(&layer.digest.to_string()),
        "{error}"
    );
    assert_eq!(
        (names(folder.path()), fs::read(target.join("index.json")).unwrap()),
        before
    );
}

#[test]
fn an_index_that_contradicts_a_configuration_is_refused() {
    let (folder, mut images) = images(&THREE);
    images[1].platform = Platform::new("linux", "riscv64", None);
    let error = write(&images, Form::Flat, "1", &folder.path().join("all")).unwrap_err();
    assert!(error.to_string().contains("linux/riscv64"), "{error}");
}
