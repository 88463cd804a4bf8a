//! Sources that are refused, and what the user is told.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use vcontainer_image::{Compression, Digest, OCI_INDEX, OCI_MANIFEST, OpenOptions, SourceError, open};

use crate::fixture::{
    Layout, Member, compress, config, file, folder, gzip, layer, on, options, refused, rootfs, saved,
    saved_tar, tar,
};

#[test]
fn an_archive_packed_one_folder_too_high_is_told() {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a"]);
    let files: Vec<_> = layout
        .entry(manifest)
        .files()
        .into_iter()
        .map(|(name, bytes)| (format!("app-oci/{name}"), bytes))
        .collect();
    let members: Vec<Member<'_>> = files
        .iter()
        .map(|(name, bytes)| Member::File(name, bytes))
        .collect();
    let (_folder, path) = file(&tar(&members));
    refused(&path, &options("linux/arm64"), &["`app-oci`", "tar -C app-oci"]);
}

#[test]
fn what_is_no_image_is_refused() {
    let platform = options("linux/arm64");
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &platform, &["without index.json"]);
    fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    refused(folder.path(), &platform, &["skopeo copy"]);
    refused(
        &folder.path().join("gone"),
        &platform,
        &["cannot open image", "gone", "No such file"],
    );
    refused(
        Path::new("/dev/null"),
        &platform,
        &["neither a file nor a directory"],
    );
    for (bytes, part) in [
        (Vec::new(), "no tar archive"),
        (b"hello".repeat(1000), "no tar archive"),
        (gzip(&b"hello".repeat(1000)), "there is no tar archive inside"),
        (gzip(b""), "there is no tar archive inside"),
        (b"\xfd7zXZ\0 and so on".to_vec(), "compressed with xz"),
        (gzip(&rootfs(183))[..200].to_vec(), "truncated"),
        (rootfs(183)[..3000].to_vec(), "truncated"),
        (
            tar(&[Member::File("repositories", b"{}")]),
            "neither index.json nor manifest.json",
        ),
    ] {
        let (_folder, path) = file(&bytes);
        refused(&path, &platform, &[part]);
    }
}

#[test]
fn a_truncated_image_archive_is_refused() {
    let (entry, files) = saved("linux/arm64", &["app:1"], &["a"]);
    let archive = saved_tar(&[entry], &files);
    let (_folder, path) = file(&archive[..1600]);
    refused(&path, &options("linux/arm64"), &["truncated"]);
    let packed = gzip(&archive);
    let (_folder, path) = file(&packed[..packed.len() - 20]);
    refused(&path, &options("linux/arm64"), &["truncated or damaged"]);
}

#[test]
fn limits_hold() {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a"]);
    let archive = layout.entry(manifest).tar();
    let (_folder, path) = file(&gzip(&archive));
    let with = |change: fn(&mut OpenOptions)| {
        let mut options = options("linux/arm64");
        change(&mut options);
        options
    };
    refused(
        &path,
        &with(|o| o.limits.archive_members = 3),
        &["more than 3 members"],
    );
    refused(
        &path,
        &with(|o| o.limits.inflated_bytes = 4000),
        &["more than 4000 bytes"],
    );
    refused(
        &path,
        &with(|o| o.limits.document_bytes = 20),
        &["the limit of 20"],
    );
    refused(
        &path,
        &with(|o| o.scratch = Some("/nowhere".into())),
        &["uncompressed copy", "/nowhere"],
    );
    let (_folder, path) = file(&gzip(&rootfs(183)));
    refused(
        &path,
        &with(|o| o.limits.inflated_bytes = 4000),
        &["more than 4000 bytes"],
    );
    // Not even to find out what it is more is inflated: the damage behind the limit is not met.
    let mut bytes = gzip(&tar(&[Member::File("unknown", &vec![0; 1 << 20])]));
    bytes.truncate(bytes.len() - 20);
    let (_folder, path) = file(&bytes);
    refused(
        &path,
        &with(|o| o.limits.inflated_bytes = 4000),
        &["more than 4000 bytes"],
    );
}

/// A layout of one image, and the names of its configuration and its layer, to be damaged.
struct Victim {
    folder: tempfile::TempDir,
    manifest: String,
    config: String,
    layer: String,
}

fn victim() -> Victim {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a"]);
    let folder = folder(&layout.entry(manifest));
    let image = open(folder.path(), &options("linux/arm64")).unwrap();
    let name = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    Victim {
        manifest: name(image.manifest.digest),
        config: name(image.config.digest),
        layer: name(image.layers[0].digest),
        folder,
    }
}

