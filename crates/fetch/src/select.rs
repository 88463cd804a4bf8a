//! From a digest to the documents of one image.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Deserialize;
use vcontainer_image::{
    DOCKER_CONFIG, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Descriptor, Digest, Document, DocumentError,
    ImageConfig, Index, Manifest, ManifestOrIndex, OCI_INDEX, OCI_MANIFEST, Platform,
    parse_manifest_or_index,
};

use crate::error::Error;

/// The largest manifest or index, in bytes: what registries themselves take.
pub(crate) const MOST_MANIFEST: u64 = 4 << 20;
/// The largest configuration, in bytes.
pub(crate) const MOST_CONFIG: u64 = 8 << 20;
/// How many documents of an index are looked at.
const MOST_DOCUMENTS: usize = 64;
/// How deep indexes may name indexes.
const MOST_DEPTH: usize = 3;
/// Layers of one image.
const MOST_LAYERS: usize = 1000;

/// The documents of one image.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub platform: Platform,
    /// The indexes that lead to it, the outermost first.
    pub indexes: Vec<Document>,
    pub manifest: Document,
    pub config: Document,
    pub layers: Vec<Descriptor>,
}

/// A document to be had.
pub(crate) struct Wanted<'a> {
    /// What it is, for messages.
    pub what: &'a str,
    pub digest: Digest,
    /// Whether registries keep it among the blobs, not among the manifests.
    pub is_blob: bool,
    pub limit: u64,
}

/// Gives a document, verified.
pub(crate) type Get<'a> = dyn FnMut(&Wanted<'_>) -> Result<Vec<u8>, Error> + 'a;

/// An image that an index names.
struct Offer {
    platform: Platform,
    descriptor: Descriptor,
    /// The indexes that lead to it, the outermost first.
    indexes: Vec<Rc<Document>>,
}

pub(crate) struct Selection<'a> {
    reference: &'a str,
    platform: Option<&'a Platform>,
    get: &'a mut Get<'a>,
    seen: BTreeSet<Digest>,
}

impl<'a> Selection<'a> {
    /// Looks for the image of `platform`; if it is not given there must be one image only.
    pub fn new(reference: &'a str, platform: Option<&'a Platform>, get: &'a mut Get<'a>) -> Self {
        Self {
            reference,
            platform,
            get,
            seen: BTreeSet::new(),
        }
    }

    /// The image that a digest means.
    pub fn choose(mut self, digest: Digest) -> Result<Chosen, Error> {
        let bytes = self.manifest("the manifest", digest)?;
        match self.parse("the manifest", &bytes, "")? {
            ManifestOrIndex::Manifest(manifest) => {
                let chosen = self.image(*manifest, bytes, "", None)?;
                match self.platform {
                    Some(wanted) if wanted.rank(&chosen.platform).is_none() => {
                        Err(self.no_platform(wanted, vec![chosen.platform]))
                    }
                    _ => Ok(chosen),
                }
            }
            ManifestOrIndex::Index(index) => {
                let mut offers = Vec::new();
                self.offers(index, &[], bytes, &mut offers)?;
                let offer = self.best(offers)?;
                let descriptor = offer.descriptor;
                let bytes = self.manifest("the manifest", descriptor.digest)?;
                self.check_size("the manifest", &bytes, &descriptor)?;
                match self.parse("the manifest", &bytes, &descriptor.media_type)? {
                    ManifestOrIndex::Manifest(manifest) => {
                        let chosen =
                            self.image(*manifest, bytes, &descriptor.media_type, Some(offer.platform))?;
                        let indexes = offer.indexes.iter().map(|index| index.as_ref().clone());
                        Ok(Chosen {
                            indexes: indexes.collect(),
                            ..chosen
                        })
                    }
                    // What was no index before is one now: it cannot be.
                    ManifestOrIndex::Index(_) => {
                        Err(self.fault("its index names an index as a manifest".into()))
                    }
                }
            }
        }
    }

