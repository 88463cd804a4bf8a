//! Every form of image source.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::json;
use vcontainer_image::{
    Compression, DOCKER_MANIFEST, Digest, Image, LayerSource, OCI_CONFIG, OCI_MANIFEST, SourceError, list,
    open,
};

use crate::fixture::{
    Layout, Member, compress, config, file, folder, gzip, layer, named, on, options, refused, rootfs, saved,
    saved_tar, selecting, tar,
};

fn names(image: &Image) -> Vec<String> {
    image.names.iter().map(ToString::to_string).collect()
}

/// The raw bytes of a layer, checked against its digest and size.
fn read(layer: &LayerSource) -> Vec<u8> {
    let mut bytes = Vec::new();
    layer.open().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), layer.digest);
    assert_eq!(bytes.len() as u64, layer.size);
    bytes
}

#[test]
fn a_single_image_is_read_pretty_or_compact() {
    for pretty in [false, true] {
        let mut layout = Layout {
            pretty,
            ..Layout::default()
        };
        let manifest = layout.image("linux/arm64", &["a", "b"]);
        let layout = layout.entry(manifest.clone());
        let folder = folder(&layout);
        let image = open(folder.path(), &options("linux/arm64/v8")).unwrap();
        assert_eq!(image.manifest.digest.to_string(), manifest["digest"]);
        assert_eq!(image.manifest.bytes, layout.blobs[&image.manifest.digest]);
        assert_eq!(image.config.bytes, layout.blobs[&image.config.digest]);
        assert_eq!(image.platform.to_string(), "linux/arm64");
        assert_eq!(image.config_view.config.cmd, ["/bin/sh"]);
        assert!(image.config_view.config.extra.contains_key("Healthcheck"));
        assert!(image.config_view.extra.contains_key("docker_version"));
        assert_eq!(image.index, None);
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.layers[1].compression, Compression::Gzip);
        assert_eq!(read(&image.layers[1]), gzip(&layer("b")));
        assert_eq!(image.layers[1].diff_id, image.config_view.rootfs.diff_ids[1]);
    }
}

#[test]
fn the_platform_is_chosen_from_flat_and_nested_indexes() {
    let mut layout = Layout::default();
    let arm = layout.image("linux/arm64", &["arm"]);
    let intel = layout.image("linux/amd64", &["intel"]);
    let mut attestation = on("unknown/unknown", layout.image("linux/arm64", &["attestation"]));
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let platforms = [
        on("linux/amd64", intel.clone()),
        attestation,
        on("linux/arm64/v8", arm.clone()),
    ];

    let flat = Layout {
        entries: platforms.to_vec(),
        ..layout.clone()
    };
    let mut nested = layout.clone();
    let index = nested.index(&platforms);
    let nested = nested.entry(named("localhost/app:1", index.clone()));
    let mut twice = nested.clone();
    twice.entries.clear();
    let outer = twice.index(std::slice::from_ref(&index));
    let twice = twice.entry(outer.clone());
    for (layout, expected_index) in [(flat, None), (nested, Some(&index)), (twice, Some(&outer))] {
        let folder = folder(&layout);
        let image = open(folder.path(), &options("linux/arm64")).unwrap();
        assert_eq!(image.manifest.digest.to_string(), arm["digest"]);
        assert_eq!(
            image.index.as_ref().map(|index| index.digest.to_string()),
            expected_index.map(|index| index["digest"].as_str().unwrap().to_owned())
        );
        let all = list(folder.path(), &options("linux/arm64")).unwrap();
        assert_eq!(all.len(), 2, "attestations are no images");
        let error = refused(
            folder.path(),
            &options("linux/arm/v7"),
            &["not for linux/arm/v7", "linux/amd64, linux/arm64"],
        );
        assert!(matches!(error, SourceError::Platform { .. }));
    }
}

#[test]
fn an_exact_variant_wins_over_an_older_one() {
    let mut layout = Layout::default();
    let v6 = layout.image("linux/arm/v6", &["v6"]);
    let v7 = layout.image("linux/arm/v7", &["v7"]);
    let index = layout.index(&[on("linux/arm/v6", v6.clone()), on("linux/arm/v7", v7.clone())]);
    let folder = folder(&layout.entry(index));
    for (wanted, expected) in [
        ("linux/arm/v7", &v7),
        ("linux/arm/v8", &v7),
        ("linux/arm/v6", &v6),
    ] {
        let image = open(folder.path(), &options(wanted)).unwrap();
        assert_eq!(image.manifest.digest.to_string(), expected["digest"], "{wanted}");
    }
    refused(
        folder.path(),
        &options("linux/arm/v5"),
        &["linux/arm/v6, linux/arm/v7"],
    );
}

