//! An image for two platforms, and a registry that has it.

use std::collections::BTreeMap;

use serde_json::json;
use vcontainer_image::{Digest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};

use super::server::{Reply, Seen};

/// An image with its blobs.
#[derive(Clone, Default)]
pub struct Image {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub index: Option<Digest>,
    /// By architecture.
    pub manifests: BTreeMap<String, Digest>,
    /// The large layer of arm64.
    pub layer: Option<Digest>,
}

/// So large that it comes in many pieces.
pub const LARGE: usize = 3 << 20;

impl Image {
    /// An index of arm64 and amd64, each with a small layer of its own and a large one.
    pub fn new() -> Self {
        let mut image = Self::default();
        let mut listed = Vec::new();
        for arch in ["arm64", "amd64"] {
            let large: Vec<u8> = (0..LARGE as u32)
                .map(|at| {
                    (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ arch.len() as u8 ^ arch.as_bytes()[1]
                })
                .collect();
            let layers = [arch.as_bytes().to_vec(), large];
            let config = json!({"architecture": arch, "os": "linux", "rootfs": {
                "type": "layers", "diff_ids": layers.each_ref().map(|layer| Digest::of(layer).to_string())}});
            let config = config.to_string().into_bytes();
            let described = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
            let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                "config": described(OCI_CONFIG, &config), "unknown": "field",
                "layers": layers.each_ref().map(|layer| described("application/vnd.oci.image.layer.v1.tar", layer))});
            let manifest = manifest.to_string().into_bytes();
            let mut entry = described(OCI_MANIFEST, &manifest);
            entry["platform"] = json!({"os": "linux", "architecture": arch});
            listed.push(entry);
            if arch == "arm64" {
                image.layer = Some(Digest::of(&layers[1]));
            }
            image.manifests.insert(arch.into(), Digest::of(&manifest));
            for blob in layers.into_iter().chain([config, manifest]) {
                image.add(blob);
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
        image.index = Some(image.add(index.to_string().into_bytes()));
        image
    }

    pub fn add(&mut self, blob: Vec<u8>) -> Digest {
        let digest = Digest::of(&blob);
        self.blobs.insert(digest, blob);
        digest
    }

    pub fn index(&self) -> Digest {
        self.index.unwrap()
    }

    /// The path of the large layer at a registry.
    pub fn layer(&self) -> String {
        format!("/blobs/{}", self.layer.unwrap())
    }

    pub fn large(&self) -> Vec<u8> {
        self.blobs[&self.layer.unwrap()].clone()
    }

    /// What a registry without faults answers.
    pub fn reply(&self, seen: &Seen) -> Reply {
        let name = seen.target.rsplit('/').next().unwrap();
        let name = match name {
            "latest" => self.index().to_string(),
            name => name.split('?').next().unwrap().to_owned(),
        };
        let Some(blob) = name
            .parse()
            .ok()
            .and_then(|digest: Digest| self.blobs.get(&digest))
        else {
            return Reply::new(
                404,
                r#"{"errors":[{"code":"UNKNOWN","message":"not known here"}]}"#,
            );
        };
        let from = seen.header("range").map(|range| {
            let first = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
            first.parse::<usize>().unwrap()
        });
        match from {
            None => Reply::new(200, blob.clone()),
            Some(from) if from >= blob.len() => Reply::new(416, ""),
            Some(from) => Reply::new(206, &blob[from..]).with(
                "Content-Range",
                format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()),
            ),
        }
    }
}
