//! What can go wrong.

use vcontainer_image::{Digest, DocumentError, LayerError};

/// Why images cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source that cannot be opened.
    #[error(transparent)]
    Source(#[from] Box<vcontainer_image::SourceError>),
    /// A layer that is not what its digest says, or no layer.
    #[error("{origin}: layer {digest} cannot be read: `vcontainer oci verify` tells all that is wrong")]
    Layer {
        /// The image source.
        origin: String,
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: Box<LayerFault>,
    },
    /// A manifest that cannot be read.
    #[error("{origin}: the manifest cannot be read")]
    Manifest {
        /// The image source.
        origin: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// The file systems of images cannot be made.
    #[error(transparent)]
    Files(#[from] vcontainer_build::Error),
    /// A file of an image cannot be read back.
    #[error("reading the content of `{path}` of {origin} failed")]
    Content {
        /// The image source.
        origin: String,
        /// The file.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
}

/// What is wrong with one layer. The texts stand alone.
#[derive(Debug, thiserror::Error)]
pub enum LayerFault {
    /// It cannot be read at all.
    #[error("it cannot be opened: {0}")]
    Open(String),
    /// Reading fails within.
    #[error("reading it failed: it is damaged or truncated ({0})")]
    Read(#[from] std::io::Error),
    /// No tar stream, or one with a fault.
    #[error("it is no valid tar stream: {0}")]
    Tar(#[from] LayerError),
    /// It makes no sense over the layers below.
    #[error("it cannot be applied: {0}")]
    Apply(String),
    /// Its bytes are others than they should be.
    #[error("its content is {found}: it is damaged")]
    Digest {
        /// What is there.
        found: Digest,
    },
    /// It is of another size than its descriptor says.
    #[error("it has {found} bytes, and what refers to it says {expected}")]
    Size {
        /// Bytes there.
        found: u64,
        /// Bytes in the descriptor.
        expected: u64,
    },
    /// Its uncompressed stream is another than the configuration says.
    #[error("uncompressed it is {found}, and the configuration says {expected}")]
    DiffId {
        /// What is there.
        found: Digest,
        /// According to the configuration.
        expected: Digest,
    },
}

/// An error with what caused it, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat what caused them.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
