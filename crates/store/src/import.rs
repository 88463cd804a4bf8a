//! Images into a store: what is asked for, what is reported, and the order of work.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vcontainer_image::{ChainId, DiffId, Digest, Image, Meta, Reference, Timestamp, TreePath};

use crate::layers::LayerPlan;
use crate::{AppliedLayer, Limits, Sink, StoreError, containerd, docker, podman};

/// Whose store, in which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// Docker's graph driver store, `/var/lib/docker/{image,overlay2}`: Docker 20.10 to 29.
    DockerOverlay2,
    /// containers/storage with the overlay driver, `/var/lib/containers/storage`: Podman 4 and 5, Buildah, CRI-O.
    PodmanOverlay,
    /// containerd's image store, the default of fresh Docker 29.
    DockerContainerd,
}

/// A store of the target.
#[derive(Debug, Clone)]
pub struct StoreTarget {
    /// Its format.
    pub kind: StoreKind,
    /// Its data root inside the target's root filesystem, without symlinks (`var/lib/docker`).
    pub root: TreePath,
    /// Where that directory is on this machine, if the target has it already.
    pub existing: Option<PathBuf>,
    /// Whether the target's Podman has netavark; without meaning for other stores.
    ///
    /// Podman 4 takes a store with images for one of an older Podman and falls back to CNI, unless a file in the store
    /// says `netavark`. Where there is no netavark that file would make Podman 4 fail at every command.
    pub netavark: bool,
}

/// An image and what it is to be called.
#[derive(Debug, Clone)]
pub struct StoreImage<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its names in the store. A name without a tag gets `latest`; a name with a digest only gets no tag.
    pub names: Vec<Reference>,
}

impl StoreImage<'_> {
    /// The digest that `name@sha256:…` is known by: that of the index for an image of several platforms, else that of
    /// the manifest.
    pub(crate) fn repo_digest(&self) -> Digest {
        self.image.index.as_ref().unwrap_or(&self.image.manifest).digest
    }
}

/// A full name as Podman and containerd keep it: `docker.io/library/redis:7`, or `docker.io/library/redis@sha256:…`
/// when the name has a digest and no tag. Two names are one if this text is the same.
pub(crate) fn full_name(name: &Reference) -> String {
    match (name.tag(), name.digest()) {
        (None, Some(digest)) => format!("{}@{digest}", name.canonical_name()),
        _ => format!("{}:{}", name.canonical_name(), name.tag_or_latest()),
    }
}

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The time of everything that has none of its own: the store's own files and directories, and the day on which
    /// Podman got its layers. `SOURCE_DATE_EPOCH`, or 0.
    pub epoch: Timestamp,
    /// What a layer may expand to.
    pub limits: Limits,
    /// The directory for temporary files on this machine, a few kilobytes for each layer.
    pub scratch: PathBuf,
    /// At most so many layers are applied at a time (and never more than the sink allows). 0 counts as 1.
    pub jobs: usize,
}

/// Hears how far an import has come. Called from several threads.
pub trait Progress: Sync {
    /// Layers are about to be written: their number and the bytes of their blobs. Layers that the store has already
    /// are not among them.
    fn start(&self, layers: usize, blob_bytes: u64);
    /// So many more bytes of blobs have been read.
    fn advance(&self, blob_bytes: u64);
    /// A layer is done.
    fn layer_done(&self, layer: &LayerReport);
    /// Whether to give up: asked often, while blobs are read. The import then fails, which leaves the target as it was.
    fn interrupted(&self) -> bool {
        false
    }
}

/// For callers who do not want to hear.
impl Progress for () {
    fn start(&self, _: usize, _: u64) {}
    fn advance(&self, _: u64) {}
    fn layer_done(&self, _: &LayerReport) {}
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LayerReport {
    /// Which layer, together with everything below it.
    pub chain: ChainId,
    /// Its content.
    pub diff_id: DiffId,
    /// The blob that it came in.
    pub blob: Digest,
    /// Bytes of that blob.
    pub blob_size: u64,
    /// How many of the run's images use it.
    pub images: usize,
    /// What it took; `None` if the store had the layer already.
    pub written: Option<WrittenLayer>,
}

/// Sizes of a layer that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct WrittenLayer {
    /// Bytes of the uncompressed tar stream.
    pub uncompressed_size: u64,
    /// Bytes of all files in it, a file with several names once.
    pub content_size: u64,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageReport {
    /// Where it came from.
    pub origin: String,
    /// The names that it has now, as the engine shows them.
    pub names: Vec<String>,
    /// Its ID in this store.
    pub id: Digest,
    /// Its layers, base first, as indexes into [`ImportReport::layers`].
    pub layers: Vec<usize>,
}

/// What an import did. It does not depend on the order in which the images were given.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// The images, sorted by name.
    pub images: Vec<ImageReport>,
    /// Every layer once, parents before children.
    pub layers: Vec<LayerReport>,
}

