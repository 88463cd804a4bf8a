//! Images and where they come from: [`open`] finds out what lies at a path and gives the one image for a platform.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::compression::Compression;
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest};
use crate::entry::Timestamp;
use crate::error::SourceError;
use crate::layout::Missing;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::rootfs_tarball::RootFsTarball;
use crate::tree::Tree;
use crate::{archive, blob::Blob, docker_archive, layout};

/// Layers of one image.
const MAX_LAYERS: usize = 1000;

/// A JSON document by its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// The bytes as they were found, never written anew.
    pub bytes: Vec<u8>,
}

impl Document {
    /// A document of these bytes.
    #[must_use]
    pub fn new(media_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.into(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

/// One image for one platform. Only its JSON has been read (and verified); its layers are opened one by one.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where it came from, for messages.
    pub origin: String,
    /// What it is for: the entry of the index, else its configuration.
    pub platform: Platform,
    /// Its manifest; made up over the layers as they lie there for `docker save` archives of the old form and for root
    /// filesystem tarballs, which have none.
    pub manifest: Document,
    /// The index blob that it was chosen from. `None` when there is none, also when the entry file of a layout itself
    /// lists the platforms, because that file is no blob that a registry knows.
    pub index: Option<Document>,
    /// Its configuration.
    pub config: Document,
    /// What the configuration says.
    pub config_view: ImageConfig,
    /// Its layers, base first: as many as the configuration has diff IDs, in the same order.
    pub layers: Vec<LayerSource>,
    /// The full names that the source itself gives to this image, sorted.
    pub names: Vec<Reference>,
    /// What the source calls it, as written there: bare tags as well as full names, sorted.
    pub tags: Vec<String>,
}

/// A layer of an image: a compressed or plain tar stream at a known place.
#[derive(Debug, Clone)]
pub struct LayerSource {
    /// The digest of the blob as it lies there, not verified yet.
    pub digest: Digest,
    /// The size of the blob in bytes, compared with what is there.
    pub size: u64,
    /// The media type according to the manifest.
    pub media_type: String,
    /// The digest of the uncompressed stream, not verified yet.
    pub diff_id: DiffId,
    /// How the blob is compressed, according to its first bytes.
    pub compression: Compression,
    /// The image source, for messages.
    origin: String,
    blob: Blob,
}

impl LayerSource {
    /// The raw bytes of the blob from the start. Whoever reads them verifies size, digest and diff ID.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, SourceError> {
        self.blob.open().map_err(|source| SourceError::Io {
            doing: "open a layer of",
            path: PathBuf::from(&self.origin),
            source,
        })
    }

    /// The image source that the layer belongs to, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A layer blob in a file of its own, outside of any image source.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn from_file(
        path: &Path,
        digest: Digest,
        diff_id: DiffId,
        compression: Compression,
    ) -> Result<Self, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|source| SourceError::Io {
            doing: "open the layer",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(
            &path.display().to_string(),
            Blob::file(path.to_owned(), metadata.len()),
            digest,
            compression.oci_media_type(),
            diff_id,
            compression,
        ))
    }

    pub(crate) fn new(
        origin: &str,
        blob: Blob,
        digest: Digest,
        media_type: &str,
        diff_id: DiffId,
        compression: Compression,
    ) -> Self {
        Self {
            digest,
            size: blob.size,
            media_type: media_type.to_owned(),
            diff_id,
            compression,
            origin: origin.to_owned(),
            blob,
        }
    }
}

/// What to take from a source, and how much it may cost.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The platform of the target.
    pub platform: Platform,
    /// Which image, when a source holds several: a tag, a name, or the digest of a manifest or an index.
    pub select: Option<String>,
    /// The folder for the uncompressed copy of a compressed image archive (without a name, gone when the image is
    /// dropped). `None` is `/var/tmp`.
    pub scratch: Option<PathBuf>,
    /// The creation time in the configuration that is made up for a root filesystem tarball.
    pub created: Timestamp,
    /// Bounds against hostile sources.
    pub limits: SourceLimits,
}

impl OpenOptions {
    /// Options for a target of `platform`, everything else as usual.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            select: None,
            scratch: None,
            created: Timestamp::default(),
            limits: SourceLimits::default(),
        }
    }
}

/// Bounds against hostile sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLimits {
    /// Largest JSON document in bytes.
    pub document_bytes: u64,
    /// Most members of an image archive. A root filesystem tarball may have any number.
    pub archive_members: usize,
    /// Most bytes that a compressed archive may decompress to.
    pub inflated_bytes: u64,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            document_bytes: 16 << 20,
            archive_members: 100_000,
            inflated_bytes: 1 << 40,
        }
    }
}

