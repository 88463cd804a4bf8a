//! What one image is: its configuration, its annotations, and which step of its history made which layer.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use vcontainer_image::{
    DiffId, Digest, History, Image, LayerSource, ManifestOrIndex, parse_manifest_or_index,
};

use crate::error::Error;

/// An image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Such as `linux/arm64`.
    pub platform: String,
    /// What its source calls it: tags and full names.
    pub tags: Vec<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The media type of its manifest.
    pub media_type: String,
    /// The digest of the index blob that lists it, if there is one.
    pub index: Option<Digest>,
    /// When it was made, as written.
    pub created: Option<String>,
    /// Who made it; empty if nobody says.
    pub author: String,
    /// How it is run.
    pub configuration: Configuration,
    /// The annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Bytes of all its layers as they lie there.
    pub size: u64,
    /// How it was made, first step first, with the layers that came of it.
    pub history: Vec<Step>,
}

/// How an image is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configuration {
    /// The digest of the document.
    pub digest: Digest,
    /// The program that always runs.
    pub entrypoint: Vec<String>,
    /// Its default arguments, or the program when there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// User and group; empty for root.
    pub user: String,
    /// Where programs start; empty for `/`.
    pub working_dir: String,
    /// Such as `80/tcp`.
    pub ports: Vec<String>,
    /// Directories that hold data.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How to find out whether it is well, as written.
    pub healthcheck: Option<Value>,
    /// What tells it to end.
    pub stop_signal: Option<String>,
    /// Every other setting, as written.
    pub other: BTreeMap<String, Value>,
}

/// A step of an image's making.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// When, as written.
    pub created: Option<String>,
    /// By which command; empty if nothing says it.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// What it added; `None` for a step that changed the configuration only.
    pub layer: Option<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// The size of the blob in bytes.
    pub size: u64,
    /// What the manifest says that it is.
    pub media_type: String,
}

/// Describes an image.
///
/// # Errors
/// The manifest cannot be read.
pub fn describe(image: &Image) -> Result<Description, Error> {
    let parsed = parse_manifest_or_index(&image.manifest.bytes, &image.manifest.media_type);
    let annotations = match parsed {
        Ok(ManifestOrIndex::Manifest(manifest)) => manifest.annotations,
        Ok(ManifestOrIndex::Index(index)) => index.annotations,
        Err(source) => {
            return Err(Error::Manifest {
                origin: image.origin.clone(),
                source,
            });
        }
    };
    let config = &image.config_view;
    Ok(Description {
        platform: image.platform.to_string(),
        tags: image.tags.clone(),
        digest: image.manifest.digest,
        media_type: image.manifest.media_type.clone(),
        index: image.index.as_ref().map(|index| index.digest),
        created: config.created.clone(),
        author: config.author.clone(),
        configuration: configuration(image),
        annotations,
        size: image.layers.iter().map(|layer| layer.size).sum(),
        history: steps(&config.history, &image.layers),
    })
}

fn configuration(image: &Image) -> Configuration {
    let run = &image.config_view.config;
    let mut other: BTreeMap<String, Value> = run
        .extra
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Configuration {
        digest: image.config.digest,
        entrypoint: run.entrypoint.clone(),
        cmd: run.cmd.clone(),
        env: run.env.clone(),
        user: run.user.clone(),
        working_dir: run.working_dir.clone(),
        ports: run.exposed_ports.keys().cloned().collect(),
        volumes: run.volumes.keys().cloned().collect(),
        labels: run.labels.clone(),
        healthcheck: other.remove("Healthcheck"),
        stop_signal: run.stop_signal.clone(),
        other,
    }
}

/// The history with its layers. Where it has not a step for each layer, nothing says which is which: the layers come last.
pub(crate) fn steps(history: &[History], layers: &[LayerSource]) -> Vec<Step> {
    let fits = history.iter().filter(|step| !step.empty_layer).count() == layers.len();
    let mut layers = layers.iter().map(|layer| Layer {
        digest: layer.digest,
        diff_id: layer.diff_id,
        size: layer.size,
        media_type: layer.media_type.clone(),
    });
    let mut steps: Vec<Step> = history
        .iter()
        .map(|step| Step {
            created: step.created.clone(),
            created_by: step.created_by.clone(),
            comment: step.comment.clone(),
            layer: match fits && !step.empty_layer {
                true => layers.next(),
                false => None,
            },
        })
        .collect();
    steps.extend(layers.map(|layer| Step {
        created: None,
        created_by: String::new(),
        comment: String::new(),
        layer: Some(layer),
    }));
    steps
}
