//! Whether a layout is whole: every blob, every document, every layer over those below it.
//!
//! Source: OCI image-spec `image-layout.md`, `descriptor.md`, `manifest.md`, `config.md`, `layer.md`. It goes on after a fault,
//! so that all of them are told.

mod blobs;
mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vcontainer_image::{
    DOCKER_MANIFEST_LIST, Descriptor, Digest, DocumentError, ImageConfig, Manifest, ManifestOrIndex,
    OCI_INDEX, OpenOptions, Platform, RawLayout, SourceLimits, parse_manifest_or_index,
};

use crate::error::{Error, chain};
use crate::read::Limits;

/// Indexes inside indexes; real ones have one below `index.json`.
const MAX_DEPTH: usize = 4;
/// Entries of all indexes together.
const MAX_ENTRIES: usize = 4096;
/// Layers of one image.
const MAX_LAYERS: usize = 1000;

/// What was found in a layout.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verified {
    /// The images in it.
    pub images: Vec<VerifiedImage>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is not wrong and may be of interest, a sentence each.
    pub notes: Vec<String>,
}

/// An image of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedImage {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Such as `linux/arm64`; empty if its configuration cannot be read.
    pub platform: String,
    /// What `index.json` calls it.
    pub tags: Vec<String>,
    /// How many layers its manifest has.
    pub layers: usize,
    /// Whether nothing is wrong with it.
    pub ok: bool,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The manifest of the image that it belongs to; `null` for what belongs to the layout.
    pub image: Option<Digest>,
    /// What it is wrong with, such as `layer 2 of 3 sha256:…`.
    pub what: String,
    /// What is wrong.
    pub fault: String,
}

/// Verifies the layout at a path.
///
/// # Errors
/// There is none. Faults in one are no errors but findings.
pub fn verify(path: &Path, limits: Limits) -> Result<Verified, Error> {
    let options = OpenOptions::new(Platform::new("linux", "unknown", None));
    let layout = RawLayout::open(path, &options).map_err(Box::new)?;
    let mut verifier = Verifier {
        layout: &layout,
        limits,
        documents: SourceLimits::default(),
        found: Verified::default(),
        image: None,
        blobs: BTreeMap::new(),
        visited: BTreeSet::new(),
        entries: 0,
    };
    verifier.version();
    verifier.entry_file();
    verifier.rest();
    let mut found = verifier.found;
    for image in &mut found.images {
        image.ok = !found
            .findings
            .iter()
            .any(|finding| finding.image == Some(image.digest));
    }
    Ok(found)
}

struct Verifier<'a> {
    layout: &'a RawLayout,
    limits: Limits,
    documents: SourceLimits,
    found: Verified,
    /// The image that is being verified.
    image: Option<Digest>,
    /// The blobs that something refers to, and whether each is what its digest says.
    blobs: BTreeMap<Digest, bool>,
    /// The manifests and indexes that have been followed.
    visited: BTreeSet<Digest>,
    entries: usize,
}

