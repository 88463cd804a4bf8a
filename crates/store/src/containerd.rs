//! containerd's image store as dockerd uses it: the default of a fresh Docker 29, and what `features.containerd-snapshotter`
//! turns on since 24.
//!
//! ```text
//! io.containerd.content.v1.content/blobs/sha256/<hex>     manifests, indexes, configurations, layers as they were shipped
//! io.containerd.metadata.v1.bolt/meta.db                  what is what, and what keeps what alive
//! io.containerd.snapshotter.v1.overlayfs/metadata.db      which directory is which snapshot
//! io.containerd.snapshotter.v1.overlayfs/snapshots/<n>/   a layer: its content in `fs`
//! ```
//!
//! containerd itself makes everything else when it starts; its identity (`io.containerd.grpc.v1.introspection/uuid`) must not
//! be shipped, or all devices would have the same.
//!
//! Decisions:
//!
//! - The snapshot numbers follow from the order of the layers; all times are the run's.
//! - Of an index only the manifest that was chosen is there, as after a pull for one platform. The index itself is what the
//!   image is called by, so that a pinned `name@sha256:…` works.
//! - A layer of an existing store is shared when its two records and its directory are whole, else written anew under another
//!   number. Records of others (namespaces, containers, leases, other snapshotters) are kept as they are.
//! - An image that loses its last name stays without one, as after `docker tag`.
//!
//! Source: containerd, `plugins/content/local`, `plugins/snapshots/overlay/overlay.go`, and what the modules below name.

mod content;
mod existing;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod metadata;
mod snapshots;
mod value;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use vcontainer_image::{Digest, Document, Image, Index, ManifestOrIndex, Reference, parse_manifest_or_index};

use self::content::Content;
use self::existing::Existing;
use self::metadata::Target;
use self::snapshots::Usage;
pub(crate) use self::view::read;
use crate::bolt::{self, NotABucket};
use crate::import::{ImageReport, Import, ImportReport, StoreImage, full_name};
use crate::layers::{Layer, LayerStore, Outcome, reports, write_layers};
use crate::{AppliedLayer, StoreError, TreeWriter};

const CONTENT: &str = "io.containerd.content.v1.content";
/// Of all directories the one by which such a store is recognised.
pub(crate) const METADATA: &str = "io.containerd.metadata.v1.bolt";
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";
const META_DB: &str = "io.containerd.metadata.v1.bolt/meta.db";
const SNAPSHOTS_DB: &str = "io.containerd.snapshotter.v1.overlayfs/metadata.db";

/// How many layers an image may have: overlayfs stacks at most 500 lower directories (Linux, `fs/overlayfs/params.h`,
/// `OVL_MAX_STACK`), and dockerd puts one more between image and container. containerd names them shortly enough for its
/// mount options.
const MAX_LAYERS: usize = 499;

/// The file of a blob.
fn blob_name(digest: Digest) -> String {
    format!("{CONTENT}/blobs/sha256/{}", digest.hex())
}

/// The directory of all snapshots.
fn snapshots_name() -> String {
    format!("{SNAPSHOTTER}/snapshots")
}

/// The directory with the content of a snapshot.
fn content_name(id: u64) -> String {
    format!("{SNAPSHOTTER}/snapshots/{id}/fs")
}

/// Where a layer of the plan lies in the store.
#[derive(Debug, Clone)]
struct Place {
    /// The snapshotter's name of it.
    name: String,
    /// The number of its directory.
    id: u64,
    /// Its content on this machine, if the store had it before.
    present: Option<PathBuf>,
}

