//! Container images as data: digests, references, platforms, manifests and configurations, the places they come
//! from (OCI layouts, archives, `docker save` files, root filesystem tarballs) and the layers inside them.
//!
//! This crate reads and verifies; it never writes an engine's store, never prints, never reads the environment and
//! never opens a network connection.

mod digest;
mod entry;
mod layer;
mod tar_header;

pub use digest::{ChainId, DiffId, Digest, DigestError, HashingReader};
pub use entry::{EntryKind, LayerEntry, Meta, Timestamp, TreePath, TreePathError, Xattr};
pub use layer::{Content, EntryFault, LayerError, LayerItem, LayerReader};
pub use tar_header::HeaderFault;
