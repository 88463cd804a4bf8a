//! Why a store could not be read or written.

use std::io;
use std::path::PathBuf;

use vcontainer_image::{Digest, SourceError};

use crate::{ApplyError, SinkError};

/// Why a store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something could not be written to the target.
    #[error("cannot write the store")]
    Sink(#[from] SinkError),
    /// A layer could not be applied: it is damaged, hostile, too large, or could not be written.
    #[error("layer {number} of {count} of {image} cannot be bundled")]
    Layer {
        /// Where the image came from.
        image: String,
        /// Which layer of the image, counted from 1 at the base.
        number: usize,
        /// How many layers the image has.
        count: usize,
        /// What is wrong.
        source: Box<ApplyError>,
    },
    /// A blob of an image could not be read.
    #[error("cannot read {image}")]
    Source {
        /// Where the image came from.
        image: String,
        /// What is wrong.
        source: Box<SourceError>,
    },
    /// A temporary file could not be read back.
    #[error("cannot read a temporary file")]
    Scratch {
        /// What went wrong.
        source: io::Error,
    },
    /// A file of a store that is there already could not be read.
    #[error("cannot read `{path}` of the store that is there already")]
    Read {
        /// Which file or directory, on this machine.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A store that is there already cannot be extended without harm to it.
    #[error(
        "`{path}` of the store that is there already cannot be used: {what}; mend or remove that store first"
    )]
    Existing {
        /// Which file or directory, on this machine.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Two images of one run want the same name.
    #[error(
        "{first} and {second} are different images, but both are to be named `{name}`: give one of them another name or tag"
    )]
    SameName {
        /// The name.
        name: String,
        /// Where one image came from.
        first: String,
        /// Where the other came from.
        second: String,
    },
    /// An image has more layers than the engine can stack.
    #[error("{image} has {layers} layers, but {engine} stacks at most {limit}: squash some of them")]
    TooManyLayers {
        /// Where the image came from.
        image: String,
        /// How many layers it has.
        layers: usize,
        /// What the engine can.
        limit: usize,
        /// Which engine.
        engine: &'static str,
    },
    /// A directory is no store of a kind that is known.
    #[error("`{0}` is no store of Docker, Podman or containerd")]
    NotAStore(PathBuf),
    /// A blob is not what the image's manifest says.
    #[error(
        "blob {blob} of {image} has another size or another digest than its manifest says: fetch the image again"
    )]
    Blob {
        /// Where the image came from.
        image: String,
        /// The digest that it should have.
        blob: Digest,
    },
    /// JSON could not be written.
    #[error("cannot write {what} as JSON")]
    Json {
        /// Which document.
        what: &'static str,
        /// What went wrong.
        source: serde_json::Error,
    },
}