#[test]
fn missing_truncated_and_changed_blobs_are_refused_at_once() {
    type Which = fn(&Victim) -> &String;
    let blobs: [(&str, Which); 3] = [
        ("manifest", |v| &v.manifest),
        ("configuration", |v| &v.config),
        ("layer 1 of 1", |v| &v.layer),
    ];
    for (what, which) in blobs {
        let victim = victim();
        let path = victim.folder.path().join(which(&victim));
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        let error = refused(
            victim.folder.path(),
            &options("linux/arm64"),
            &[what, "truncated"],
        );
        assert!(matches!(error, SourceError::BlobSize { .. }));
        fs::remove_file(&path).unwrap();
        let error = refused(
            victim.folder.path(),
            &options("linux/arm64"),
            &[what, "is missing", which(&victim)],
        );
        assert!(matches!(error, SourceError::MissingBlob { .. }));
        if what != "layer 1 of 1" {
            fs::write(&path, vec![b' '; good.len()]).unwrap();
            let error = refused(
                victim.folder.path(),
                &options("linux/arm64"),
                &[what, "wrong digest"],
            );
            assert!(matches!(error, SourceError::BlobDigest { .. }));
        }
    }
}

#[test]
fn layers_that_cannot_be_used_are_refused_by_number_and_type() {
    for (media_type, parts) in [
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            ["layer 1", "foreign"],
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            ["layer 1", "encrypted"],
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+br",
            ["layer 1", "compressed with br"],
        ),
        (
            "text/plain",
            ["layer 1", "not the media type of a file system layer"],
        ),
    ] {
        let mut layout = Layout::default();
        let config = layout.config("linux/arm64", &[layer("a")]);
        let blob = layout.blob(media_type, gzip(&layer("a")));
        let manifest = layout.manifest(&config, &[blob]);
        let folder = folder(&layout.entry(manifest));
        let error = refused(folder.path(), &options("linux/arm64"), &parts);
        assert!(error.to_string().contains(media_type), "{error}");
    }
    let mut layout = Layout::default();
    let config = layout.config("linux/arm64", &[layer("a")]);
    let mut blob = layout.blob(Compression::Gzip.oci_media_type(), gzip(&layer("a")));
    blob["urls"] = json!(["https://example.com/layer"]);
    let manifest = layout.manifest(&config, std::slice::from_ref(&blob));
    let mut layout = layout.entry(manifest);
    assert!(
        open(folder(&layout).path(), &options("linux/arm64")).is_ok(),
        "the layer is there"
    );
    layout
        .blobs
        .remove(&blob["digest"].as_str().unwrap().parse().unwrap());
    refused(
        folder(&layout).path(),
        &options("linux/arm64"),
        &["layer 1", "foreign"],
    );
}

#[test]
fn the_bytes_of_a_layer_win_over_its_media_type() {
    for said in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for real in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut layout = Layout::default();
            let config = layout.config("linux/arm64", &[layer("a")]);
            let blob = layout.blob(said.docker_media_type(), compress(&layer("a"), real));
            let manifest = layout.manifest(&config, &[blob]);
            let folder = folder(&layout.entry(manifest));
            let image = open(folder.path(), &options("linux/arm64")).unwrap();
            assert_eq!(image.layers[0].compression, real);
            assert_eq!(image.layers[0].media_type, said.docker_media_type());
        }
    }
    let mut layout = Layout::default();
    let config = layout.config("linux/arm64", &[layer("a")]);
    let blob = layout.blob(Compression::Gzip.oci_media_type(), b"\xfd7zXZ\0...".to_vec());
    let manifest = layout.manifest(&config, &[blob]);
    refused(
        folder(&layout.entry(manifest)).path(),
        &options("linux/arm64"),
        &["layer 1", "compressed with xz"],
    );
}

#[test]
fn documents_that_contradict_themselves_are_refused() {
    let platform = options("linux/arm64");
    let mut layout = Layout::default();
    let config = layout.config("linux/arm64", &[layer("a"), layer("b")]);
    let blob = layout.blob(Compression::Gzip.oci_media_type(), gzip(&layer("a")));
    let short = layout.manifest(&config, &[blob]);
    refused(
        folder(&layout.clone().entry(short)).path(),
        &platform,
        &["1 layers", "configuration 2"],
    );

    let arm = layout.image("linux/arm64", &["x"]);
    let lying = on("linux/amd64", arm.clone());
    refused(
        folder(&layout.clone().entry(lying)).path(),
        &options("linux/amd64"),
        &["marked as linux/amd64", "configuration says linux/arm64"],
    );
    let both = layout.json_blob(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}),
    );
    refused(
        folder(&layout.clone().entry(both)).path(),
        &platform,
        &["at once"],
    );
    let old = layout.json_blob(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        &json!({"schemaVersion": 1, "fsLayers": []}),
    );
    refused(
        folder(&layout.clone().entry(old)).path(),
        &platform,
        &["schema 1"],
    );
    let mut renamed = arm.clone();
    renamed["mediaType"] = json!(OCI_INDEX);
    refused(
        folder(&layout.clone().entry(renamed)).path(),
        &platform,
        &["named as", "says itself"],
    );
    let chart = layout.blob("application/vnd.cncf.helm.config.v1+json", b"{}".to_vec());
    let chart = layout.manifest(&chart, &[]);
    refused(
        folder(&layout.clone().entry(chart)).path(),
        &platform,
        &["no container image", "helm"],
    );
    let broken = layout.blob(OCI_MANIFEST, b"{\"schemaVersion\": 2,".to_vec());
    refused(
        folder(&layout.clone().entry(broken)).path(),
        &platform,
        &["manifest", "not valid JSON"],
    );
    refused(folder(&layout).path(), &platform, &["lists no image"]);
}