/// Puts the images of a task into the store.
///
/// # Errors
/// See [`StoreError`].
pub(crate) fn import(task: &Import<'_>) -> Result<ImportReport, StoreError> {
    if let Some(StoreImage { image, .. }) = task
        .images
        .iter()
        .find(|image| image.image.layers.len() > MAX_LAYERS)
    {
        return Err(StoreError::TooManyLayers {
            image: image.origin.clone(),
            layers: image.layers.len(),
            limit: MAX_LAYERS,
            engine: "containerd",
        });
    }
    let mut existing = Existing::open(task.target.existing.as_deref(), task.options.epoch)?;
    let places = places(task, &mut existing)?;
    directories(task)?;
    let content = Content::new(task, &existing);
    for StoreImage { image, .. } in task.images {
        let index = index(image).map(|(index, _)| index);
        for document in [Some(&image.config), Some(&image.manifest), index]
            .into_iter()
            .flatten()
        {
            content.document(document)?;
        }
    }
    // The blobs of layers that are unpacked already, or from another image's blob; the others come with their layers.
    for (StoreImage { image, .. }, layers) in task.images.iter().zip(&task.plan.images) {
        for (blob, layer) in image.layers.iter().zip(layers) {
            if places[*layer].present.is_some() || blob.digest != task.plan.layers[*layer].source.digest {
                content.layer(blob, image)?;
            }
        }
    }
    let outcomes = write_layers(
        task,
        &Writer {
            task,
            content: &content,
            places: &places,
        },
    )?;
    drop(content);

    let store = &mut existing;
    record_layers(task, store, &places, &outcomes).map_err(|error| unusable(task, SNAPSHOTS_DB, &error))?;
    let mut images = Vec::new();
    for (image, layers) in task.images.iter().zip(&task.plan.images) {
        record_image(task, store, image, layers, &outcomes)
            .map_err(|error| unusable(task, META_DB, &error))?;
        images.push(ImageReport {
            origin: image.image.origin.clone(),
            names: image.names.iter().map(shown).collect(),
            id: target(image.image).digest,
            layers: layers.clone(),
        });
    }
    // A directory without a record would be in the way of containerd's next snapshot; a record without a directory, of which
    // meta.db does not speak either, is only swept away. So this database becomes visible before the directories.
    task.sink.file_first(
        &task.path(SNAPSHOTS_DB),
        &task.meta(0o600),
        &database(task, SNAPSHOTS_DB, store.snapshots.root())?,
    )?;
    // Nothing that was written is alive before meta.db speaks of it.
    task.file(META_DB, 0o644, &database(task, META_DB, store.metadata.root())?)?;
    Ok(ImportReport {
        images,
        layers: reports(task.plan, &outcomes),
    })
}

/// Finds the layers that the store has, and numbers for the others.
fn places(task: &Import<'_>, store: &mut Existing) -> Result<Vec<Place>, StoreError> {
    let mut places: Vec<Place> = Vec::with_capacity(task.plan.layers.len());
    for layer in &task.plan.layers {
        let parent = layer.parent.map(|parent| task.plan.layers[parent].chain);
        let whole_below = layer.parent.is_none_or(|parent| places[parent].present.is_some());
        let found = if whole_below {
            store.layer(layer.chain)?
        } else {
            None
        };
        let place = match found {
            Some(unpacked) => Place {
                name: unpacked.name,
                id: unpacked.id,
                present: Some(unpacked.path),
            },
            None => {
                let name = store.metadata.add_snapshot(layer.chain, parent);
                let id = store.snapshots.next_id();
                Place {
                    name: name.map_err(|error| unusable(task, META_DB, &error))?,
                    id: id.map_err(|error| unusable(task, SNAPSHOTS_DB, &error))?,
                    present: None,
                }
            }
        };
        places.push(place);
    }
    Ok(places)
}

/// Makes the directories of the store. Their modes are those that containerd gives them.
fn directories(task: &Import<'_>) -> Result<(), StoreError> {
    task.root(0o700)?;
    for (name, mode) in [
        (CONTENT, 0o755),
        (&*format!("{CONTENT}/blobs"), 0o755),
        (&*format!("{CONTENT}/blobs/sha256"), 0o755),
        (&*format!("{CONTENT}/ingest"), 0o755),
        (METADATA, 0o711),
        (SNAPSHOTTER, 0o700),
        (&*snapshots_name(), 0o700),
    ] {
        task.directory(name, mode)?;
    }
    Ok(())
}

/// Writes layers for [`write_layers`].
struct Writer<'a> {
    task: &'a Import<'a>,
    content: &'a Content<'a>,
    places: &'a [Place],
}

