//! What can be wrong with an image source.

use std::io;
use std::path::PathBuf;

use crate::compression::LayerTypeError;
use crate::digest::Digest;
use crate::entry::TreePathError;
use crate::layer::LayerError;
use crate::manifest::DocumentError;
use crate::platform::Platform;

/// Why an image could not be opened or read. Every message names the source and the part of it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system said no.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path holds nothing that is known as an image.
    #[error(
        "`{}` is not an image: {found}. Known are OCI layout directories (with index.json), OCI archives, `docker save` \
         archives and root filesystem tarballs (tar, tar.gz, tar.zst)", path.display()
    )]
    NotAnImage {
        /// The path given.
        path: PathBuf,
        /// What is there instead, as a clause.
        found: String,
    },
    /// An image, where only an OCI layout will do.
    #[error("`{}` is no OCI layout but {found}", path.display())]
    NotALayout {
        /// The path given.
        path: PathBuf,
        /// What is there instead, and what to do.
        found: &'static str,
    },
    /// An archive that cannot be read as one.
    #[error("cannot read the archive `{}`", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: ArchiveError,
    },
    /// A JSON document is malformed or of the wrong kind.
    #[error("cannot use the {what} of image `{origin}`")]
    Document {
        /// The image source.
        origin: String,
        /// Which document.
        what: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A JSON document is larger than any real one.
    #[error("the {what} of image `{origin}` has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The image source.
        origin: String,
        /// Which document.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A blob that a document refers to is not there.
    #[error("the {what} of image `{origin}` is missing ({name} is not there): copy or build the image again")]
    MissingBlob {
        /// The image source.
        origin: String,
        /// Which blob.
        what: String,
        /// The file or archive member that should be there.
        name: String,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error(
        "the {what} of image `{origin}` has {found} bytes instead of {expected}: it is truncated or damaged, copy or \
         build the image again"
    )]
    BlobSize {
        /// The image source.
        origin: String,
        /// Which blob.
        what: String,
        /// Bytes according to the descriptor.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A blob has another digest than its descriptor says.
    #[error(
        "the {what} of image `{origin}` has the wrong digest, its content is {found}: it is damaged, copy or build the \
         image again"
    )]
    BlobDigest {
        /// The image source.
        origin: String,
        /// Which blob.
        what: String,
        /// The digest of what is there.
        found: Digest,
    },
    /// No image for the wanted platform.
    #[error("image `{origin}` is not for {wanted}: it is for {}", list(available))]
    Platform {
        /// The image source.
        origin: String,
        /// What was asked for.
        wanted: Platform,
        /// What the source has.
        available: Vec<Platform>,
    },
    /// The index promises one platform and the configuration another.
    #[error(
        "image `{origin}` is marked as {marked} in its index, but its own configuration says {actual}: build the image again"
    )]
    ConfigPlatform {
        /// The image source.
        origin: String,
        /// According to the index.
        marked: Box<Platform>,
        /// According to the configuration.
        actual: Box<Platform>,
    },
    /// A root filesystem whose programs are for another processor.
    #[error(
        "root filesystem `{origin}` is not for {wanted}: its programs are for {found} (such as {program})"
    )]
    RootFsPlatform {
        /// The tarball.
        origin: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What its programs are for.
        found: String,
        /// One of them.
        program: String,
    },
    /// An index without a single image.
    #[error("image `{origin}` is empty: its index lists no image")]
    Empty {
        /// The image source.
        origin: String,
    },
    /// Several images would do.
    #[error("image `{origin}` holds several images for {platform}, name one of: {}", names.join(", "))]
    Ambiguous {
        /// The image source.
        origin: String,
        /// What was asked for.
        platform: Platform,
        /// By which each can be selected.
        names: Vec<String>,
    },
    /// None of the images has the name asked for.
    #[error("image `{origin}` holds nothing named `{wanted}`, only: {}", available.join(", "))]
    NoSuchName {
        /// The image source.
        origin: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// More of something than any real image has.
    #[error("image `{origin}` has more than {limit} {of}, which no real image has")]
    TooMany {
        /// The image source.
        origin: String,
        /// How many are allowed.
        limit: usize,
        /// Of what.
        of: &'static str,
    },
    /// The configuration lists another number of layers than the manifest.
    #[error(
        "image `{origin}` contradicts itself: its manifest has {layers} layers and its configuration {diff_ids}"
    )]
    LayerCount {
        /// The image source.
        origin: String,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer that this tool cannot use.
    #[error("cannot use layer {number} of image `{origin}` ({digest}, media type `{media_type}`)")]
    Layer {
        /// The image source.
        origin: String,
        /// Counted from 1 at the base.
        number: usize,
        /// The blob.
        digest: Digest,
        /// As the manifest says.
        media_type: String,
        /// Why.
        source: LayerTypeError,
    },
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a tar stream, or a damaged one.
    #[error("it is no valid tar archive")]
    Tar(#[from] LayerError),
    /// Ends in the middle.
    #[error("it ends in the middle of `{0}`: it is truncated, copy it again")]
    Truncated(String),
    /// The compressed stream is damaged.
    #[error("it cannot be decompressed: it is truncated or damaged, copy it again")]
    Inflate(#[source] io::Error),
    /// The file itself cannot be read.
    #[error("reading it failed")]
    Read(#[source] io::Error),
    /// A compression that is not supported.
    #[error(transparent)]
    Compression(#[from] LayerTypeError),
    /// A name in a document or a link that leaves the archive.
    #[error("it refers to a file outside of itself")]
    Name(#[from] TreePathError),
    /// More members than any image has.
    #[error("it has more than {0} members, which no image archive has")]
    TooManyMembers(usize),
    /// Decompresses to more than the limit.
    #[error("it decompresses to more than {0} bytes, the limit")]
    TooLarge(u64),
    /// A link that leads nowhere or in circles.
    #[error("its member `{0}` is a link that leads nowhere")]
    Link(String),
    /// The uncompressed copy could not be written.
    #[error("its uncompressed copy cannot be written to `{}`: free some space there or name another folder for it", folder.display())]
    Scratch {
        /// Where the copy goes.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    names.join(", ")
}
