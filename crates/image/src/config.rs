//! The image configuration: a read-only view of the JSON that says how to run an image and what its layers are.
//!
//! Sources: OCI image-spec `config.md`; Docker Image Specification v1.2 and v1.3 (`Healthcheck`, `OnBuild`, `Shell`). The
//! bytes themselves are kept in the image's [`Document`](crate::Document) and are what stores receive.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::digest::DiffId;
use crate::manifest::{DocumentError, null_as_default};
use crate::platform::Platform;

/// The configuration of an image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339, as written.
    #[serde(default)]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub author: String,
    /// The architecture, by its OCI name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// The operating system.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// The variant of the architecture.
    #[serde(default)]
    pub variant: Option<String>,
    /// How a container of this image is run.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// The layers by the digests of their uncompressed streams.
    pub rootfs: RootFs,
    /// How each layer came into being.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<History>,
    /// Every other field, untouched.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a container of an image is run.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User and group, by name or number, empty for root.
    #[serde(default, deserialize_with = "null_as_default")]
    pub user: String,
    /// Ports such as `80/tcp`; the values are empty objects.
    #[serde(default, deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// The program, if it is fixed.
    #[serde(default, deserialize_with = "words")]
    pub entrypoint: Vec<String>,
    /// The default arguments, or the program when there is no entrypoint.
    #[serde(default, deserialize_with = "words")]
    pub cmd: Vec<String>,
    /// Paths that are volumes; the values are empty objects.
    #[serde(default, deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(default, deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// Every other field (`Healthcheck`, `OnBuild`, `Shell`, …), untouched.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_as_default")]
    pub kind: String,
    /// Digests of the uncompressed layers, base first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

/// One step of an image's making.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct History {
    /// When, RFC 3339, as written.
    #[serde(default)]
    pub created: Option<String>,
    /// By which command.
    #[serde(default, deserialize_with = "null_as_default")]
    pub created_by: String,
    /// A remark.
    #[serde(default, deserialize_with = "null_as_default")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_as_default")]
    pub empty_layer: bool,
    /// Every other field, untouched.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// Parses the configuration of an image.
    ///
    /// # Errors
    /// JSON of another shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The platform that the configuration names, normalised.
    ///
    /// A missing operating system counts as `linux`, as in images that predate the field.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let os = if self.os.is_empty() { "linux" } else { &self.os };
        let architecture = if self.architecture.is_empty() {
            "unknown"
        } else {
            &self.architecture
        };
        Platform::new(os, architecture, self.variant.as_deref())
    }
}

/// Old Docker versions wrote a command of one word as a plain string.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}
