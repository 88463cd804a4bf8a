//! OCI image layouts: a directory, or an archive of one.
//!
//! Source: OCI image-spec `image-layout.md`. `index.json` lists images by name, or the platforms of one image, or points
//! to an index blob that lists the platforms; all three are found in the wild.

use serde::Deserialize;

use crate::compression::{Compression, LayerTypeError};
use crate::config::ImageConfig;
use crate::error::SourceError;
use crate::manifest::{Descriptor, DocumentError, Index, Manifest, ManifestOrIndex, parse_manifest_or_index};
use crate::platform::Platform;
use crate::select::{Offer, choose, references};
use crate::source::{Document, Image, LayerSource, OpenOptions, SourceLimits};
use crate::tree::Tree;

/// Indexes inside indexes; real ones have one below `index.json`.
const MAX_DEPTH: usize = 4;
/// Manifests in one source.
const MAX_MANIFESTS: usize = 4096;
/// Bytes that are enough to know a compression by.
const MAGIC_BYTES: usize = 8;

/// One manifest of a layout and the index blob above it.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    descriptor: Descriptor,
    index: Option<Document>,
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
    image.names = references(
        offers
            .iter()
            .filter(|other| other.digests.iter().any(|digest| offer.digests.contains(digest)))
            .flat_map(|other| other.names.iter().map(String::as_str)),
    );
    Ok(image)
}

/// Every image of a layout whose manifest is there.
pub(crate) fn list(tree: &Tree, options: &OpenOptions) -> Result<Vec<Image>, SourceError> {
    let mut images: Vec<Image> = Vec::new();
    for offer in offers(tree, &options.limits)? {
        let names = references(offer.names.iter().map(String::as_str));
        let digest = offer.payload.descriptor.digest;
        if let Some(image) = images.iter_mut().find(|image| image.manifest.digest == digest) {
            image.names.extend(names);
            image.names.sort();
            image.names.dedup();
        } else if tree.find_blob(digest)?.is_some() {
            let image = read_image(tree, &offer, &options.limits)?;
            images.push(Image { names, ..image });
        }
    }
    Ok(images)
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
    let parsed =
        parse_manifest_or_index(&bytes, "").map_err(|source| document_error(tree, "index.json", source))?;
    let ManifestOrIndex::Index(index) = parsed else {
        return Err(document_error(
            tree,
            "index.json",
            DocumentError::MediaType("image manifest".to_owned()),
        ));
    };
    let mut offers = Vec::new();
    for (entry, descriptor) in index.manifests.iter().enumerate() {
        let mut names: Vec<String> = descriptor.names().map(str::to_owned).collect();
        names.dedup();
        let top = Top { entry, names };
        collect(tree, descriptor, &top, None, 0, limits, &mut offers)?;
    }
    Ok(offers)
}

/// The entry of `index.json` that is being followed.
struct Top {
    entry: usize,
    names: Vec<String>,
}

fn collect(
    tree: &Tree,
    descriptor: &Descriptor,
    top: &Top,
    index: Option<&Document>,
    depth: usize,
    limits: &SourceLimits,
    offers: &mut Vec<Offer<Leaf>>,
) -> Result<(), SourceError> {
    let limit = |limit, of| SourceError::IndexLimit {
        origin: tree.origin.clone(),
        limit,
        of,
    };
    if descriptor.is_no_image() {
        return Ok(());
    }
    if offers.len() >= MAX_MANIFESTS {
        return Err(limit(MAX_MANIFESTS, "images"));
    }
    let offer = |platform: Platform| Offer {
        names: top.names.clone(),
        entry: top.entry,
        digests: [Some(descriptor.digest), index.map(|index| index.digest)]
            .into_iter()
            .flatten()
            .collect(),
        platform,
        payload: Leaf {
            descriptor: descriptor.clone(),
            index: index.cloned(),
        },
    };
    if let Some(platform) = descriptor.platform()
        && !is_index_type(&descriptor.media_type)
    {
        // Not read: an archive may hold only some of the platforms that its index lists.
        offers.push(offer(platform));
        return Ok(());
    }
    let (document, parsed) = read_manifest_or_index(tree, descriptor, limits)?;
    match parsed {
        ManifestOrIndex::Manifest(manifest) => {
            let (_, config) = read_config(tree, &manifest, limits)?;
            offers.push(offer(config.platform()));
        }
        ManifestOrIndex::Index(Index { manifests, .. }) => {
            if depth == MAX_DEPTH {
                return Err(limit(MAX_DEPTH, "levels of indexes"));
            }
            // The outermost index is the one that a name@digest means.
            let index = index.unwrap_or(&document);
            for descriptor in &manifests {
                collect(tree, descriptor, top, Some(index), depth + 1, limits, offers)?;
            }
        }
    }
    Ok(())
}

fn is_index_type(media_type: &str) -> bool {
    matches!(
        media_type,
        crate::manifest::OCI_INDEX | crate::manifest::DOCKER_MANIFEST_LIST
    )
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
    let leaf = &offer.payload;
    let (document, parsed) = read_manifest_or_index(tree, &leaf.descriptor, limits)?;
    let ManifestOrIndex::Manifest(manifest) = parsed else {
        return Err(document_error(
            tree,
            "manifest",
            DocumentError::Mismatch {
                named: leaf.descriptor.media_type.clone(),
                found: "image index".to_owned(),
            },
        ));
    };
    let (config, config_view) = read_config(tree, &manifest, limits)?;
    let layers = read_layers(tree, &manifest, &config_view)?;
    Ok(Image {
        origin: tree.origin.clone(),
        platform: offer.platform.clone(),
        manifest: document,
        index: leaf.index.clone(),
        config,
        config_view,
        layers,
        names: Vec::new(),
    })
}

fn read_manifest_or_index(
    tree: &Tree,
    descriptor: &Descriptor,
    limits: &SourceLimits,
) -> Result<(Document, ManifestOrIndex), SourceError> {
    let mut document = tree.document(descriptor, "manifest", limits)?;
    let parsed = parse_manifest_or_index(&document.bytes, &descriptor.media_type)
        .map_err(|source| document_error(tree, &format!("manifest {}", descriptor.digest), source))?;
    if document.media_type.is_empty() {
        document.media_type = match &parsed {
            ManifestOrIndex::Manifest(_) => crate::manifest::OCI_MANIFEST,
            ManifestOrIndex::Index(_) => crate::manifest::OCI_INDEX,
        }
        .to_owned();
    }
    Ok((document, parsed))
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
    if manifest.layers.len() != diff_ids.len() {
        return Err(SourceError::LayerCount {
            origin: tree.origin.clone(),
            layers: manifest.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
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
