//! What is in a store, for people and programs to look at.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use vcontainer_image::{DiffId, Digest, ImageConfig};

use crate::import::StoreKind;
use crate::store_dir::StoreDir;
use crate::{StoreError, containerd, docker, podman};

/// Where a dockerd without a system containerd keeps the store, in its own data root (moby `containerdRootDir`).
const CONTAINERD_OF_DOCKER: &str = "containerd/daemon";

/// The images and layers of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreView {
    /// Its format.
    pub kind: StoreKind,
    /// Its images, sorted by name.
    pub images: Vec<ImageView>,
    /// Its layers, each once, sorted by ID.
    pub layers: Vec<LayerView>,
}

/// An image of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// Its ID as the engine shows it.
    pub id: String,
    /// Its names with tags, as the engine shows them, sorted.
    pub names: Vec<String>,
    /// The `name@sha256:…` references that lead to it, sorted.
    pub digests: Vec<String>,
    /// `linux/arm64` and the like; empty if its configuration cannot be read.
    pub platform: String,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// Bytes of its layers' content.
    pub size: u64,
    /// The IDs of its layers, base first.
    pub layers: Vec<String>,
    /// What the engine would stumble over; empty for a whole image.
    pub problems: Vec<String>,
}

/// A layer of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerView {
    /// Its ID in this store: the chain ID, or Podman's layer ID.
    pub id: String,
    /// Digest of its uncompressed tar stream, if the store says.
    pub diff_id: Option<Digest>,
    /// Bytes: Docker records the size of the content, Podman that of the uncompressed tar stream.
    pub size: u64,
    /// How many images of the store have it.
    pub images: usize,
}

impl StoreView {
    /// Sorts what was found.
    pub(crate) fn new(
        kind: StoreKind,
        mut images: Vec<ImageView>,
        layers: BTreeMap<String, LayerView>,
    ) -> Self {
        images.sort_by(|a, b| (&a.names, &a.id).cmp(&(&b.names, &b.id)));
        Self {
            kind,
            images,
            layers: layers.into_values().collect(),
        }
    }
}

impl ImageView {
    /// Adds the next layer above those that the image has, and counts the image at the layer.
    pub(crate) fn add_layer(&mut self, id: String, layers: &mut BTreeMap<String, LayerView>) {
        match layers.get_mut(&id) {
            Some(layer) => {
                layer.images += 1;
                self.size += layer.size;
            }
            None => self.problems.push(format!("layer {id} is missing")),
        }
        self.layers.push(id);
    }
}

/// What the configuration says about an image, and the diff IDs of its layers.
pub(crate) fn image_view(id: String, config: Option<&[u8]>) -> (ImageView, Vec<DiffId>) {
    let mut view = ImageView {
        id,
        names: Vec::new(),
        digests: Vec::new(),
        platform: String::new(),
        created: None,
        size: 0,
        layers: Vec::new(),
        problems: Vec::new(),
    };
    match config.map(ImageConfig::parse) {
        Some(Ok(config)) => {
            view.platform = config.platform().to_string();
            view.created = config.created;
            return (view, config.rootfs.diff_ids);
        }
        Some(Err(error)) => view
            .problems
            .push(format!("its configuration is not usable: {error}")),
        None => view.problems.push("its configuration is missing".into()),
    }
    (view, Vec::new())
}

/// Reads the store in the directory `path` (`…/var/lib/docker`, `…/var/lib/containers/storage`).
///
/// # Errors
/// A directory that is no store, or a store whose indexes cannot be read. An image whose parts are missing is no error:
/// see [`ImageView::problems`].
pub fn read_store(path: &Path) -> Result<StoreView, StoreError> {
    let dir = StoreDir::new(path);
    if dir.is_dir("image/overlay2")? {
        docker::read(&dir)
    } else if dir.is_dir("overlay-images")? {
        podman::read(&dir)
    } else if dir.is_dir(containerd::METADATA)? {
        containerd::read(&dir)
    } else if dir.is_dir(&format!("{CONTAINERD_OF_DOCKER}/{}", containerd::METADATA))? {
        // The data root of a dockerd that runs a containerd of its own.
        containerd::read(&StoreDir::new(&dir.path(CONTAINERD_OF_DOCKER)))
    } else {
        Err(StoreError::NotAStore(path.to_owned()))
    }
}
