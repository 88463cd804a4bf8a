//! OCI layouts with layers of a few files.

use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use vcontainer_image::{Digest, Image, OpenOptions, Platform, open};

/// A layer as a list of names: `dir/` is a directory, `name=content` a file, `name` an empty file.
pub(super) type TinyLayer<'a> = &'a [&'a str];

/// An image for linux/arm64 with gzip layers. Its blobs stay in `folder`.
pub(super) fn tiny_image(folder: &Path, layers: &[TinyLayer<'_>]) -> Image {
    labelled_image(folder, layers, "")
}

/// The same with a label, so that images with equal layers can differ.
pub(super) fn labelled_image(folder: &Path, layers: &[TinyLayer<'_>], label: &str) -> Image {
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let blob = |content: &[u8], media_type: &str| -> Value {
        let digest = Digest::of(content);
        std::fs::write(folder.join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": content.len() })
    };
    let tars: Vec<Vec<u8>> = layers.iter().map(|layer| tar(layer)).collect();
    let descriptors: Vec<Value> = tars
        .iter()
        .map(|tar| blob(&gzip(tar), "application/vnd.oci.image.layer.v1.tar+gzip"))
        .collect();
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let config = json!({
        "created": "2024-05-06T07:08:09.5+02:00", "architecture": "arm64", "os": "linux",
        "config": { "Cmd": ["/bin/sh"], "Labels": { "label": label } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": descriptors,
    });
    let manifest = blob(
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    );
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    open(
        folder,
        &OpenOptions::new(Platform::for_machine("aarch64").unwrap()),
    )
    .unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn tar(entries: TinyLayer<'_>) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let (name, content) = entry.split_once('=').unwrap_or((entry, ""));
        let (kind, mode) = if name.ends_with('/') {
            (b'5', 0o755)
        } else {
            (b'0', 0o644)
        };
        tar.extend_from_slice(&header(name, kind, mode, content.len()));
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn header(name: &str, kind: u8, mode: u32, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0001750");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "14524770400");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
