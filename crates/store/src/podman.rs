//! Podman's store: containers/storage with the overlay driver, as Podman 4 and 5, Buildah and CRI-O share it.
//!
//! What is written, and with which modes, is what Podman writes. Sources: containers/storage `layers.go`, `images.go`,
//! `store.go`, `drivers/overlay/overlay.go`; containers/image `storage/storage_dest.go`. Decisions:
//!
//! - Layers get the IDs that a pull would give them, so that a later pull shares them.
//! - `layers.json` comes after the layers and `images.json` after everything else: an import that is cut off leaves at
//!   most layers that no image uses.
//! - What the indexes say about other layers and images is kept, unknown fields too. A name that another image had
//!   moves to the new one, as with `podman tag`; the old image keeps it in its history.
//! - A layer of an existing store is shared when its record and its directory are whole; otherwise it is written anew.
//! - For a source of several platforms the index is kept beside the manifest, so that `name@sha256:<index>` works.
//! - `defaultNetworkBackend` is written when the target has netavark: see [`crate::StoreTarget::netavark`].
//! - Nothing is written that holds the absolute path of the store (`db.sql`, `libpod/bolt_state.db`).

mod existing;
#[cfg(feature = "fuzzing")]
#[allow(clippy::unwrap_used)]
pub(crate) mod fuzzing;
mod images_json;
mod layers_json;
mod records;
mod view;

use std::path::PathBuf;

use vcontainer_image::Meta;

use self::existing::Existing;
use self::images_json::{BigData, ImageFields};
use self::layers_json::LayerFields;
pub(crate) use self::layers_json::layer_ids;
use self::records::Records;
pub(crate) use self::view::read;
use crate::import::{ImageReport, Import, ImportReport, full_name};
use crate::layers::{Layer, LayerStore, Outcome, reports, write_layers};
use crate::link::Link;
use crate::{AppliedLayer, StoreError, TreeWriter, time};

/// How many layers can be mounted: containers/storage `drivers/overlay/overlay.go`, `maxDepth`.
const MAX_LAYERS: usize = 500;

/// Where the directory of a layer lies.
#[derive(Debug, Clone)]
struct Place {
    /// The layer's ID and the name of its directory in `overlay`.
    id: String,
    /// Its name in `overlay/l`.
    link: Link,
    /// The content of its `lower` file; empty for a base layer.
    lower: String,
    /// Mode and owner of its content's root.
    root: Meta,
    /// Its content on this machine, if the store has it.
    present: Option<PathBuf>,
}

/// Writes images into a Podman store.
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
            engine: "Podman",
        });
    }
    let existing = Existing::new(task.target.existing.as_deref())?;
    let store = Podman {
        task,
        places: places(task, &existing)?,
    };

    task.root(0o700)?;
    task.directory("overlay", 0o700)?;
    task.directory("overlay/l", 0o755)?;
    task.directory("overlay-layers", 0o700)?;
    task.directory("overlay-images", 0o700)?;
    let outcomes = write_layers(task, &store)?;
    let mut files = vec![
        ("overlay-layers/layers.lock", ""),
        ("overlay-images/images.lock", ""),
    ];
    if task.target.netavark {
        files.push(("defaultNetworkBackend", "netavark"));
    }
    for (name, content) in files {
        if !existing.has(name)? {
            task.file(name, 0o644, content.as_bytes())?;
        }
    }
    let layers = store.layers(existing.layers, &outcomes);
    task.file("overlay-layers/layers.json", 0o600, &layers.to_bytes())?;
    let (images, index) = store.images(existing.images)?;
    task.file("overlay-images/images.json", 0o600, &index.to_bytes())?;
    Ok(ImportReport {
        images,
        layers: reports(task.plan, &outcomes),
    })
}

/// Finds out where every layer of the plan is or will be.
fn places(task: &Import<'_>, existing: &Existing) -> Result<Vec<Place>, StoreError> {
    let mut ids = vec![String::new(); task.plan.layers.len()];
    for (image, layers) in task.images.iter().zip(&task.plan.images) {
        let diff_ids: Vec<_> = image.image.layers.iter().map(|layer| layer.diff_id).collect();
        for (layer, id) in layers.iter().zip(layer_ids(&diff_ids)) {
            ids[*layer] = id;
        }
    }
    let mut places: Vec<Place> = Vec::with_capacity(ids.len());
    for (layer, id) in task.plan.layers.iter().zip(ids) {
        let lower = Link::lower(task.plan.below(layer.index).map(|below| &places[below].link));
        let parent = layer.parent.map(|parent| &places[parent]);
        let whole_below = parent.is_none_or(|parent| parent.present.is_some());
        let found = match whole_below {
            true => existing.layer(
                &id,
                parent.map(|parent| parent.id.as_str()),
                layer.diff_id,
                &lower,
            )?,
            false => None,
        };
        // The overlay driver gives the root of a base layer mode 0555, and that of a child what its parent has.
        let root = parent.map_or_else(|| task.meta(0o555), |parent| parent.root.clone());
        places.push(match found {
            Some((link, root)) => {
                let present = existing.content(&id);
                let root = Meta {
                    mtime: task.options.epoch,
                    ..root
                };
                Place {
                    id,
                    link,
                    lower,
                    root,
                    present,
                }
            }
            None => {
                let link = Link::derive(&format!("link {id}"));
                Place {
                    id,
                    link,
                    lower,
                    root,
                    present: None,
                }
            }
        });
    }
    Ok(places)
}