#[test]
fn one_of_several_named_images_is_selected() {
    let mut layout = Layout::default();
    let one = layout.image("linux/arm64", &["one"]);
    let two = layout.image("linux/arm64", &["two"]);
    let mut two_named = named("2.0", two.clone());
    two_named["annotations"]["io.containerd.image.name"] = json!("docker.io/library/app:2.0");
    let layout = layout
        .entry(named("localhost/app:1.0", one.clone()))
        .entry(two_named);
    let folder = folder(&layout);
    for (select, expected) in [
        ("1.0", &one),
        ("localhost/app:1.0", &one),
        ("app:1.0", &one),
        ("2.0", &two),
        ("app:2.0", &two),
        (two["digest"].as_str().unwrap(), &two),
    ] {
        let image = open(folder.path(), &selecting("linux/arm64", select)).unwrap();
        assert_eq!(image.manifest.digest.to_string(), expected["digest"], "{select}");
    }
    let image = open(folder.path(), &selecting("linux/arm64", "2.0")).unwrap();
    assert_eq!(
        names(&image),
        ["docker.io/library/app:2.0"],
        "a bare tag is no name"
    );
    let error = refused(
        folder.path(),
        &options("linux/arm64"),
        &["several images", "localhost/app:1.0", "2.0"],
    );
    assert!(matches!(error, SourceError::Ambiguous { .. }));
    let error = refused(
        folder.path(),
        &selecting("linux/arm64", "3.0"),
        &["nothing named `3.0`", "localhost/app:1.0"],
    );
    assert!(matches!(error, SourceError::NoSuchName { .. }));
    assert_eq!(list(folder.path(), &options("linux/arm64")).unwrap().len(), 2);
}

#[test]
fn two_names_of_one_image_are_no_choice() {
    let mut layout = Layout::default();
    let image = layout.image("linux/arm64", &["x"]);
    let folder = folder(
        &layout
            .entry(named("example.com/x:1", image.clone()))
            .entry(named("example.com/x:2", image)),
    );
    let image = open(folder.path(), &options("linux/arm64")).unwrap();
    assert_eq!(names(&image), ["example.com/x:1", "example.com/x:2"]);
    let all = list(folder.path(), &options("linux/arm64")).unwrap();
    assert_eq!(names(&all[0]), names(&image));
}

#[test]
fn blobs_may_be_links_into_a_pool() {
    let mut layout = Layout::default();
    let image = layout.image("linux/arm64", &["x"]);
    let folder = folder(&layout.entry(image));
    let (blobs, pool) = (folder.path().join("blobs/sha256"), folder.path().join("pool"));
    fs::rename(&blobs, &pool).unwrap();
    fs::create_dir(&blobs).unwrap();
    for blob in fs::read_dir(&pool).unwrap() {
        let name = blob.unwrap().file_name();
        std::os::unix::fs::symlink(Path::new("../../pool").join(&name), blobs.join(&name)).unwrap();
    }
    let image = open(folder.path(), &options("linux/arm64")).unwrap();
    assert_eq!(read(&image.layers[0]), gzip(&layer("x")));
}

