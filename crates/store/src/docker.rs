//! Docker's graph driver store: `image/overlay2` (images, layers, names) and `overlay2` (layer directories).
//!
//! What is written, and with which modes, is what dockerd writes; the format is the same from Docker 20.10 to 29.
//! Sources: moby `daemon/graphdriver/overlay2/overlay.go`, `daemon/internal/layer/filestore.go`,
//! `daemon/internal/image/fs.go`, `daemon/internal/refstore/store.go`. Decisions:
//!
//! - Directory names and link names follow from the chain ID (dockerd draws them at random).
//! - A layer of an existing store is shared when its record and its directory are whole (see [`existing`]). A record
//!   without directory, which dockerd would not start containers from, is written anew.
//! - Every name gets its tag, and `name@sha256:…` with the digest of the index (for a source of several platforms) or of
//!   the manifest, also for images that no registry has seen: a reference that is pinned to what was bundled works
//!   without network. As after `docker pull`, an image that loses its tag keeps its digest entries.
//! - An image without layers gets its configuration and names and no layer, as `docker load` would leave it.
//! - Nothing is written that belongs to one machine (`engine-id`, networks, volumes): dockerd makes it at its start.

mod distribution;
mod existing;
#[cfg(feature = "fuzzing")]
#[allow(clippy::unwrap_used)]
pub(crate) mod fuzzing;
mod repositories;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use vcontainer_image::{ChainId, DiffId, Digest};

use self::existing::Existing;
use self::repositories::Repositories;
pub(crate) use self::view::read;
use crate::import::{ImageReport, Import, ImportReport, StoreImage};
use crate::layers::{Layer, LayerStore, Outcome, reports, write_layers};
use crate::link::Link;
use crate::{AppliedLayer, StoreError, TreeWriter};

/// How many layers an image may have: moby `layer_store.go`, `maxLayerDepth`.
const MAX_LAYERS: usize = 125;

/// Where the directory of a layer lies.
#[derive(Debug, Clone)]
struct Place {
    /// Its name in `overlay2`.
    cache_id: String,
    /// Its name in `overlay2/l`.
    link: Link,
    /// The content of its `lower` file; empty for a base layer.
    lower: String,
    /// Its content on this machine, if the store has it.
    present: Option<PathBuf>,
}

/// Writes images into a Docker store.
pub(crate) fn import(task: &Import<'_>) -> Result<ImportReport, StoreError> {
    if let Some(image) = task
        .images
        .iter()
        .find(|image| image.image.layers.len() > MAX_LAYERS)
    {
        return Err(StoreError::TooManyLayers {
            image: image.image.origin.clone(),
            layers: image.image.layers.len(),
            limit: MAX_LAYERS,
            engine: "Docker",
        });
    }
    let existing = Existing::new(task.target.existing.as_deref());
    let names = existing.repositories()?;
    let store = Docker {
        task,
        places: places(task, &existing)?,
    };

    task.root(0o710)?;
    task.directory("image", 0o700)?;
    task.sink.atomic_directory(&task.path("image/overlay2"))?;
    task.directory("image/overlay2", 0o700)?;
    task.directory("image/overlay2/layerdb", 0o700)?;
    task.directory("image/overlay2/layerdb/sha256", 0o755)?;
    task.directory("overlay2", 0o710)?;
    task.directory("overlay2/l", 0o700)?;
    let outcomes = write_layers(task, &store)?;
    store.commit_parents(&existing)?;
    store.images()?;
    store.distribution(&existing, &outcomes)?;
    let images = store.names(names)?;
    Ok(ImportReport {
        images,
        layers: reports(task.plan, &outcomes),
    })
}