/// Opens the image at `path` that fits `options`. What lies there is found out from its content, not from its name.
///
/// Every JSON document on the way to the image is verified by size and digest; layers must be there in full size. An
/// archive that is compressed as a whole is decompressed here, and a root filesystem tarball is read through once for
/// its digests.
///
/// # Errors
/// What is no image, has none for the platform, or is damaged: see [`SourceError`].
pub fn open(path: &Path, options: &OpenOptions) -> Result<Image, SourceError> {
    match find_out(path, options)? {
        Source::Layout(tree) => layout::open(&tree, options),
        Source::DockerArchive(tree) => docker_archive::open(&tree, options),
        Source::RootFs(tarball) => tarball.image(options),
    }
}

/// Every image at `path`, of every platform and name, in the order of the source; those whose manifest is not there
/// (an archive may hold some platforms of an index only) are left out.
///
/// Of `options`, `select` has no effect, and `platform` none but for a root filesystem tarball, which has none itself.
///
/// # Errors
/// As [`open`].
pub fn list(path: &Path, options: &OpenOptions) -> Result<Vec<Image>, SourceError> {
    match find_out(path, options)? {
        Source::Layout(tree) => layout::list(&tree, options, Missing::LeftOut),
        Source::DockerArchive(tree) => docker_archive::list(&tree, options),
        Source::RootFs(tarball) => Ok(vec![tarball.image(options)?]),
    }
}

/// Every image of an OCI layout, as [`list`]; nothing else will do.
///
/// # Errors
/// As [`open`], and for other kinds of source.
pub fn list_layout(path: &Path, options: &OpenOptions) -> Result<Vec<Image>, SourceError> {
    layout::list(&layout_tree(path, options)?, options, Missing::LeftOut)
}

/// As [`list_layout`], but a manifest that an index names and is not there is an error.
///
/// # Errors
/// As [`list_layout`], and when something is missing.
pub fn list_whole_layout(path: &Path, options: &OpenOptions) -> Result<Vec<Image>, SourceError> {
    layout::list(&layout_tree(path, options)?, options, Missing::Error)
}

/// The files of an OCI layout, a directory or an archive; other kinds of source are an error.
pub(crate) fn layout_tree(path: &Path, options: &OpenOptions) -> Result<Tree, SourceError> {
    let found = match find_out(path, options)? {
        Source::Layout(tree) => return Ok(tree),
        Source::DockerArchive(_) => "a `docker save` archive: copy it with `skopeo copy` to `oci:`",
        Source::RootFs(_) => "a root filesystem: make an image of it with `vcontainer oci build`",
    };
    Err(SourceError::NotALayout {
        path: path.to_owned(),
        found,
    })
}

/// A layer each in manifest and configuration, and not beyond reason: engines take 125 or so.
pub(crate) fn check_layer_count(tree: &Tree, layers: usize, diff_ids: usize) -> Result<(), SourceError> {
    let origin = tree.origin.clone();
    if layers != diff_ids {
        return Err(SourceError::LayerCount {
            origin,
            layers,
            diff_ids,
        });
    }
    if layers > MAX_LAYERS {
        return Err(SourceError::TooMany {
            origin,
            limit: MAX_LAYERS,
            of: "layers",
        });
    }
    Ok(())
}

/// What lies at a path.
enum Source {
    /// An OCI layout, as a directory or in an archive.
    Layout(Tree),
    /// `docker save` without an OCI layout in it.
    DockerArchive(Tree),
    /// A root filesystem.
    RootFs(RootFsTarball),
}

fn find_out(path: &Path, options: &OpenOptions) -> Result<Source, SourceError> {
    let metadata = std::fs::metadata(path).map_err(|source| SourceError::Io {
        doing: "open image",
        path: path.to_owned(),
        source,
    })?;
    let not_an_image = |found: &str| SourceError::NotAnImage {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    if metadata.is_file() {
        return Ok(match archive::open(path, options)? {
            archive::Content::RootFs(tarball) => Source::RootFs(tarball),
            archive::Content::Image(tree) if tree.find("index.json")?.is_some() => Source::Layout(tree),
            archive::Content::Image(tree) => Source::DockerArchive(tree),
        });
    }
    if !metadata.is_dir() {
        return Err(not_an_image("it is neither a file nor a directory"));
    }
    let tree = Tree::directory(path);
    if tree.find("index.json")?.is_some() {
        return Ok(Source::Layout(tree));
    }
    Err(not_an_image(if tree.find("manifest.json")?.is_some() {
        "it is a directory with a manifest.json but without index.json (a `dir:` copy, or `docker save` unpacked): copy \
         the image with `skopeo copy` to `oci:`, or give the archive itself"
    } else if tree.find("oci-layout")?.is_some() {
        "it is a directory with an oci-layout file but without index.json"
    } else {
        "it is a directory without index.json"
    }))
}