#[test]
fn archives_are_read_plain_and_compressed_whatever_their_name() {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a", "b"]);
    let archive = layout.entry(named("example.com/team/app:1", manifest)).tar();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (_folder, path) = file(&compress(&archive, compression));
        let image = open(&path, &options("linux/arm64")).unwrap();
        assert_eq!(names(&image), ["example.com/team/app:1"]);
        fs::remove_file(&path).unwrap();
        let layers = std::thread::scope(|scope| {
            let readers: Vec<_> = image
                .layers
                .iter()
                .map(|layer| scope.spawn(|| read(layer)))
                .collect();
            readers
                .into_iter()
                .map(|reader| reader.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(layers, [gzip(&layer("a")), gzip(&layer("b"))]);
    }
}

#[test]
fn docker_archives_of_the_old_form_get_a_manifest() {
    let (entry, files) = saved("linux/arm64", &["app:1", "example.com/app:2"], &["a", "b"]);
    let archive = saved_tar(&[entry], &files);
    for compression in [Compression::None, Compression::Gzip] {
        let (_folder, path) = file(&compress(&archive, compression));
        let image = open(&path, &options("linux/arm64")).unwrap();
        assert_eq!(names(&image), ["docker.io/library/app:1", "example.com/app:2"]);
        assert_eq!(image.manifest.media_type, DOCKER_MANIFEST);
        assert_eq!(image.manifest.digest, Digest::of(&image.manifest.bytes));
        let manifest: serde_json::Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
        assert_eq!(manifest["config"]["digest"], image.config.digest.to_string());
        assert_eq!(
            manifest["layers"][1]["digest"],
            image.layers[1].diff_id.0.to_string()
        );
        assert_eq!(read(&image.layers[1]), layer("b"));
        assert_eq!(image.layers[1].compression, Compression::None);
        refused(
            &path,
            &options("linux/amd64"),
            &["not for linux/amd64", "it is for linux/arm64"],
        );
    }
}

#[test]
fn layers_of_docker_archives_may_be_links_or_compressed() {
    let bytes = layer("a");
    let packed = gzip(&bytes);
    let config = serde_json::to_vec(&config(
        "linux/arm64",
        &[bytes.clone(), bytes.clone(), bytes.clone()],
    ))
    .unwrap();
    let list = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["x/layer.tar", "y/layer.tar", "z.tar.gz"]}]);
    let archive = tar(&[
        Member::Folder("x/"),
        Member::File("manifest.json", &serde_json::to_vec(&list).unwrap()),
        Member::Symlink("x/layer.tar", "../blob.tar"),
        Member::Hardlink("y/layer.tar", "blob.tar"),
        Member::File("blob.tar", b"an earlier version of the member"),
        Member::File("blob.tar", &bytes),
        Member::File("z.tar.gz", &packed),
        Member::File("config.json", &config),
    ]);
    let (_folder, path) = file(&archive);
    let image = open(&path, &options("linux/arm64")).unwrap();
    assert_eq!(
        [read(&image.layers[0]), read(&image.layers[1])],
        [bytes.clone(), bytes]
    );
    assert_eq!(read(&image.layers[2]), packed);
    assert_eq!(image.layers[2].compression, Compression::Gzip);
    assert!(image.layers[2].media_type.ends_with("gzip"));
}

#[test]
fn one_of_several_saved_images_is_selected() {
    let (one, mut files) = saved("linux/arm64", &["one:1"], &["a"]);
    let (two, more) = saved("linux/arm64", &["two:1", "two:latest"], &["b"]);
    files.extend(more);
    let (_folder, path) = file(&saved_tar(&[one, two], &files));
    refused(
        &path,
        &options("linux/arm64"),
        &["several images", "one:1, two:1, two:latest"],
    );
    let image = open(&path, &selecting("linux/arm64", "two")).unwrap();
    assert_eq!(
        names(&image),
        ["docker.io/library/two:1", "docker.io/library/two:latest"]
    );
    assert_eq!(list(&path, &options("linux/arm64")).unwrap().len(), 2);
}

#[test]
fn an_archive_that_is_both_is_read_as_a_layout() {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a"]);
    let layout = layout.entry(manifest.clone());
    let mut files = layout.files();
    files.push(("manifest.json".to_owned(), b"[]".to_vec()));
    let members: Vec<Member<'_>> = files
        .iter()
        .map(|(name, bytes)| Member::File(name, bytes))
        .collect();
    let (_folder, path) = file(&tar(&members));
    let image = open(&path, &options("linux/arm64")).unwrap();
    assert_eq!(image.manifest.digest.to_string(), manifest["digest"]);
}

#[test]
fn an_archive_with_some_platforms_of_its_index_is_enough() {
    let mut layout = Layout::default();
    let arm = layout.image("linux/arm64", &["arm"]);
    let intel = layout.image("linux/amd64", &["intel"]);
    let gone: Digest = intel["digest"].as_str().unwrap().parse().unwrap();
    layout.blobs.remove(&gone);
    let index = layout.index(&[on("linux/amd64", intel), on("linux/arm64", arm)]);
    let (_folder, path) = file(&layout.entry(index).tar());
    assert!(open(&path, &options("linux/arm64")).is_ok());
    assert_eq!(list(&path, &options("linux/arm64")).unwrap().len(), 1);
    refused(
        &path,
        &options("linux/amd64"),
        &["manifest", "is missing", &gone.hex()],
    );
}

