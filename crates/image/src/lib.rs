//! Container images as data: digests, references, platforms, manifests and configurations, the places they come
//! from (OCI layouts, archives, `docker save` files, root filesystem tarballs) and the layers inside them.
//!
//! This crate owns what an image *is*. [`open`] gives the one image for a platform, its documents byte for byte and
//! verified; [`LayerReader`] goes through a layer's tar stream. Every byte that it reads is taken to be hostile.
//!
//! It must not know engines, their stores or the target. It never writes an image, never prints, never reads the
//! environment and never opens a network connection.

mod archive;
mod blob;
mod compression;
mod config;
mod decompress;
mod digest;
mod docker_archive;
mod elf;
mod entry;
mod error;
mod layer;
mod layout;
mod manifest;
mod platform;
mod raw_layout;
mod reference;
mod rootfs_tarball;
mod select;
mod source;
mod tar_header;
mod tree;

pub use compression::{Compression, LayerTypeError};
pub use config::{History, ImageConfig, RootFs, RunConfig};
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher, HashingReader};
pub use docker_archive::{SavedImage, parse_saved_images};
pub use entry::{EntryKind, LayerEntry, Meta, Timestamp, TreePath, TreePathError, Xattr};
pub use error::{ArchiveError, SourceError};
pub use layer::{Content, EntryFault, LayerError, LayerItem, LayerReader};
pub use manifest::{
    DOCKER_CONFIG, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Descriptor, DescriptorPlatform, DocumentError,
    INDEX_DIGEST, Index, Manifest, ManifestOrIndex, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
    parse_manifest_or_index,
};
pub use platform::{Platform, PlatformError};
pub use raw_layout::{RawFile, RawLayout};
pub use reference::{Reference, ReferenceError};
pub use source::{
    Document, Image, LayerSource, OpenOptions, SourceLimits, list, list_layout, list_whole_layout, open,
};
pub use tar_header::HeaderFault;