#[test]
fn indexes_end_somewhere() {
    let mut layout = Layout::default();
    let mut descriptor = layout.image("linux/arm64", &["x"]);
    for _ in 0..10 {
        descriptor = layout.index(&[descriptor]);
    }
    refused(
        folder(&layout.entry(descriptor)).path(),
        &options("linux/arm64"),
        &["levels of indexes"],
    );
    let mut layout = Layout::default();
    let image = on("linux/arm64", layout.image("linux/arm64", &["x"]));
    let wide = layout.index(&vec![image; 100]);
    let wider = layout.index(&vec![wide; 100]);
    refused(
        folder(&layout.entry(wider)).path(),
        &options("linux/arm64"),
        &["entries"],
    );
}

#[test]
fn a_damaged_configuration_of_a_docker_archive_is_refused() {
    let (entry, mut files) = saved("linux/arm64", &["app:1"], &["a"]);
    let config = files.last_mut().unwrap();
    config.1.push(b'\n');
    let (_folder, path) = file(&saved_tar(&[entry], &files));
    refused(&path, &options("linux/arm64"), &["configuration", "wrong digest"]);
}

#[test]
fn links_of_an_archive_stay_inside_and_end() {
    let config = serde_json::to_vec(&config("linux/arm64", &[layer("a")])).unwrap();
    for (links, layer, part) in [
        ([("l", "m"), ("m", "l")], "l", "leads nowhere"),
        ([("l", "../../etc/passwd"), ("m", "l")], "l", "is missing"),
        ([("l", "m"), ("m", "gone")], "l", "leads nowhere"),
        ([("l", "m"), ("m", "l")], "../../etc/passwd", "outside of itself"),
    ] {
        let list = json!([{"Config": "c.json", "Layers": [layer]}]);
        let archive = tar(&[
            Member::File("manifest.json", &serde_json::to_vec(&list).unwrap()),
            Member::Symlink(links[0].0, links[0].1),
            Member::Symlink(links[1].0, links[1].1),
            Member::File("c.json", &config),
        ]);
        let (_folder, path) = file(&archive);
        refused(&path, &options("linux/arm64"), &[part]);
    }
}

#[test]
fn no_image_has_a_thousand_layers() {
    let bytes = layer("a");
    let mut layout = Layout::default();
    let config = layout.config("linux/arm64", &vec![bytes.clone(); 1001]);
    let blob = layout.blob(Compression::None.oci_media_type(), bytes);
    let manifest = layout.manifest(&config, &vec![blob; 1001]);
    let folder = folder(&layout.entry(manifest));
    refused(folder.path(), &options("linux/arm64"), &["more than 1000 layers"]);
}

/// Archives of every form, small enough to be damaged at every place in a while.
fn archives() -> Vec<Vec<u8>> {
    let mut layout = Layout::default();
    let manifest = layout.image("linux/arm64", &["a"]);
    let index = layout.index(&[on("linux/arm64", manifest)]);
    let layout = layout.entry(index).tar();
    let (entry, files) = saved("linux/arm64", &["app:1"], &["a"]);
    let saved = saved_tar(&[entry], &files);
    vec![gzip(&layout), layout, gzip(&saved), saved, rootfs(183)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to the bytes, the answer is an image whose JSON is verified, or an error.
    #[test]
    fn damaged_archives_never_panic(
        which in 0..5_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = archives().swap_remove(which);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (_folder, path) = file(&bytes);
        if let Ok(image) = open(&path, &options("linux/arm64")) {
            prop_assert_eq!(image.manifest.digest, Digest::of(&image.manifest.bytes));
            prop_assert_eq!(image.config.digest, Digest::of(&image.config.bytes));
            prop_assert_eq!(image.layers.len(), image.config_view.rootfs.diff_ids.len());
        }
    }
}