impl LayerStore for Writer<'_> {
    fn present(&self, layer: &Layer<'_>) -> Option<PathBuf> {
        self.places[layer.index].present.clone()
    }

    fn open(&self, layer: &Layer<'_>) -> Result<Box<dyn TreeWriter + '_>, StoreError> {
        self.content.layer(layer.source, layer.image)?;
        let id = self.places[layer.index].id;
        self.task
            .directory(&format!("{SNAPSHOTTER}/snapshots/{id}"), 0o700)?;
        self.task
            .directory(&format!("{SNAPSHOTTER}/snapshots/{id}/work"), 0o711)?;
        Ok(self
            .task
            .sink
            .tree(&self.task.path(&content_name(id)), &self.task.meta(0o755))?)
    }

    fn written(&self, _: &Layer<'_>, _: &mut AppliedLayer) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Records the snapshots of the layers that were written.
fn record_layers(
    task: &Import<'_>,
    store: &mut Existing,
    places: &[Place],
    outcomes: &[Outcome],
) -> Result<(), NotABucket> {
    for ((layer, place), outcome) in task.plan.layers.iter().zip(places).zip(outcomes) {
        if let Outcome::Written(facts) = outcome {
            // containerd counts inodes and blocks of its file system; names and bytes are the same on every machine.
            let usage = Usage {
                inodes: facts.names,
                bytes: facts.content_size,
            };
            let parent = layer
                .parent
                .map(|parent| (places[parent].name.as_str(), places[parent].id));
            store.snapshots.add(&place.name, place.id, parent, usage)?;
        }
    }
    Ok(())
}

/// Records the blobs of an image with what they keep alive, and its names.
fn record_image(
    task: &Import<'_>,
    store: &mut Existing,
    image: &StoreImage<'_>,
    layers: &[usize],
    outcomes: &[Outcome],
) -> Result<(), NotABucket> {
    let StoreImage { image, names } = image;
    let metadata = &mut store.metadata;
    let top = layers.last().map(|layer| task.plan.layers[*layer].chain);
    for (blob, layer) in image.layers.iter().zip(layers) {
        // Only what was unpacked now is known to hold what the image says.
        let verified = blob.digest == task.plan.layers[*layer].source.digest;
        let labels = match outcomes[*layer] {
            Outcome::Written(_) if verified => metadata::layer_labels(blob.diff_id.0),
            _ => Vec::new(),
        };
        metadata.add_blob(blob.digest, blob.size, &labels)?;
    }
    let config = &image.config;
    metadata.add_blob(
        config.digest,
        config.bytes.len() as u64,
        &metadata::config_labels(top),
    )?;
    let manifest = &image.manifest;
    let labels = metadata::manifest_labels(config.digest, image.layers.iter().map(|layer| layer.digest));
    metadata.add_blob(manifest.digest, manifest.bytes.len() as u64, &labels)?;
    if let Some((index, children)) = index(image) {
        metadata.add_blob(
            index.digest,
            index.bytes.len() as u64,
            &metadata::index_labels(children),
        )?;
    }
    for name in names {
        metadata.set_image(&full_name(name), &target_of(image, name))?;
    }
    if names.is_empty() {
        metadata.add_unnamed(&target(image))?;
    }
    Ok(())
}

/// The index of an image and its entries, if the image is one of them. (An index of indexes is left out: dockerd would find the
/// image, but the collector would not know that the one keeps the other alive.)
fn index(image: &Image) -> Option<(&Document, Vec<Digest>)> {
    let document = image.index.as_ref()?;
    match parse_manifest_or_index(&document.bytes, &document.media_type) {
        Ok(ManifestOrIndex::Index(Index { manifests, .. })) => {
            let children: Vec<Digest> = manifests.iter().map(|entry| entry.digest).collect();
            children
                .contains(&image.manifest.digest)
                .then_some((document, children))
        }
        _ => None,
    }
}

/// What the names of an image lead to: as after a pull, the index if there is one.
fn target(image: &Image) -> Target {
    named_document(index(image).map_or(&image.manifest, |(index, _)| index))
}

/// The same for one name, which may be pinned to the manifest itself.
fn target_of(image: &Image, name: &Reference) -> Target {
    if name.digest() == Some(image.manifest.digest) {
        return named_document(&image.manifest);
    }
    target(image)
}

fn named_document(document: &Document) -> Target {
    Target {
        digest: document.digest,
        media_type: document.media_type.clone(),
        size: document.bytes.len() as u64,
    }
}

/// A name as the engine shows it.
fn shown(name: &Reference) -> String {
    match (name.tag(), name.digest()) {
        (None, Some(digest)) => format!("{}@{digest}", name.familiar_name()),
        _ => format!("{}:{}", name.familiar_name(), name.tag_or_latest()),
    }
}

/// The bytes of a database.
fn database(task: &Import<'_>, name: &str, tree: &bolt::Bucket) -> Result<Vec<u8>, StoreError> {
    bolt::write(tree).map_err(|error| unusable(task, name, &error))
}

/// A database that is there already cannot take what is to be added.
fn unusable(task: &Import<'_>, name: &str, error: &dyn std::error::Error) -> StoreError {
    let root = task.target.existing.clone().unwrap_or_default();
    StoreError::Existing {
        path: root.join(name),
        what: error.to_string(),
    }
}