#[test]
fn an_image_may_say_which_index_it_was_chosen_from() {
    let mut layout = Layout::default();
    let arm = layout.image("linux/arm64", &["arm"]);
    let intel = layout.image("linux/amd64", &["intel"]);
    let gone: Digest = intel["digest"].as_str().unwrap().parse().unwrap();
    layout.blobs.remove(&gone);
    let index = layout.index(&[on("linux/amd64", intel.clone()), on("linux/arm64", arm.clone())]);
    let outer = layout.index(std::slice::from_ref(&index));
    let other = layout.index(&[on("linux/amd64", intel)]);
    let missing = json!({"digest": format!("sha256:{}", "0".repeat(64))});
    let broken = json!({"digest": "sha256:0"});
    for (said, known) in [
        (&index, true),
        (&outer, true),
        (&other, false),
        (&arm, false),
        (&missing, false),
        (&broken, false),
    ] {
        let mut entry = on("linux/arm64", arm.clone());
        entry["annotations"] = json!({"vcontainer.index.digest": said["digest"]});
        let layout = layout.clone().entry(entry);
        let (_folder, path) = file(&layout.tar());
        for source in [folder(&layout).path(), path.as_path()] {
            let image = open(source, &options("linux/arm64")).unwrap();
            assert_eq!(image.manifest.digest.to_string(), arm["digest"]);
            let found = image.index.map(|index| index.digest.to_string());
            let expected = known.then(|| said["digest"].as_str().unwrap().to_owned());
            assert_eq!(found, expected);
            let mut pinned = options("linux/arm64");
            pinned.select = Some(said["digest"].as_str().unwrap().to_owned());
            assert_eq!(open(source, &pinned).is_ok(), known || said == &arm);
        }
    }
    // What is there is what its digest says, or nothing is taken.
    let mut entry = arm;
    entry["annotations"] = json!({"vcontainer.index.digest": index["digest"]});
    let digest: Digest = index["digest"].as_str().unwrap().parse().unwrap();
    layout.blobs.insert(digest, b"{\"manifests\": []}".to_vec());
    let folder = folder(&layout.entry(entry));
    refused(folder.path(), &options("linux/arm64"), &["index", &digest.hex()]);
}

#[test]
fn a_root_filesystem_becomes_an_image_of_one_layer() {
    let archive = rootfs(183);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bytes = compress(&archive, compression);
        let (_folder, path) = file(&bytes);
        let image = open(&path, &options("linux/arm64")).unwrap();
        assert_eq!(read(&image.layers[0]), bytes);
        assert_eq!(image.layers[0].compression, compression);
        assert_eq!(image.layers[0].diff_id.0, Digest::of(&archive));
        assert_eq!(image.config_view.rootfs.diff_ids, [image.layers[0].diff_id]);
        assert_eq!(image.config_view.created.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(
            (
                image.manifest.media_type.as_str(),
                image.config.media_type.as_str()
            ),
            (OCI_MANIFEST, OCI_CONFIG)
        );
        let (_other_folder, other) = file(&bytes);
        assert_eq!(
            open(&other, &options("linux/arm64")).unwrap().manifest,
            image.manifest
        );
        refused(
            &path,
            &options("linux/amd64"),
            &["not for linux/amd64", "arm64", "/bin/busybox"],
        );
    }
}

#[test]
fn other_artifacts_beside_an_image_are_passed_over() {
    let mut layout = Layout::default();
    let mut image = layout.image("linux/arm64", &["x"]);
    image["artifactType"] = json!(OCI_CONFIG);
    let chart = layout.blob("application/vnd.cncf.helm.config.v1+json", b"{}".to_vec());
    let chart = layout.manifest(&chart, &[]);
    let page = layout.blob("application/xml", b"<page/>".to_vec());
    let mut signature = layout.image("linux/arm64", &["signature"]);
    signature["artifactType"] = json!("application/example.signature");
    let only = layout.clone().entry(page.clone());
    refused(
        folder(&only).path(),
        &options("linux/arm64"),
        &["application/xml", "neither an image manifest"],
    );
    let layout = layout
        .entry(chart)
        .entry(page)
        .entry(signature)
        .entry(image.clone());
    let found = open(folder(&layout).path(), &options("linux/arm64")).unwrap();
    assert_eq!(found.manifest.digest.to_string(), image["digest"]);
}

#[test]
fn images_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Image>();
}

#[test]
fn a_configuration_without_variant_fits_the_index() {
    let mut layout = Layout::default();
    let image = layout.image("linux/arm", &["x"]);
    let folder = folder(&layout.entry(on("linux/arm/v6", image)));
    let image = open(folder.path(), &options("linux/arm/v6")).unwrap();
    assert_eq!(image.platform.to_string(), "linux/arm/v6");
}
