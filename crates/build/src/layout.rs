//! Writes an OCI image layout: whole, or not at all.
//!
//! Source: OCI image-spec `image-layout.md`, `manifest.md`, `image-index.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use vcontainer_image::{
    Digest, HashingReader, INDEX_DIGEST, Image, LayerSource, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Platform,
};

use crate::cache::{Cache, Damage, Hit};
use crate::error::{Error, OnPath as _};
use crate::staging::{Staging, folder_of};

/// A layout in the making, beside the place where it will be.
pub struct LayoutWriter {
    target: PathBuf,
    staging: Staging,
    blobs: BTreeSet<Digest>,
}

/// A blob that a manifest or an index names.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// An entry of an index: a blob, and what readers choose it by.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The manifest, or another index.
    pub descriptor: Descriptor,
    /// The tag by which the layout is asked for it.
    pub tag: Option<&'a str>,
    /// What it is for.
    pub platform: Option<&'a Platform>,
    /// The index that it was chosen from, if it lies in the layout without the other images that it names.
    pub index: Option<Digest>,
}

/// The JSON of an index.
#[must_use]
pub fn index(entries: &[Entry<'_>]) -> Vec<u8> {
    let entries: Vec<_> = entries.iter().map(Entry::json).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    index.to_string().into_bytes()
}

impl Entry<'_> {
    fn json(&self) -> Map<String, Value> {
        let mut json = self.descriptor.json();
        let mut annotations = Map::new();
        if let Some(tag) = self.tag {
            annotations.insert("org.opencontainers.image.ref.name".into(), json!(tag));
        }
        if let Some(index) = self.index {
            annotations.insert(INDEX_DIGEST.into(), json!(index.to_string()));
        }
        if !annotations.is_empty() {
            json.insert("annotations".into(), Value::Object(annotations));
        }
        if let Some(platform) = self.platform {
            let mut described = Map::new();
            described.insert("architecture".into(), json!(platform.architecture));
            described.insert("os".into(), json!(platform.os));
            if let Some(variant) = &platform.variant {
                described.insert("variant".into(), json!(variant));
            }
            json.insert("platform".into(), Value::Object(described));
        }
        json
    }
}

impl Descriptor {
    fn json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        json.insert("mediaType".into(), json!(self.media_type));
        json.insert("digest".into(), json!(self.digest.to_string()));
        json.insert("size".into(), json!(self.size));
        json
    }
}

