//! OCI image layouts and `docker save` archives made for tests (OCI image specification 1.1; Docker image
//! specification 1.2).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tarball::{Format, Meta, Tarball};

/// `sha256:` and 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// gzip, as most images are.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The compressed bytes.
    ///
    /// # Errors
    /// None that is known: memory is all that is written to.
    pub fn compress(self, tar: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::None => Ok(tar.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar)?;
                Ok(encoder.finish()?)
            }
            Self::Zstd => Ok(zstd::encode_all(tar, 1)?),
        }
    }
}

/// An image of one platform: its layers and what its configuration says.
#[derive(Clone, Debug)]
pub struct Image {
    /// OCI name of the architecture (amd64, arm64).
    pub architecture: String,
    /// Uncompressed layers, base first.
    pub layers: Vec<Vec<u8>>,
    /// The object `config` of the configuration.
    pub config: Value,
}

impl Image {
    /// Digests of the uncompressed layers, base first.
    pub fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| digest(layer)).collect()
    }

    /// The configuration, as bytes.
    pub fn configuration(&self) -> Vec<u8> {
        let history: Vec<Value> = (0..self.layers.len())
            .map(|number| json!({"created": CREATED, "created_by": format!("layer {number}")}))
            .chain([json!({"created": CREATED, "created_by": "CMD", "empty_layer": true})])
            .collect();
        json!({
            "created": CREATED,
            "author": "tests",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids()},
            "history": history,
        })
        .to_string()
        .into_bytes()
    }
}

/// When every test image was made.
const CREATED: &str = "2024-05-06T07:08:09.123456789Z";

/// What an index says of a manifest that is in the layout.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Digest of the manifest.
    pub digest: String,
    /// Digest of the configuration (empty for an index).
    pub config: String,
    /// Digests of the layer blobs, base first (empty for an index).
    pub layers: Vec<String>,
    json: Value,
}

/// An OCI image layout being written.
pub struct Layout {
    directory: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// An empty layout in a new directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
        let layout = Self {
            directory,
            manifests: Vec::new(),
        };
        layout.write_index()?;
        Ok(layout)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Writes a blob and returns its digest.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn blob(&self, bytes: &[u8]) -> Result<String> {
        let digest = digest(bytes);
        let path = self.directory.join("blobs").join(digest.replace(':', "/"));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(digest)
    }

    /// Writes the blobs of an image; the index doesn't name it yet.
    ///
    /// # Errors
    /// A blob cannot be written.
    pub fn add(&self, image: &Image, compression: Compression) -> Result<Descriptor> {
        let layers: Vec<Value> = image
            .layers
            .iter()
            .map(|layer| {
                let blob = compression.compress(layer)?;
                let digest = self.blob(&blob)?;
                Ok(json!({"mediaType": compression.media_type(), "digest": digest, "size": blob.len()}))
            })
            .collect::<Result<_>>()?;
        let configuration = image.configuration();
        let config = self.blob(&configuration)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config,
                "size": configuration.len(),
            },
            "layers": layers,
        })
        .to_string();
        let digest = self.blob(manifest.as_bytes())?;
        let json = json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": manifest.len(),
            "platform": {"os": "linux", "architecture": image.architecture},
        });
        let layers = layers
            .iter()
            .filter_map(|layer| layer["digest"].as_str().map(str::to_owned))
            .collect();
        Ok(Descriptor {
            digest,
            config,
            layers,
            json,
        })
    }

    /// Writes an attestation of an image, as BuildKit does: a manifest for the platform unknown/unknown.
    ///
    /// # Errors
    /// A blob cannot be written.
    pub fn attest(&self, image: &Descriptor) -> Result<Descriptor> {
        let statement = json!({"_type": "https://in-toto.io/Statement/v0.1"}).to_string();
        let config = json!({"architecture": "unknown", "os": "unknown"}).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(config.as_bytes())?,
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.in-toto+json",
                "digest": self.blob(statement.as_bytes())?,
                "size": statement.len(),
            }],
        })
        .to_string();
        let digest = self.blob(manifest.as_bytes())?;
        let json = json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": manifest.len(),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image.digest,
            },
        });
        Ok(Descriptor {
            digest,
            config: String::new(),
            layers: Vec::new(),
            json,
        })
    }

    /// Writes an index over these manifests as a blob (a nested index, once [`Layout::name`] names it).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_index(&self, manifests: &[Descriptor]) -> Result<Descriptor> {
        let list: Vec<&Value> = manifests.iter().map(|manifest| &manifest.json).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string();
        let digest = self.blob(index.as_bytes())?;
        let json = json!({"mediaType": INDEX, "digest": digest, "size": index.len()});
        Ok(Descriptor {
            digest,
            config: String::new(),
            layers: Vec::new(),
            json,
        })
    }

    /// Names a manifest or index in the layout's own index.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn name(&mut self, descriptor: &Descriptor, tag: Option<&str>) -> Result<()> {
        let mut json = descriptor.json.clone();
        if let Some(tag) = tag {
            json["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        self.manifests.push(json);
        self.write_index()
    }

    fn write_index(&self) -> Result<()> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        let path = self.directory.join("index.json");
        fs::write(&path, index.to_string()).with_context(|| format!("writing {}", path.display()))
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image as `docker save` wrote it before version 25: `manifest.json`, the configuration, plain layers.
pub fn docker_archive(image: &Image, name: &str) -> Vec<u8> {
    let meta = || Meta::mode(0o644);
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let configuration = image.configuration();
    let config_name = format!("{}.json", hex(&digest(&configuration)));
    let layer_names: Vec<String> = (0..image.layers.len())
        .map(|number| format!("{number}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]).to_string();
    let mut tarball = Tarball::new(Format::Pax).file(&config_name, meta(), configuration);
    for (name, layer) in layer_names.iter().zip(&image.layers) {
        tarball = tarball.file(name, meta(), layer);
    }
    tarball.file("manifest.json", meta(), manifest).finish(0)
}
