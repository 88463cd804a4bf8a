//! OCI image layouts: a directory, or an archive of one.
//!
//! Source: OCI image-spec `image-layout.md`. `index.json` lists images by name, or the platforms of one image, or points
//! to an index blob that lists the platforms; all three are found in the wild.

use std::sync::Arc;

use serde::Deserialize;

use crate::compression::{Compression, LayerTypeError};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::SourceError;
use crate::manifest::{
    Descriptor, DocumentError, Index, Manifest, ManifestOrIndex, OCI_INDEX, OCI_MANIFEST, is_index,
    parse_manifest_or_index,
};
use crate::platform::Platform;
use crate::select::{Offer, choose, references};
use crate::source::{Document, Image, LayerSource, OpenOptions, SourceLimits, check_layer_count};
use crate::tree::Tree;

/// Indexes inside indexes; real ones have one below `index.json`.
const MAX_DEPTH: usize = 4;
/// Entries of all indexes of one source together.
const MAX_ENTRIES: usize = 4096;
/// Bytes that are enough to know a compression by.
const MAGIC_BYTES: usize = 8;

/// One manifest of a layout and the index blob above it.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    descriptor: Descriptor,
    index: Option<Arc<Document>>,
}

/// The image in a layout that fits `options`.
pub(crate) fn open(tree: &Tree, options: &OpenOptions) -> Result<Image, SourceError> {
    let offers = offers(tree, &options.limits)?;
    let offer = choose(
        &tree.origin,
        &offers,
        &options.platform,
        options.select.as_deref(),
    )?;
    let mut image = read_image(tree, offer, &options.limits)?;
    check_platform(&image, &options.platform)?;
    image.tags = offers
        .iter()
        .filter(|other| other.digests.iter().any(|digest| offer.digests.contains(digest)))
        .flat_map(|other| other.names.iter().cloned())
        .collect();
    name(&mut image);
    Ok(image)
}

/// What becomes of an image that an index names and whose manifest is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is left out.
    LeftOut,
    /// It is an error.
    Error,
}

/// Every image of a layout.
pub(crate) fn list(tree: &Tree, options: &OpenOptions, missing: Missing) -> Result<Vec<Image>, SourceError> {
    let mut images: Vec<Image> = Vec::new();
    for offer in offers(tree, &options.limits)? {
        let digest = offer.payload.descriptor.digest;
        if let Some(image) = images.iter_mut().find(|image| image.manifest.digest == digest) {
            image.tags.extend(offer.names);
            name(image);
        } else if missing == Missing::Error || tree.find_blob(digest)?.is_some() {
            let mut image = read_image(tree, &offer, &options.limits)?;
            image.tags = offer.names;
            name(&mut image);
            images.push(image);
        }
    }
    Ok(images)
}

/// Sorts what an image is called, and finds the full names among it.
fn name(image: &mut Image) {
    image.tags.sort();
    image.tags.dedup();
    image.names = references(image.tags.iter().map(String::as_str));
}

/// The index may be wrong about an image; what counts is what the image was built for.
fn check_platform(image: &Image, wanted: &Platform) -> Result<(), SourceError> {
    let actual = image.config_view.platform();
    let without_variant = |platform: &Platform| Platform::new(&platform.os, &platform.architecture, None);
    let fits = match &image.config_view.variant {
        // The index knows the variant better than a configuration that leaves it out.
        None => without_variant(&actual) == without_variant(wanted),
        Some(_) => wanted.rank(&actual).is_some(),
    };
    if fits {
        return Ok(());
    }
    Err(SourceError::ConfigPlatform {
        origin: image.origin.clone(),
        marked: Box::new(image.platform.clone()),
        actual: Box::new(actual),
    })
}

/// What a layout offers.
fn offers(tree: &Tree, limits: &SourceLimits) -> Result<Vec<Offer<Leaf>>, SourceError> {
    check_version(tree, limits)?;
    let entry_file = tree.find("index.json")?.ok_or_else(|| SourceError::NotAnImage {
        path: tree.path().to_owned(),
        found: "it has no index.json".to_owned(),
    })?;
    let bytes = tree.read(&entry_file, "index.json", limits)?;
    let index = match parse_manifest_or_index(&bytes, OCI_INDEX) {
        Ok(ManifestOrIndex::Index(index)) => index,
        // Cannot be: it was asked for as an index.
        Ok(ManifestOrIndex::Manifest(_)) => Index::default(),
        Err(source) => return Err(document_error(tree, "index.json", source)),
    };
    let mut walk = Walk {
        tree,
        limits,
        offers: Vec::new(),
        followed: 0,
        passed_over: None,
    };
    for (entry, descriptor) in index.manifests.iter().enumerate() {
        let mut names: Vec<String> = descriptor.names().map(str::to_owned).collect();
        names.dedup();
        let index = walk.chosen_from(descriptor)?;
        walk.follow(descriptor, &Top { entry, names }, index.as_ref(), 0)?;
    }
    match walk.passed_over {
        Some(error) if walk.offers.is_empty() => Err(error),
        _ => Ok(walk.offers),
    }
}