/// Finds out where every layer of the plan is or will be.
fn places(task: &Import<'_>, existing: &Existing) -> Result<Vec<Place>, StoreError> {
    let mut places: Vec<Place> = Vec::with_capacity(task.plan.layers.len());
    for layer in &task.plan.layers {
        let lower = Link::lower(task.plan.below(layer.index).map(|below| &places[below].link));
        let whole_below = layer.parent.is_none_or(|parent| places[parent].present.is_some());
        let below = layer.parent.map(|parent| task.plan.layers[parent].chain);
        let found = match whole_below {
            true => existing.layer(layer.chain, below, layer.diff_id, &lower)?,
            false => None,
        };
        places.push(match found {
            Some((cache_id, link)) => {
                let present = existing.content(&cache_id);
                Place {
                    cache_id,
                    link,
                    lower,
                    present,
                }
            }
            None => {
                let cache_id = cache_id(layer.chain);
                Place {
                    cache_id,
                    link: Link::derive(&format!("link {}", layer.chain.0)),
                    lower,
                    present: None,
                }
            }
        });
    }
    Ok(places)
}

/// The name of a layer's directory. Not the chain ID itself: the two are different things to dockerd, and a name that
/// looks like one would invite confusion.
fn cache_id(chain: ChainId) -> String {
    Digest::of(format!("cache-id {}", chain.0).as_bytes()).hex()
}

struct Docker<'a> {
    task: &'a Import<'a>,
    places: Vec<Place>,
}

impl LayerStore for Docker<'_> {
    fn present(&self, layer: &Layer<'_>) -> Option<PathBuf> {
        self.places[layer.index].present.clone()
    }

    fn open(&self, layer: &Layer<'_>) -> Result<Box<dyn TreeWriter + '_>, StoreError> {
        let task = self.task;
        let place = &self.places[layer.index];
        let folder = format!("overlay2/{}", place.cache_id);
        task.directory(&folder, 0o710)?;
        task.file(&format!("{folder}/link"), 0o644, place.link.as_str().as_bytes())?;
        if layer.parent.is_some() {
            task.file(&format!("{folder}/lower"), 0o644, place.lower.as_bytes())?;
            task.directory(&format!("{folder}/work"), 0o700)?;
        }
        if layer.has_child {
            task.file(&format!("{folder}/committed"), 0o600, b"")?;
        }
        let target = format!("../{}/diff", place.cache_id);
        let link = task.path(&format!("overlay2/l/{}", place.link));
        task.sink.symlink(&link, &task.meta(0o777), target.as_bytes())?;
        Ok(task
            .sink
            .tree(&task.path(&format!("{folder}/diff")), &task.meta(0o755))?)
    }

    fn written(&self, layer: &Layer<'_>, applied: &mut AppliedLayer) -> Result<(), StoreError> {
        let task = self.task;
        let folder = format!("image/overlay2/layerdb/sha256/{}", layer.chain.0.hex());
        task.directory(&folder, 0o700)?;
        let file =
            |name: &str, content: &str| task.file(&format!("{folder}/{name}"), 0o644, content.as_bytes());
        file("diff", &layer.diff_id.0.to_string())?;
        file("cache-id", &self.places[layer.index].cache_id)?;
        file("size", &applied.content_size.to_string())?;
        if let Some(parent) = layer.parent {
            file("parent", &task.plan.layers[parent].chain.0.to_string())?;
        }
        task.tar_split(&format!("{folder}/tar-split.json.gz"), 0o644, applied)
    }
}