/// Puts `images` into the store of `target`, beside those that are there already.
///
/// Everything is written through `sink`, which the caller commits. The same images give the same bytes, in whatever
/// order they are given and however many threads work.
///
/// # Errors
/// See [`StoreError`]. Nothing is visible then, as long as the caller drops the sink.
pub fn import(
    target: &StoreTarget,
    images: &[StoreImage<'_>],
    sink: &dyn Sink,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<ImportReport, StoreError> {
    let images = sorted(target.kind, images)?;
    let plan = LayerPlan::new(&images);
    let task = Import {
        target,
        images: &images,
        plan: &plan,
        sink,
        options,
        progress,
    };
    match target.kind {
        StoreKind::DockerOverlay2 => docker::import(&task),
        StoreKind::PodmanOverlay => podman::import(&task),
        StoreKind::DockerContainerd => containerd::import(&task),
    }
}

/// One import, as the modules of the stores see it.
#[derive(Clone, Copy)]
pub(crate) struct Import<'a> {
    pub target: &'a StoreTarget,
    /// Sorted by name; every image once, with all its names.
    pub images: &'a [StoreImage<'a>],
    pub plan: &'a LayerPlan<'a>,
    pub sink: &'a dyn Sink,
    pub options: &'a ImportOptions,
    pub progress: &'a dyn Progress,
}

impl Import<'_> {
    /// Owner root, the given mode, the time of the run.
    pub(crate) fn meta(&self, mode: u32) -> Meta {
        Meta {
            mode,
            mtime: self.options.epoch,
            ..Meta::default()
        }
    }

    /// A path in the store from a name with `/` between components.
    pub(crate) fn path(&self, name: &str) -> TreePath {
        name.split('/')
            .fold(self.target.root.clone(), |path, part| path.join(part.as_bytes()))
    }

    /// Makes a directory of the store.
    pub(crate) fn directory(&self, name: &str, mode: u32) -> Result<(), StoreError> {
        Ok(self.sink.directory(&self.path(name), &self.meta(mode))?)
    }

    /// Writes a file of the store.
    pub(crate) fn file(&self, name: &str, mode: u32, content: &[u8]) -> Result<(), StoreError> {
        Ok(self.sink.file(&self.path(name), &self.meta(mode), content)?)
    }

    /// Writes the tar-split file of a layer.
    pub(crate) fn tar_split(
        &self,
        name: &str,
        mode: u32,
        layer: &mut AppliedLayer,
    ) -> Result<(), StoreError> {
        let length = layer.tar_split.length();
        let content = layer
            .tar_split
            .reader()
            .map_err(|source| StoreError::Scratch { source })?;
        Ok(self
            .sink
            .stream(&self.path(name), &self.meta(mode), length, content)?)
    }

    /// Makes the data root and what it lies in.
    pub(crate) fn root(&self, mode: u32) -> Result<(), StoreError> {
        let mut parents = Vec::new();
        let mut path = self.target.root.parent();
        while let Some(parent) = path.filter(|parent| !parent.is_root()) {
            path = parent.parent();
            parents.push(parent);
        }
        for parent in parents.iter().rev() {
            self.sink.directory(parent, &self.meta(0o755))?;
        }
        Ok(self.sink.directory(&self.target.root, &self.meta(mode))?)
    }
}

/// The images sorted by name, equal ones merged: the names of all lead to the one that is written.
///
/// # Errors
/// Two different images with one name.
fn sorted<'a>(kind: StoreKind, images: &[StoreImage<'a>]) -> Result<Vec<StoreImage<'a>>, StoreError> {
    let mut owners: BTreeMap<String, &Image> = BTreeMap::new();
    let mut merged: BTreeMap<Digest, StoreImage<'a>> = BTreeMap::new();
    for image in images {
        for name in &image.names {
            let name = full_name(name);
            match owners.get(&name) {
                Some(other) if identity(kind, other) != identity(kind, image.image) => {
                    return Err(StoreError::SameName {
                        name,
                        first: other.origin.clone(),
                        second: image.image.origin.clone(),
                    });
                }
                _ => drop(owners.insert(name, image.image)),
            }
        }
        let entry = merged.entry(identity(kind, image.image));
        let known = entry.or_insert_with(|| StoreImage {
            image: image.image,
            names: Vec::new(),
        });
        // One image whose layers were compressed in two ways: which one is taken must not depend on the order.
        if image.repo_digest() < known.repo_digest() {
            known.image = image.image;
        }
        known.names.extend(image.names.iter().cloned());
    }
    let mut sorted: Vec<StoreImage<'a>> = merged.into_values().collect();
    for image in &mut sorted {
        image.names.sort_by_key(|name| (full_name(name), name.digest()));
        image.names.dedup();
    }
    // Images without a name come first, in the order of their IDs, which the map has established.
    sorted.sort_by_key(|image| image.names.first().map(full_name));
    Ok(sorted)
}

/// What makes two images the same to this kind of store: what the engine derives the image's ID from.
fn identity(kind: StoreKind, image: &Image) -> Digest {
    match kind {
        StoreKind::DockerOverlay2 | StoreKind::PodmanOverlay => image.config.digest,
        StoreKind::DockerContainerd => image.index.as_ref().unwrap_or(&image.manifest).digest,
    }
}