impl LayoutWriter {
    /// Begins a layout that will lie at `target`.
    ///
    /// # Errors
    /// Nothing can be made there.
    pub fn new(target: &Path) -> Result<Self, Error> {
        let staging = Staging::new(folder_of(target))?;
        let blobs = staging.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).at("making the directory", &blobs)?;
        Ok(Self {
            target: target.into(),
            staging,
            blobs: BTreeSet::new(),
        })
    }

    /// Where temporary files lie so that they can become blobs by a rename.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.staging.path()
    }

    /// Where a blob lies as long as the layout is in the making.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.staging.path().join("blobs/sha256").join(digest.hex())
    }

    /// Takes a finished file as blob.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn add_file(&mut self, file: NamedTempFile, digest: Digest) -> Result<(), Error> {
        if !self.blobs.insert(digest) {
            return Ok(());
        }
        let path = self.blob(digest);
        file.as_file().sync_all().at("writing out", &path)?;
        // Temporary files are for their owner only.
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))
            .at("setting the mode of", &path)?;
        let persisted = file.persist(&path).map_err(|error| error.error);
        persisted.at("renaming to", &path).map(drop)
    }

    /// Adds a document.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_document(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let digest = Digest::of(bytes);
        let path = self.blob(digest);
        if self.blobs.insert(digest) {
            write(&path, bytes)?;
        }
        Ok(Descriptor {
            media_type: media_type.into(),
            digest,
            size: bytes.len() as u64,
        })
    }

    /// Takes a layer out of the cache. The inner error is what is wrong with the entry.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn add_cached(&mut self, cache: &Cache, hit: &Hit) -> Result<Result<(), Damage>, Error> {
        if self.blobs.contains(&hit.entry.digest) {
            return Ok(Ok(()));
        }
        let restored = cache.restore(hit, &self.blob(hit.entry.digest))?;
        if restored.is_ok() {
            self.blobs.insert(hit.entry.digest);
        }
        Ok(restored)
    }

    /// Copies a layer of another image; its digest and size must be right.
    ///
    /// # Errors
    /// It is damaged, or cannot be copied.
    pub fn add_layer(&mut self, layer: &LayerSource) -> Result<Descriptor, Error> {
        let descriptor = Descriptor {
            // Docker's types in an OCI manifest are refused by some readers; the bytes decide what it is.
            media_type: layer.compression.oci_media_type().into(),
            digest: layer.digest,
            size: layer.size,
        };
        if !self.blobs.insert(layer.digest) {
            return Ok(descriptor);
        }
        let path = self.blob(layer.digest);
        let opened = layer.open().map_err(|error| Error::Image(Box::new(error)))?;
        let mut reader = HashingReader::new(opened);
        let mut file = create(&path).at("making", &path)?;
        io::copy(&mut reader, &mut file).at("copying a layer to", &path)?;
        let (digest, size) = reader.finish();
        if (digest, size) != (layer.digest, layer.size) {
            return Err(Error::Stream {
                origin: layer.origin().into(),
                fault: format!("its layer {} is damaged: the digest is {digest}", layer.digest),
            });
        }
        file.sync_all().at("writing out", &path)?;
        Ok(descriptor)
    }

    /// Writes the manifest and the entry file, and puts the layout at its place; one that was there goes.
    ///
    /// # Errors
    /// It cannot be written or moved.
    pub fn finish(
        mut self,
        config: &[u8],
        layers: &[Descriptor],
        platform: &Platform,
        tag: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Digest, Error> {
        let config = self.add_document(OCI_CONFIG, config)?;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.json(),
            "layers": layers.iter().map(Descriptor::json).collect::<Vec<_>>(),
        });
        if let (false, Some(object)) = (annotations.is_empty(), manifest.as_object_mut()) {
            object.insert("annotations".into(), json!(annotations));
        }
        let manifest = self.add_document(OCI_MANIFEST, manifest.to_string().as_bytes())?;
        let entry = Entry {
            descriptor: manifest.clone(),
            tag: Some(tag),
            platform: Some(platform),
            index: None,
        };
        self.finish_with(&[entry])?;
        Ok(manifest.digest)
    }

    /// Writes the entry file over blobs that are there, and puts the layout at its place; one that was there goes.
    ///
    /// # Errors
    /// It cannot be written or moved.
    pub fn finish_with(self, entries: &[Entry<'_>]) -> Result<(), Error> {
        write(&self.staging.path().join("index.json"), &index(entries))?;
        write(
            &self.staging.path().join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        self.publish()
    }

    fn publish(self) -> Result<(), Error> {
        let staged = self.staging.path();
        for directory in [&staged.join("blobs/sha256"), &staged.join("blobs"), staged] {
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(directory, mode).at("setting the mode of", directory)?;
            let opened = File::open(directory).at("opening", directory)?;
            opened.sync_all().at("writing out", directory)?;
        }
        self.staging.publish(&self.target)
    }
}

/// A new file that everybody may read, whatever the umask is.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

/// Such a file with its content, written out.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = create(path).at("making", path)?;
    file.write_all(bytes).at("writing", path)?;
    file.sync_all().at("writing out", path)
}

/// The layers of a base, copied.
///
/// # Errors
/// As [`LayoutWriter::add_layer`].
pub fn copy_layers(writer: &mut LayoutWriter, base: &Image) -> Result<Vec<Descriptor>, Error> {
    base.layers.iter().map(|layer| writer.add_layer(layer)).collect()
}
