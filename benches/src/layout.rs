//! OCI image layouts and docker-archives whose layers are too large for memory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::process::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The file beside a layout that says what this module knows of its layers.
const LAYERS: &str = "layers.json";

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The command that compresses: gzip's and zstd's own defaults, without a time in gzip's header.
    pub(crate) fn compressor(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &["gzip", "-6", "-n", "-c"],
            Self::Zstd => &["zstd", "-3", "-q", "-c"],
        }
    }
}

/// A layer blob in a file of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) compression: Compression,
    /// Digest of the blob, hexadecimal.
    pub(crate) digest: String,
    /// Bytes of the blob.
    pub(crate) size: u64,
    /// Digest of the uncompressed stream, hexadecimal.
    pub(crate) diff_id: String,
    /// Bytes of the uncompressed stream.
    pub(crate) unpacked: u64,
}

/// Hashes and counts what passes.
pub(crate) struct Hashed<W> {
    pub(crate) inner: W,
    hasher: Sha256,
    pub(crate) bytes: u64,
}

impl<W> Hashed<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    pub(crate) fn finish(self) -> (W, String) {
        (self.inner, hex(&self.hasher.finalize()))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digest and size of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hashed = Hashed::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("reading {}", path.display()))?;
        if count == 0 {
            break;
        }
        hashed.write_all(&buffer[..count])?;
    }
    let bytes = hashed.bytes;
    Ok((hashed.finish().1, bytes))
}

/// Compresses a tar archive into the blobs of the layout in `layout`.
pub(crate) fn compress(tar: &Path, layout: &Path, compression: Compression) -> Result<Layer> {
    let blobs = blobs(layout)?;
    let partial = blobs.join("partial");
    let output = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let words = compression.compressor();
    let status = Command::new(words[0])
        .args(&words[1..])
        .arg(tar)
        .std()
        .stdout(output)
        .status()
        .with_context(|| format!("starting {}", words[0]))?;
    anyhow::ensure!(status.success(), "{} {} failed", words.join(" "), tar.display());
    let (diff_id, unpacked) = hash_file(tar)?;
    let (digest, size) = hash_file(&partial)?;
    fs::rename(&partial, blobs.join(&digest)).context("naming a layer blob")?;
    Ok(Layer {
        compression,
        digest,
        size,
        diff_id,
        unpacked,
    })
}

/// The directory of blobs of a layout, made if need be.
pub(crate) fn blobs(layout: &Path) -> Result<PathBuf> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;
    Ok(blobs)
}

/// Writes configuration, manifest and index of an image whose layer blobs are in the layout already.
pub(crate) fn describe(layout: &Path, layers: &[Layer]) -> Result<()> {
    let blobs = blobs(layout)?;
    let blob = |media_type: &str, value: &Value| -> Result<Value> {
        let bytes = value.to_string().into_bytes();
        let digest = hex(&Sha256::digest(&bytes));
        fs::write(blobs.join(&digest), &bytes).context("writing a blob")?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let config = blob("application/vnd.oci.image.config.v1+json", &configuration(layers))?;
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|layer| {
            json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar+{}", layer.compression.name()),
                "digest": format!("sha256:{}", layer.digest),
                "size": layer.size,
            })
        })
        .collect();
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest = blob(
        MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors}),
    )?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    let list = serde_json::to_vec(layers).context("listing the layers")?;
    fs::write(layout.join(LAYERS), list).context("writing the list of layers")?;
    fs::write(layout.join("index.json"), index.to_string()).context("writing index.json")?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).context("writing oci-layout")
}

/// The layers of an image that [`describe`] described.
pub(crate) fn read_layers(layout: &Path) -> Result<Vec<Layer>> {
    let path = layout.join(LAYERS);
    let list = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&list).with_context(|| format!("parsing {}", path.display()))
}

fn configuration(layers: &[Layer]) -> Value {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("sha256:{}", layer.diff_id))
        .collect();
    json!({
        "created": "2025-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// Writes the image as a docker-archive with the same compressed layers, named `bench:latest`.
pub(crate) fn docker_archive(layout: &Path, layers: &[Layer], archive: &Path) -> Result<()> {
    let staging = tempfile::tempdir_in(layout.parent().unwrap_or(layout)).context("making a directory")?;
    let config = configuration(layers).to_string();
    let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
    fs::write(staging.path().join(&config_name), config).context("writing the configuration")?;
    let names: Vec<String> = layers
        .iter()
        .map(|layer| format!("{}.tar", layer.digest))
        .collect();
    for (layer, name) in layers.iter().zip(&names) {
        fs::hard_link(blobs(layout)?.join(&layer.digest), staging.path().join(name))
            .context("linking a layer")?;
    }
    let manifest = json!([{"Config": config_name, "RepoTags": ["bench:latest"], "Layers": names}]);
    fs::write(staging.path().join("manifest.json"), manifest.to_string()).context("writing manifest.json")?;
    Command::new("tar")
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(staging.path())
        .args([&config_name, "manifest.json"])
        .args(&names)
        .output()
        .map(|_| ())
}