    /// The images of an index and of those below it. `above` are the indexes that lead to it.
    fn offers(
        &mut self,
        index: Index,
        above: &[Rc<Document>],
        bytes: Vec<u8>,
        offers: &mut Vec<Offer>,
    ) -> Result<(), Error> {
        let media_type = Some(index.media_type).filter(|name| !name.is_empty());
        let document = Document::new(media_type.unwrap_or_else(|| OCI_INDEX.to_owned()), bytes);
        let indexes = [above, &[Rc::new(document)]].concat();
        for descriptor in index.manifests {
            if descriptor.is_no_image() {
                continue;
            }
            let is_index = [OCI_INDEX, DOCKER_MANIFEST_LIST].contains(&descriptor.media_type.as_str());
            if let (false, Some(platform)) = (is_index, descriptor.platform()) {
                offers.push(Offer {
                    platform,
                    descriptor,
                    indexes: indexes.clone(),
                });
                continue;
            }
            // Only the document itself tells.
            if !self.seen.insert(descriptor.digest) {
                continue;
            }
            if self.seen.len() > MOST_DOCUMENTS {
                return Err(self.fault(format!(
                    "its index names more than {MOST_DOCUMENTS} images without a platform"
                )));
            }
            let what = "an entry of the index";
            let bytes = self.manifest(what, descriptor.digest)?;
            self.check_size(what, &bytes, &descriptor)?;
            match self.parse(what, &bytes, &descriptor.media_type)? {
                ManifestOrIndex::Index(_) if indexes.len() >= MOST_DEPTH => {
                    return Err(self.fault(format!("its indexes are nested more than {MOST_DEPTH} deep")));
                }
                ManifestOrIndex::Index(index) => self.offers(index, &indexes, bytes, offers)?,
                ManifestOrIndex::Manifest(manifest) => {
                    let image = self.image(*manifest, bytes, &descriptor.media_type, None)?;
                    offers.push(Offer {
                        platform: image.platform,
                        descriptor,
                        indexes: indexes.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The offer that fits best; of several that fit as well, the first, as in the engines.
    fn best(&self, offers: Vec<Offer>) -> Result<Offer, Error> {
        let mut available: Vec<Platform> = offers.iter().map(|offer| offer.platform.clone()).collect();
        available.sort();
        available.dedup();
        let first = match self.platform {
            Some(wanted) => offers
                .into_iter()
                .filter_map(|offer| Some((wanted.rank(&offer.platform)?, offer)))
                .min_by_key(|(rank, _)| *rank)
                .map(|(_, offer)| offer),
            None if available.len() > 1 => {
                return Err(Error::NoPlatform {
                    reference: self.reference.to_owned(),
                    available,
                });
            }
            None => offers.into_iter().next(),
        };
        first.ok_or_else(|| match (self.platform, available.is_empty()) {
            (Some(wanted), false) => self.no_platform(wanted, available),
            _ => self.fault("its index lists no image".into()),
        })
    }

    /// An image by its manifest. An index may know the variant better than the configuration.
    fn image(
        &mut self,
        manifest: Manifest,
        bytes: Vec<u8>,
        named: &str,
        marked: Option<Platform>,
    ) -> Result<Chosen, Error> {
        let size = manifest.config.size;
        if size > MOST_CONFIG {
            return Err(self.fault(format!(
                "its configuration has {size} bytes, more than the limit of {MOST_CONFIG}"
            )));
        }
        if manifest.layers.len() > MOST_LAYERS {
            return Err(self.fault(format!("it has more than {MOST_LAYERS} layers")));
        }
        let what = "the configuration";
        let config = (self.get)(&Wanted {
            what,
            digest: manifest.config.digest,
            is_blob: true,
            limit: MOST_CONFIG,
        })?;
        self.check_size(what, &config, &manifest.config)?;
        let view = ImageConfig::parse(&config).map_err(|source| self.document(what, source))?;
        if view.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(self.fault(format!(
                "its manifest has {} layers and its configuration {}",
                manifest.layers.len(),
                view.rootfs.diff_ids.len()
            )));
        }
        let own = view.platform();
        if let Some(marked) = &marked
            && (&marked.os, &marked.architecture) != (&own.os, &own.architecture)
        {
            return Err(self.fault(format!(
                "its index says it is for {marked}, and its configuration {own}"
            )));
        }
        Ok(Chosen {
            platform: marked.unwrap_or(own),
            indexes: Vec::new(),
            manifest: Document::new(media_type(&bytes, named, &manifest), bytes),
            config: Document::new(manifest.config.media_type, config),
            layers: manifest.layers,
        })
    }

    fn manifest(&mut self, what: &str, digest: Digest) -> Result<Vec<u8>, Error> {
        (self.get)(&Wanted {
            what,
            digest,
            is_blob: false,
            limit: MOST_MANIFEST,
        })
    }

    fn parse(&self, what: &str, bytes: &[u8], named: &str) -> Result<ManifestOrIndex, Error> {
        parse_manifest_or_index(bytes, named).map_err(|source| self.document(what, source))
    }

    fn check_size(&self, what: &str, bytes: &[u8], descriptor: &Descriptor) -> Result<(), Error> {
        match bytes.len() as u64 == descriptor.size {
            true => Ok(()),
            false => Err(self.fault(format!(
                "{what} {} has {} bytes, and what names it says {}",
                descriptor.digest,
                bytes.len(),
                descriptor.size
            ))),
        }
    }

    fn document(&self, what: &str, source: DocumentError) -> Error {
        Error::Document {
            what: what.to_owned(),
            reference: self.reference.to_owned(),
            source,
        }
    }

    fn fault(&self, fault: String) -> Error {
        Error::Image {
            reference: self.reference.to_owned(),
            fault,
        }
    }

    fn no_platform(&self, wanted: &Platform, available: Vec<Platform>) -> Error {
        Error::Platform {
            reference: self.reference.to_owned(),
            wanted: wanted.clone(),
            available,
        }
    }
}

/// The media type of a manifest: as it says itself, as it is named, or as that of its configuration lets guess.
fn media_type(bytes: &[u8], named: &str, manifest: &Manifest) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        #[serde(default)]
        media_type: Option<String>,
    }
    let own = serde_json::from_slice::<Typed>(bytes)
        .ok()
        .and_then(|typed| typed.media_type);
    let named = Some(named.to_owned());
    own.into_iter()
        .chain(named)
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| match manifest.config.media_type.as_str() {
            DOCKER_CONFIG => DOCKER_MANIFEST.to_owned(),
            _ => OCI_MANIFEST.to_owned(),
        })
}

#[cfg(test)]
mod tests;
