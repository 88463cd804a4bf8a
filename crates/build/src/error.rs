//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image was not built. Nothing has been written to its place then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{doing} `{}` failed", path.display())]
    Io {
        /// What was being done to it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A root filesystem that is none.
    #[error("`{}` is no directory: a root filesystem is a directory or a tar file", path.display())]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// A tar stream that cannot be used.
    #[error("{origin}: {fault}")]
    Stream {
        /// Which one.
        origin: String,
        /// What is wrong.
        fault: String,
    },
    /// The definition of an image or of a layer makes no sense.
    #[error("{what}: {fault}")]
    Definition {
        /// Which one, as the user wrote it.
        what: String,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// A layer cache that cannot be used.
    #[error("the layer cache `{}` cannot be used: mend it, or name another (--layer-cache) or none (--no-layer-cache)", directory.display())]
    Cache {
        /// The cache.
        directory: PathBuf,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Somebody wanted the work to end.
    #[error("the work was given up")]
    GivenUp,
    /// Something in a layer cannot be used.
    #[error("layer `{definition}` cannot be made")]
    Layer {
        /// The layer, as the user wrote it.
        definition: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Packages that cannot be had.
    #[error("the packages of layer `{definition}` cannot be had")]
    Packages {
        /// The layer, as the user wrote it.
        definition: String,
        /// What is wrong.
        source: Box<vcontainer_debian::Error>,
    },
    /// A base image that cannot be used.
    #[error("the base image cannot be used")]
    Base(#[source] Box<vcontainer_image::SourceError>),
    /// An image that cannot be copied.
    #[error(transparent)]
    Image(Box<vcontainer_image::SourceError>),
}

impl From<vcontainer_image::SourceError> for Error {
    fn from(error: vcontainer_image::SourceError) -> Self {
        Self::Base(Box::new(error))
    }
}

impl Error {
    /// Whether somebody may not do what was to be done.
    pub(crate) fn is_permission(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Cache { source, .. } | Self::Layer { source, .. } => source.is_permission(),
            _ => false,
        }
    }

    /// Names the layer, unless the error does it.
    pub(crate) fn in_layer(self, definition: impl ToString) -> Self {
        match self {
            Self::Io { .. } | Self::NotADirectory { .. } | Self::Stream { .. } => Self::Layer {
                definition: definition.to_string(),
                source: Box::new(self),
            },
            other => other,
        }
    }

    /// An error in what the user wrote.
    pub(crate) fn definition(what: impl Into<String>, fault: impl Into<String>) -> Self {
        Self::Definition {
            what: what.into(),
            fault: fault.into(),
        }
    }
}

/// Adds what was being done to which file.
pub(crate) trait OnPath<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> OnPath<T> for Result<T, E> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error::Io {
            doing,
            path: path.into(),
            source: error.into(),
        })
    }
}