impl Docker<'_> {
    /// Marks layers that were in the store already and now have a child as `committed`.
    fn commit_parents(&self, existing: &Existing) -> Result<(), StoreError> {
        for layer in self.task.plan.layers.iter().filter(|layer| layer.has_child) {
            let place = &self.places[layer.index];
            if place.present.is_some() && !existing.is_committed(&place.cache_id)? {
                self.task
                    .file(&format!("overlay2/{}/committed", place.cache_id), 0o600, b"")?;
            }
        }
        Ok(())
    }

    fn images(&self) -> Result<(), StoreError> {
        let task = self.task;
        for folder in ["", "/content", "/content/sha256", "/metadata", "/metadata/sha256"] {
            task.directory(&format!("image/overlay2/imagedb{folder}"), 0o700)?;
        }
        for image in task.images {
            let config = &image.image.config;
            let name = format!("image/overlay2/imagedb/content/sha256/{}", config.digest.hex());
            task.file(&name, 0o600, &config.bytes)?;
        }
        Ok(())
    }

    /// Writes what is known about blobs: for those that were verified now, and those that were when they came.
    fn distribution(&self, existing: &Existing, outcomes: &[Outcome]) -> Result<(), StoreError> {
        let task = self.task;
        if task.plan.layers.is_empty() {
            return Ok(());
        }
        task.directory("image/overlay2/distribution", 0o700)?;
        for folder in ["diffid-by-digest", "v2metadata-by-diffid"] {
            task.directory(&format!("image/overlay2/distribution/{folder}"), 0o755)?;
            task.directory(&format!("image/overlay2/distribution/{folder}/sha256"), 0o755)?;
        }
        // The same content can lie at several depths; its files are written once.
        let mut blobs_of: BTreeMap<DiffId, BTreeSet<(Digest, String)>> = BTreeMap::new();
        let mut diff_of: BTreeMap<Digest, DiffId> = BTreeMap::new();
        for (layer, outcome) in task.plan.layers.iter().zip(outcomes) {
            let blob = layer.source.digest;
            let known = matches!(outcome, Outcome::Written(_)) || existing.knows_blob(blob, layer.diff_id)?;
            if !known {
                continue;
            }
            diff_of.insert(blob, layer.diff_id);
            for user in &layer.users {
                // An image that ships the same content in another blob does not vouch for this one.
                let StoreImage { image, names } = &task.images[*user];
                if image.layers[layer.number - 1].digest == blob {
                    let names = names.iter().map(|name| (blob, name.canonical_name()));
                    blobs_of.entry(layer.diff_id).or_default().extend(names);
                }
            }
        }
        for (blob, diff_id) in diff_of {
            let name = format!(
                "image/overlay2/distribution/diffid-by-digest/sha256/{}",
                blob.hex()
            );
            task.file(&name, 0o644, diff_id.0.to_string().as_bytes())?;
        }
        for (diff_id, blobs) in blobs_of {
            let name = format!("v2metadata-by-diffid/sha256/{}", diff_id.0.hex());
            let mut content = existing.distribution(&name)?;
            for (blob, repository) in blobs {
                content = Some(distribution::remember_blob(content.as_deref(), blob, &repository));
            }
            let content = content.unwrap_or_default();
            task.file(&format!("image/overlay2/distribution/{name}"), 0o644, &content)?;
        }
        Ok(())
    }

    fn names(&self, mut names: Repositories) -> Result<Vec<ImageReport>, StoreError> {
        let mut images = Vec::with_capacity(self.task.images.len());
        for (image, layers) in self.task.images.iter().zip(&self.task.plan.images) {
            let id = image.image.config.digest;
            let mut shown = Vec::new();
            for name in &image.names {
                let familiar = name.familiar_name();
                if name.tag().is_some() || name.digest().is_none() {
                    names.set_tag(&familiar, name.tag_or_latest(), id);
                    shown.push(format!("{familiar}:{}", name.tag_or_latest()));
                }
                let digests = [Some(image.repo_digest()), name.digest()];
                for digest in digests.into_iter().flatten().collect::<BTreeSet<_>>() {
                    names.set_digest(&familiar, digest, id);
                }
                if name.tag().is_none()
                    && let Some(digest) = name.digest()
                {
                    shown.push(format!("{familiar}@{digest}"));
                }
            }
            shown.dedup();
            let origin = image.image.origin.clone();
            images.push(ImageReport {
                origin,
                names: shown,
                id,
                layers: layers.clone(),
            });
        }
        let content = names.to_bytes().map_err(|source| StoreError::Json {
            what: "repositories.json",
            source,
        })?;
        self.task
            .file("image/overlay2/repositories.json", 0o600, &content)?;
        Ok(images)
    }
}