/// The entry of `index.json` that is being followed.
struct Top {
    entry: usize,
    names: Vec<String>,
}

/// The way through all indexes of a layout.
struct Walk<'a> {
    tree: &'a Tree,
    limits: &'a SourceLimits,
    offers: Vec<Offer<Leaf>>,
    /// How many entries have been followed.
    followed: usize,
    /// Why something beside the images is no image: of interest only when there is no image.
    passed_over: Option<SourceError>,
}

impl Walk<'_> {
    fn follow(
        &mut self,
        descriptor: &Descriptor,
        top: &Top,
        index: Option<&Arc<Document>>,
        depth: usize,
    ) -> Result<(), SourceError> {
        self.followed += 1;
        if self.followed > MAX_ENTRIES {
            return Err(self.limit(MAX_ENTRIES, "entries in its indexes"));
        }
        if descriptor.is_no_image() {
            return Ok(());
        }
        let is_index = match is_index(&descriptor.media_type) {
            Ok(is_index) => is_index,
            Err(error) => return self.pass_over(descriptor, error),
        };
        if let (Some(platform), Some(false)) = (descriptor.platform(), is_index) {
            // Not read: an archive may hold only some of the platforms that its index lists.
            self.offer(descriptor, top, index, platform);
            return Ok(());
        }
        let document = self.tree.document(descriptor, "manifest", self.limits)?;
        match parse_manifest_or_index(&document.bytes, &descriptor.media_type) {
            Ok(ManifestOrIndex::Manifest(manifest)) => {
                let (_, config) = read_config(self.tree, &manifest, self.limits)?;
                let platform = descriptor.platform().unwrap_or_else(|| config.platform());
                self.offer(descriptor, top, index, platform);
                Ok(())
            }
            Ok(ManifestOrIndex::Index(_)) if depth == MAX_DEPTH => {
                Err(self.limit(MAX_DEPTH, "levels of indexes"))
            }
            Ok(ManifestOrIndex::Index(Index { manifests, .. })) => {
                // The outermost index is the one that a name@digest means.
                let index = index.cloned().unwrap_or_else(|| {
                    Arc::new(Document {
                        media_type: named_or(&document.media_type, OCI_INDEX),
                        ..document
                    })
                });
                manifests
                    .iter()
                    .try_for_each(|descriptor| self.follow(descriptor, top, Some(&index), depth + 1))
            }
            Err(error) => self.pass_over(descriptor, error),
        }
    }

    /// The index that an entry of `index.json` says it was chosen from, if it is there and leads to it: tools that change an
    /// image may leave the annotation as it was.
    fn chosen_from(&mut self, descriptor: &Descriptor) -> Result<Option<Arc<Document>>, SourceError> {
        let Some(digest) = descriptor.chosen_from() else {
            return Ok(None);
        };
        let Some((index, mut document)) = self.index(digest)? else {
            return Ok(None);
        };
        document.media_type = named_or(&index.media_type, OCI_INDEX);
        let leads = self.leads_to(&index, descriptor.digest, 0)?;
        Ok(leads.then(|| Arc::new(document)))
    }

    /// The index of this digest, if there is one.
    fn index(&self, digest: Digest) -> Result<Option<(Index, Document)>, SourceError> {
        let Some(blob) = self.tree.find_blob(digest)? else {
            return Ok(None);
        };
        let descriptor = Descriptor::of_blob(digest, blob.size);
        let document = self.tree.document(&descriptor, "index", self.limits)?;
        Ok(match parse_manifest_or_index(&document.bytes, "") {
            Ok(ManifestOrIndex::Index(index)) => Some((index, document)),
            _ => None,
        })
    }

    /// Whether an index names a manifest, itself or by indexes that it names and that are there.
    fn leads_to(&mut self, index: &Index, manifest: Digest, depth: usize) -> Result<bool, SourceError> {
        if index.manifests.iter().any(|entry| entry.digest == manifest) {
            return Ok(true);
        }
        if depth == MAX_DEPTH {
            return Ok(false);
        }
        for entry in &index.manifests {
            self.followed += 1;
            if self.followed > MAX_ENTRIES {
                return Err(self.limit(MAX_ENTRIES, "entries in its indexes"));
            }
            if is_index(&entry.media_type).is_ok_and(|is_index| is_index == Some(true))
                && let Some((below, _)) = self.index(entry.digest)?
                && self.leads_to(&below, manifest, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn offer(
        &mut self,
        descriptor: &Descriptor,
        top: &Top,
        index: Option<&Arc<Document>>,
        platform: Platform,
    ) {
        self.offers.push(Offer {
            names: top.names.clone(),
            entry: top.entry,
            digests: std::iter::once(descriptor.digest)
                .chain(index.map(|index| index.digest))
                .collect(),
            platform,
            payload: Leaf {
                descriptor: descriptor.clone(),
                index: index.cloned(),
            },
        });
    }

    /// Other kinds of artifacts may lie beside images; whatever else is wrong with a document is an error.
    fn pass_over(&mut self, descriptor: &Descriptor, error: DocumentError) -> Result<(), SourceError> {
        let other_kind = matches!(error, DocumentError::MediaType(_) | DocumentError::NotAnImage(_));
        let error = document_error(self.tree, &format!("manifest {}", descriptor.digest), error);
        if !other_kind {
            return Err(error);
        }
        self.passed_over.get_or_insert(error);
        Ok(())
    }

    fn limit(&self, limit: usize, of: &'static str) -> SourceError {
        SourceError::TooMany {
            origin: self.tree.origin.clone(),
            limit,
            of,
        }
    }
}

fn check_version(tree: &Tree, limits: &SourceLimits) -> Result<(), SourceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct LayoutFile {
        image_layout_version: String,
    }
    // Some tools leave the file out; `index.json` is enough to read the layout.
    let Some(file) = tree.find("oci-layout")? else {
        return Ok(());
    };
    let bytes = tree.read(&file, "oci-layout", limits)?;
    let layout: LayoutFile =
        serde_json::from_slice(&bytes).map_err(|error| document_error(tree, "oci-layout", error.into()))?;
    if !layout.image_layout_version.starts_with("1.") {
        return Err(SourceError::NotAnImage {
            path: tree.path().to_owned(),
            found: format!(
                "its oci-layout file says version {}, and only version 1 is known",
                layout.image_layout_version
            ),
        });
    }
    Ok(())
}

/// Reads manifest and configuration of the offer and looks at every layer.
fn read_image(tree: &Tree, offer: &Offer<Leaf>, limits: &SourceLimits) -> Result<Image, SourceError> {
    let Leaf { descriptor, index } = &offer.payload;
    let mut document = tree.document(descriptor, "manifest", limits)?;
    document.media_type = named_or(&document.media_type, OCI_MANIFEST);
    let manifest = match parse_manifest_or_index(&document.bytes, &document.media_type) {
        Ok(ManifestOrIndex::Manifest(manifest)) => manifest,
        Ok(ManifestOrIndex::Index(_)) => {
            let error = DocumentError::Mismatch {
                named: document.media_type,
                found: OCI_INDEX.to_owned(),
            };
            return Err(document_error(
                tree,
                &format!("manifest {}", descriptor.digest),
                error,
            ));
        }
        Err(error) => {
            return Err(document_error(
                tree,
                &format!("manifest {}", descriptor.digest),
                error,
            ));
        }
    };
    let (config, config_view) = read_config(tree, &manifest, limits)?;
    let layers = read_layers(tree, &manifest, &config_view)?;
    Ok(Image {
        origin: tree.origin.clone(),
        platform: offer.platform.clone(),
        manifest: document,
        index: index.as_deref().cloned(),
        config,
        config_view,
        layers,
        names: Vec::new(),
        tags: Vec::new(),
    })
}

/// A descriptor may leave the media type out.
fn named_or(media_type: &str, default: &str) -> String {
    if media_type.is_empty() {
        default
    } else {
        media_type
    }
    .to_owned()
}

fn read_config(
    tree: &Tree,
    manifest: &Manifest,
    limits: &SourceLimits,
) -> Result<(Document, ImageConfig), SourceError> {
    let config = tree.document(&manifest.config, "configuration", limits)?;
    let view = ImageConfig::parse(&config.bytes)
        .map_err(|source| document_error(tree, &format!("configuration {}", config.digest), source))?;
    Ok((config, view))
}

fn read_layers(
    tree: &Tree,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<Vec<LayerSource>, SourceError> {
    let diff_ids = &config.rootfs.diff_ids;
    check_layer_count(tree, manifest.layers.len(), diff_ids.len())?;
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (position, (descriptor, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
        let unusable = |source: LayerTypeError| SourceError::Layer {
            origin: tree.origin.clone(),
            number: position + 1,
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            source,
        };
        Compression::of_media_type(&descriptor.media_type).map_err(unusable)?;
        if !descriptor.urls.is_empty() && tree.find_blob(descriptor.digest)?.is_none() {
            return Err(unusable(LayerTypeError::Foreign));
        }
        let blob = tree.blob(
            descriptor,
            &format!("layer {} of {}:", position + 1, diff_ids.len()),
        )?;
        let start = blob
            .start(MAGIC_BYTES)
            .map_err(|source| tree.io("read a layer of", source))?;
        let compression = Compression::sniff(&start).map_err(unusable)?;
        layers.push(LayerSource::new(
            &tree.origin,
            blob,
            descriptor.digest,
            &descriptor.media_type,
            *diff_id,
            compression,
        ));
    }
    Ok(layers)
}

fn document_error(tree: &Tree, what: &str, source: DocumentError) -> SourceError {
    SourceError::Document {
        origin: tree.origin.clone(),
        what: what.to_owned(),
        source,
    }
}
