//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use vcontainer_image::{Digest, DocumentError, Platform};

use crate::fault::Fault;

/// Why an image was not fetched. Nothing has been written to its place then; what has been received stays in the cache.
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
    /// A registry does not give what it is asked for.
    #[error("cannot get {what} from `{place}`{}", times(*tries))]
    Registry {
        /// What was asked for.
        what: String,
        /// Registry and repository.
        place: String,
        /// How often.
        tries: u32,
        /// The last answer.
        source: Box<Fault>,
    },
    /// Without the network, and the cache hasn't it.
    #[error("{what} is not in the cache `{}`, and nothing may be fetched: fetch it once without --offline", cache.display())]
    Offline {
        /// What is missing.
        what: String,
        /// The cache.
        cache: PathBuf,
    },
    /// Without the network, and the cache has something else under its name.
    #[error(
        "{what} is damaged in the cache `{}`, and nothing may be fetched: fetch it once without --offline", cache.display()
    )]
    OfflineDamaged {
        /// What is damaged.
        what: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A document cannot be used.
    #[error("{what} of `{reference}` cannot be used")]
    Document {
        /// Which one.
        what: String,
        /// Of which image.
        reference: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Documents that contradict each other, or go beyond what any image has.
    #[error("`{reference}` cannot be used: {fault}")]
    Image {
        /// Which image.
        reference: String,
        /// What is wrong with it.
        fault: String,
    },
    /// There is no image for the platform.
    #[error("`{reference}` has no image for {wanted}, only for: {}", list(available))]
    Platform {
        /// Which image.
        reference: String,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<Platform>,
    },
    /// There are images for several platforms and none was asked for.
    #[error(
        "`{reference}` has images for several platforms, choose one with --arch (and --variant): {}",
        list(available)
    )]
    NoPlatform {
        /// Which image.
        reference: String,
        /// What there is.
        available: Vec<Platform>,
    },
    /// A blob that is no document.
    #[error(
        "`{}` has more than {limit} bytes, so it is neither manifest nor configuration: is the digest right?", path.display()
    )]
    NoDocument {
        /// The file in the cache.
        path: PathBuf,
        /// How many bytes a document may have.
        limit: u64,
    },
    /// A file of credentials that cannot be read as one.
    #[error("the credentials in `{}` cannot be used: {fault}", path.display())]
    AuthFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Credentials that only another program has.
    #[error(
        "the credentials for `{registry}` are kept by `docker-credential-{helper}` (so says `{}`), which is not asked: log \
         in with `skopeo login {registry}`, or give a file that holds them with --authfile", path.display()
    )]
    Helper {
        /// The registry.
        registry: String,
        /// The file that says so.
        path: PathBuf,
        /// The program's name.
        helper: String,
    },
    /// A certificate that cannot be read as one.
    #[error("`{}` holds no certificate that can be used: a CA is given in PEM form (-----BEGIN CERTIFICATE-----)", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The layout cannot be written.
    #[error("`{}` cannot be made", target.display())]
    Layout {
        /// Its place.
        target: PathBuf,
        /// What is wrong.
        source: Box<vcontainer_build::Error>,
    },
    /// The caller wants no more.
    #[error("given up")]
    GivenUp,
    /// A blob that was gone or damaged again after it had been fetched again.
    #[error("{what} ({digest}) does not stay in the cache `{}`: is the disk sound, and does nobody else write there?", cache.display())]
    Unstable {
        /// Which blob.
        what: String,
        /// Its digest.
        digest: Digest,
        /// The cache.
        cache: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

fn times(tries: u32) -> String {
    match tries {
        0 | 1 => String::new(),
        tries => format!(" ({tries} times in a row)"),
    }
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms
        .iter()
        .map(|platform| platform.to_string().escape_debug().to_string())
        .collect();
    names.join(", ")
}

/// Adds what was being done to which file.
pub(crate) trait OnPath<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> OnPath<T> for Result<T, E> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error::io(doing, path, error.into()))
    }
}
