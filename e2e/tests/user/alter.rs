//! Changes to the documents of an OCI layout whose digests are right again afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::layout::digest;
use serde_json::{Value, json};

/// Where a layout keeps the blob that this descriptor names.
pub fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"]
        .as_str()
        .context("a descriptor without a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

/// The index of a layout.
pub fn index(layout: &Path) -> Result<Value> {
    read(&layout.join("index.json"))
}

/// The manifest of a layout that holds one image.
pub fn manifest(layout: &Path) -> Result<Value> {
    read(&blob(layout, &index(layout)?["manifests"][0])?)
}

/// Changes manifest and configuration of a layout that holds one image.
pub fn image(layout: &Path, change: impl FnOnce(&mut Value, &mut Value)) -> Result<()> {
    let mut index = index(layout)?;
    let mut manifest = manifest(layout)?;
    let mut config = read(&blob(layout, &manifest["config"])?)?;
    let named = manifest["config"]["digest"].clone();
    change(&mut manifest, &mut config);
    if manifest["config"]["digest"] == named {
        put(layout, &mut manifest["config"], config.to_string().as_bytes())?;
    }
    put(
        layout,
        &mut index["manifests"][0],
        manifest.to_string().as_bytes(),
    )?;
    write_index(layout, &index)
}

/// Replaces the bytes of a layer of a layout that holds one image.
pub fn layer(layout: &Path, number: usize, bytes: &[u8]) -> Result<()> {
    let mut descriptor = json!({});
    put(layout, &mut descriptor, bytes)?;
    image(layout, |manifest, _| {
        manifest["layers"][number]["digest"] = descriptor["digest"].clone();
        manifest["layers"][number]["size"] = descriptor["size"].clone();
    })
}

/// Writes the index of a layout.
pub fn write_index(layout: &Path, index: &Value) -> Result<()> {
    Ok(fs::write(layout.join("index.json"), index.to_string())?)
}

/// Writes a blob and lets a descriptor name it.
pub fn put(layout: &Path, descriptor: &mut Value, bytes: &[u8]) -> Result<()> {
    descriptor["digest"] = json!(digest(bytes));
    descriptor["size"] = json!(bytes.len());
    Ok(fs::write(blob(layout, descriptor)?, bytes)?)
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
}