struct Podman<'a> {
    task: &'a Import<'a>,
    places: Vec<Place>,
}

impl LayerStore for Podman<'_> {
    fn present(&self, layer: &Layer<'_>) -> Option<PathBuf> {
        self.places[layer.index].present.clone()
    }

    fn open(&self, layer: &Layer<'_>) -> Result<Box<dyn TreeWriter + '_>, StoreError> {
        let task = self.task;
        let place = &self.places[layer.index];
        let folder = format!("overlay/{}", place.id);
        task.directory(&folder, 0o700)?;
        task.file(&format!("{folder}/link"), 0o644, place.link.as_str().as_bytes())?;
        task.directory(&format!("{folder}/work"), 0o700)?;
        task.directory(&format!("{folder}/merged"), 0o700)?;
        match layer.parent {
            Some(_) => task.file(&format!("{folder}/lower"), 0o644, place.lower.as_bytes())?,
            None => task.directory(&format!("{folder}/empty"), 0o700)?,
        }
        let target = format!("../{}/diff", place.id);
        let link = task.path(&format!("overlay/l/{}", place.link));
        task.sink.symlink(&link, &task.meta(0o777), target.as_bytes())?;
        Ok(task
            .sink
            .tree(&task.path(&format!("{folder}/diff")), &place.root)?)
    }

    fn written(&self, layer: &Layer<'_>, applied: &mut AppliedLayer) -> Result<(), StoreError> {
        let id = &self.places[layer.index].id;
        self.task
            .tar_split(&format!("overlay-layers/{id}.tar-split.gz"), 0o600, applied)
    }
}

impl Podman<'_> {
    /// The index of layers with those that were written.
    fn layers(&self, mut index: Records, outcomes: &[Outcome]) -> Records {
        for (layer, outcome) in self.task.plan.layers.iter().zip(outcomes) {
            let Outcome::Written(facts) = outcome else {
                continue;
            };
            let id = &self.places[layer.index].id;
            let fields = LayerFields {
                id,
                parent: layer.parent.map(|parent| self.places[parent].id.as_str()),
                created: self.task.options.epoch,
                blob: layer.source.digest,
                blob_size: layer.source.size,
                compression: layer.source.compression,
                diff_id: layer.diff_id,
                diff_size: facts.uncompressed_size,
                uids: &facts.uids,
                gids: &facts.gids,
            };
            index.replace(id, fields.record());
        }
        index
    }

    /// Writes the documents of the images and gives the index of images with these.
    fn images(&self, mut index: Records) -> Result<(Vec<ImageReport>, Records), StoreError> {
        let task = self.task;
        let mut reports = Vec::with_capacity(task.images.len());
        for (image, layers) in task.images.iter().zip(&task.plan.images) {
            let mut names: Vec<String> = image.names.iter().map(full_name).collect();
            names.dedup();
            let image = image.image;
            let mut documents = vec![(image.config.digest.to_string(), &image.config)];
            if let Some(list) = &image.index {
                documents.push((format!("manifest-{}", list.digest), list));
            }
            documents.push((format!("manifest-{}", image.manifest.digest), &image.manifest));
            documents.push(("manifest".to_owned(), &image.manifest));
            let big_data: Vec<BigData<'_>> = documents
                .into_iter()
                .map(|(key, document)| BigData {
                    key,
                    content: &document.bytes,
                    digest: document.digest,
                })
                .collect();
            let created = image.config_view.created.as_deref().and_then(time::from_rfc3339);
            let fields = ImageFields {
                config: image.config.digest,
                listed: listed_digest(&image.manifest, image.index.as_ref()),
                names: &names,
                top_layer: layers.last().map(|layer| self.places[*layer].id.as_str()),
                created: created.unwrap_or(task.options.epoch),
                big_data: &big_data,
            };
            let folder = format!("overlay-images/{}", fields.id());
            task.directory(&folder, 0o700)?;
            for item in &big_data {
                // Of ASCII only `?` and DEL would bring a slash into the base64; the keys here have neither.
                task.file(&format!("{folder}/{}", item.file_name()), 0o600, item.content)?;
            }
            fields.put(&mut index);
            let origin = image.origin.clone();
            reports.push(ImageReport {
                origin,
                names,
                id: image.config.digest,
                layers: layers.clone(),
            });
        }
        Ok((reports, index))
    }
}

/// The digest that `podman images --digests` shows: of the index that the image was chosen from, else of its manifest.
fn listed_digest(
    manifest: &vcontainer_image::Document,
    index: Option<&vcontainer_image::Document>,
) -> vcontainer_image::Digest {
    index.unwrap_or(manifest).digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_what_an_image_is_listed_by() {
        let document = |bytes: &[u8]| vcontainer_image::Document {
            media_type: String::new(),
            digest: vcontainer_image::Digest::of(bytes),
            bytes: bytes.to_vec(),
        };
        let (manifest, index) = (document(b"m"), document(b"i"));
        assert_eq!(listed_digest(&manifest, None), manifest.digest);
        assert_eq!(listed_digest(&manifest, Some(&index)), index.digest);
    }
}
