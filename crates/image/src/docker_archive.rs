//! `docker save` archives of the old form, as Docker before 25, Podman, skopeo, Kaniko, Bazel and Nix write them.
//!
//! Source: Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format": `manifest.json` lists
//! for each image its configuration, its names and its layers. There is no manifest as registries know it; one is made
//! here over the layers as they lie in the archive, so that every image has one. Archives that also are an OCI layout
//! (Docker 25 and later) are read as one, see [`crate::layout`].

use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::blob::Blob;
use crate::compression::Compression;
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, HashingReader};
use crate::error::SourceError;
use crate::manifest::{DOCKER_CONFIG, DOCKER_MANIFEST, DocumentError, null_as_default};
use crate::select::{Offer, choose, references};
use crate::source::{Document, Image, LayerSource, OpenOptions, SourceLimits, check_layer_count};
use crate::tree::Tree;

const LIST: &str = "manifest.json";
const MAGIC_BYTES: usize = 8;
/// Images of one archive, whose configurations are all kept until one is chosen.
const MAX_IMAGES: usize = 1000;
/// How many times the limit of one document all configurations together may take.
const MAX_DOCUMENTS: u64 = 4;

/// One image of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    /// The member with the configuration.
    pub config: String,
    /// Names with tags.
    #[serde(default, deserialize_with = "null_as_default")]
    pub repo_tags: Vec<String>,
    /// The members with the layers, base first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<String>,
}

/// Parses the `manifest.json` of a `docker save` archive.
///
/// # Errors
/// JSON of another shape.
pub fn parse_saved_images(bytes: &[u8]) -> Result<Vec<SavedImage>, DocumentError> {
    Ok(serde_json::from_slice(bytes)?)
}

/// An image with its configuration read.
struct Saved {
    layers: Vec<String>,
    config: Document,
    view: ImageConfig,
}

/// The image in the archive that fits `options`.
pub(crate) fn open(tree: &Tree, options: &OpenOptions) -> Result<Image, SourceError> {
    let offers = offers(tree, &options.limits)?;
    let offer = choose(
        &tree.origin,
        &offers,
        &options.platform,
        options.select.as_deref(),
    )?;
    let mut image = read_image(tree, offer)?;
    image.tags = offers
        .iter()
        .filter(|other| other.digests == offer.digests)
        .flat_map(|other| other.names.iter().cloned())
        .collect();
    image.names = references(image.tags.iter().map(String::as_str));
    Ok(image)
}

/// Every image in the archive.
pub(crate) fn list(tree: &Tree, options: &OpenOptions) -> Result<Vec<Image>, SourceError> {
    offers(tree, &options.limits)?
        .iter()
        .map(|offer| read_image(tree, offer))
        .collect()
}

fn offers(tree: &Tree, limits: &SourceLimits) -> Result<Vec<Offer<Saved>>, SourceError> {
    let file = member(tree, LIST, LIST)?;
    let bytes = tree.read(&file, LIST, limits)?;
    let saved = parse_saved_images(&bytes).map_err(|source| document_error(tree, LIST, source))?;
    let too_many = |limit, of| SourceError::TooMany {
        origin: tree.origin.clone(),
        limit,
        of,
    };
    if saved.len() > MAX_IMAGES {
        return Err(too_many(MAX_IMAGES, "images"));
    }
    // Many images may name one large configuration.
    let mut room = limits.document_bytes.saturating_mul(MAX_DOCUMENTS);
    saved
        .into_iter()
        .enumerate()
        .map(|(entry, saved)| {
            let blob = member(tree, &saved.config, "configuration")?;
            let bytes = tree.read(&blob, "configuration", limits)?;
            room = room
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| too_many(entry, "configurations of this size"))?;
            let config = Document::new(DOCKER_CONFIG, bytes);
            if digest_in_name(&saved.config).is_some_and(|named| named != config.digest) {
                return Err(SourceError::BlobDigest {
                    origin: tree.origin.clone(),
                    what: format!("configuration {}", saved.config),
                    found: config.digest,
                });
            }
            let view = ImageConfig::parse(&config.bytes)
                .map_err(|source| document_error(tree, &format!("configuration {}", saved.config), source))?;
            Ok(Offer {
                names: saved.repo_tags,
                entry,
                digests: vec![config.digest],
                platform: view.platform(),
                payload: Saved {
                    layers: saved.layers,
                    config,
                    view,
                },
            })
        })
        .collect()
}

/// `<hex>.json`, `sha256:<hex>` and `blobs/sha256/<hex>` are named after their content.
fn digest_in_name(name: &str) -> Option<Digest> {
    let name = name.rsplit('/').next()?;
    let hex = name.strip_suffix(".json").unwrap_or(name);
    format!("sha256:{}", hex.strip_prefix("sha256:").unwrap_or(hex))
        .parse()
        .ok()
}

fn read_image(tree: &Tree, offer: &Offer<Saved>) -> Result<Image, SourceError> {
    let Saved { layers, config, view } = &offer.payload;
    check_layer_count(tree, layers.len(), view.rootfs.diff_ids.len())?;
    let layers = layers
        .iter()
        .zip(&view.rootfs.diff_ids)
        .enumerate()
        .map(|(position, (name, diff_id))| read_layer(tree, position + 1, name, *diff_id))
        .collect::<Result<Vec<_>, _>>()?;
    let described: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": config.bytes.len(), "digest": config.digest},
        "layers": described,
    });
    let manifest = serde_json::to_vec(&manifest)
        .map_err(|error| document_error(tree, "manifest made for it", DocumentError::Json(error)))?;
    Ok(Image {
        origin: tree.origin.clone(),
        platform: offer.platform.clone(),
        manifest: Document::new(DOCKER_MANIFEST, manifest),
        index: None,
        config: config.clone(),
        config_view: view.clone(),
        layers,
        names: references(offer.names.iter().map(String::as_str)),
        tags: offer.names.clone(),
    })
}

fn read_layer(tree: &Tree, number: usize, name: &str, diff_id: DiffId) -> Result<LayerSource, SourceError> {
    let blob = member(tree, name, &format!("layer {number}"))?;
    let reading = |source: io::Error| tree.io("read a layer of", source);
    let start = blob.start(MAGIC_BYTES).map_err(reading)?;
    let compression = Compression::sniff(&start).map_err(|source| SourceError::Layer {
        origin: tree.origin.clone(),
        number,
        digest: diff_id.0,
        media_type: name.to_owned(),
        source,
    })?;
    let digest = match compression {
        Compression::None => diff_id.0,
        // Nothing in the archive says what the digest of a compressed layer is.
        Compression::Gzip | Compression::Zstd => {
            let mut hashing = HashingReader::new(blob.open().map_err(reading)?);
            io::copy(&mut hashing, &mut io::sink()).map_err(reading)?;
            hashing.finish().0
        }
    };
    let media_type = compression.docker_media_type();
    Ok(LayerSource::new(
        &tree.origin,
        blob,
        digest,
        media_type,
        diff_id,
        compression,
    ))
}

fn member(tree: &Tree, name: &str, what: &str) -> Result<Blob, SourceError> {
    tree.find(name)?.ok_or_else(|| SourceError::MissingBlob {
        origin: tree.origin.clone(),
        what: what.to_owned(),
        name: name.to_owned(),
    })
}

fn document_error(tree: &Tree, what: &str, source: DocumentError) -> SourceError {
    SourceError::Document {
        origin: tree.origin.clone(),
        what: what.to_owned(),
        source,
    }
}