impl Verifier<'_> {
    fn wrong(&mut self, what: impl Into<String>, fault: impl Into<String>) {
        self.found.findings.push(Finding {
            image: self.image,
            what: what.into(),
            fault: fault.into(),
        });
    }

    fn version(&mut self) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct LayoutFile {
            image_layout_version: String,
        }
        let Some(bytes) = self.file("oci-layout") else {
            return;
        };
        match serde_json::from_slice::<LayoutFile>(&bytes) {
            Ok(file) if file.image_layout_version == "1.0.0" => {}
            Ok(file) => {
                let version = file.image_layout_version;
                self.wrong(
                    "oci-layout",
                    format!("its version is `{version}`, and 1.0.0 is the only one"),
                );
            }
            Err(error) => self.wrong("oci-layout", format!("it is not as it should be: {error}")),
        }
    }

    fn entry_file(&mut self) {
        let Some(bytes) = self.file("index.json") else {
            return;
        };
        match parse_manifest_or_index(&bytes, OCI_INDEX) {
            Ok(ManifestOrIndex::Index(index)) => {
                if index.manifests.is_empty() {
                    self.wrong("index.json", "it lists no image");
                }
                for descriptor in &index.manifests {
                    let tag = descriptor.annotations.get("org.opencontainers.image.ref.name");
                    self.follow(descriptor, tag.map(String::as_str), 0);
                }
                for digest in index.manifests.iter().filter_map(Descriptor::chosen_from) {
                    self.chosen_from(digest, 0);
                }
            }
            Ok(ManifestOrIndex::Manifest(_)) => self.wrong("index.json", "it is a manifest and no index"),
            Err(error) => self.wrong("index.json", chain(&error)),
        }
    }

    /// The index that an image was chosen from, and those below it that are there: what else they name need not be.
    fn chosen_from(&mut self, digest: Digest, depth: usize) {
        if depth > MAX_DEPTH || !self.visited.insert(digest) {
            return;
        }
        let what = format!("index {digest}");
        let size = match self.layout.blob(digest) {
            Ok(Some(file)) => file.size(),
            _ if depth > 0 => return,
            _ => {
                let note = format!("{what} is not there: an image was chosen from it");
                return self.found.notes.push(note);
            }
        };
        let bytes = self
            .blob(&Descriptor::of_blob(digest, size), &what)
            .and_then(|file| self.read(&file, &what));
        match bytes.map(|bytes| parse_manifest_or_index(&bytes, "")) {
            Some(Ok(ManifestOrIndex::Index(index))) => {
                for entry in &index.manifests {
                    if [OCI_INDEX, DOCKER_MANIFEST_LIST].contains(&entry.media_type.as_str()) {
                        self.chosen_from(entry.digest, depth + 1);
                    }
                }
            }
            Some(_) => self.wrong(what, "it is no index"),
            None => {}
        }
    }

    fn follow(&mut self, descriptor: &Descriptor, tag: Option<&str>, depth: usize) {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            if self.entries == MAX_ENTRIES + 1 {
                self.wrong(
                    "indexes",
                    format!("they have more than {MAX_ENTRIES} entries: the rest is left out"),
                );
            }
            return;
        }
        if !self.visited.insert(descriptor.digest) {
            let again = self
                .found
                .images
                .iter_mut()
                .find(|image| image.digest == descriptor.digest);
            if let (Some(image), Some(tag)) = (again, tag) {
                image.tags.push(tag.to_owned());
            }
            return;
        }
        let outer = self.image.replace(descriptor.digest);
        self.document(descriptor, tag, depth);
        self.image = outer;
    }

    fn document(&mut self, descriptor: &Descriptor, tag: Option<&str>, depth: usize) {
        let what = format!("manifest {}", descriptor.digest);
        let Some(bytes) = self
            .blob(descriptor, &what)
            .and_then(|file| self.read(&file, &what))
        else {
            self.found
                .images
                .extend((!descriptor.is_no_image()).then(|| unread(descriptor, tag)));
            return;
        };
        if descriptor.is_no_image() {
            return self.artifact(&bytes);
        }
        match parse_manifest_or_index(&bytes, &descriptor.media_type) {
            Ok(ManifestOrIndex::Manifest(manifest)) => self.manifest(descriptor, &manifest, tag),
            Ok(ManifestOrIndex::Index(_)) if depth == MAX_DEPTH => {
                self.wrong(what, format!("more than {MAX_DEPTH} levels of indexes"));
            }
            Ok(ManifestOrIndex::Index(index)) => {
                for descriptor in &index.manifests {
                    self.follow(descriptor, tag, depth + 1);
                }
            }
            Err(DocumentError::NotAnImage(_) | DocumentError::MediaType(_)) => self.artifact(&bytes),
            Err(error) => {
                self.found.images.push(unread(descriptor, tag));
                self.wrong(what, chain(&error));
            }
        }
    }

    /// Something else than an image: its blobs must be whole, what they are is not asked.
    fn artifact(&mut self, bytes: &[u8]) {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else {
            return;
        };
        for descriptor in std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .take(MAX_LAYERS)
        {
            self.blob(descriptor, &format!("blob {}", descriptor.digest));
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor, manifest: &Manifest, tag: Option<&str>) {
        let place = self.found.images.len();
        self.found.images.push(VerifiedImage {
            layers: manifest.layers.len(),
            ..unread(descriptor, tag)
        });
        let config = self.config(&manifest.config);
        if let Some(config) = &config {
            let own = config.platform();
            let marked = descriptor.platform().unwrap_or_else(|| own.clone());
            if let Some(image) = self.found.images.get_mut(place) {
                image.platform = marked.to_string();
            }
            if (&marked.os, &marked.architecture) != (&own.os, &own.architecture) {
                self.wrong(
                    "platform",
                    format!("its index says that it is for {marked}, and its configuration says {own}"),
                );
            }
            let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
            if layers != diff_ids {
                self.wrong(
                    "configuration",
                    format!("it has {diff_ids} diff IDs, and the manifest has {layers} layers"),
                );
            }
            let steps = config.history.iter().filter(|step| !step.empty_layer).count();
            if !config.history.is_empty() && steps != layers {
                self.found.notes.push(format!(
                    "the history of {} has {steps} steps with layers, and there are {layers} layers",
                    descriptor.digest
                ));
            }
        }
        if manifest.layers.len() > MAX_LAYERS {
            self.wrong(
                "manifest",
                format!("it has more than {MAX_LAYERS} layers, which no real image has"),
            );
            return;
        }
        self.layers(manifest, config.as_ref());
    }

    fn config(&mut self, descriptor: &Descriptor) -> Option<ImageConfig> {
        let what = format!("configuration {}", descriptor.digest);
        let file = self.blob(descriptor, &what)?;
        let bytes = self.read(&file, &what)?;
        match ImageConfig::parse(&bytes) {
            Ok(config) => Some(config),
            Err(error) => {
                self.wrong(what, chain(&error));
                None
            }
        }
    }
}

/// An image of which nothing is known but its descriptor.
fn unread(descriptor: &Descriptor, tag: Option<&str>) -> VerifiedImage {
    VerifiedImage {
        digest: descriptor.digest,
        platform: descriptor
            .platform()
            .map(|platform| platform.to_string())
            .unwrap_or_default(),
        tags: tag.map(str::to_owned).into_iter().collect(),
        layers: 0,
        ok: false,
    }
}
