//! Engine stores written as data: Docker's overlay2, Podman's overlay and containerd's image store.
//!
//! This crate owns how an image becomes a store. [`import()`] puts images into one, [`read_store`] says what is in one;
//! layers are applied the way the engines apply them (whiteouts, tar-split), into a [`Sink`]: a root filesystem
//! directory, which changes all at once ([`DirectorySink`]), or a tar stream ([`TarSink`]). What differs from the
//! engines on purpose is in `docs/formats/stores.md`.
//!
//! It must not know how images are asked for, which engine the target has or how it is configured, nor systemd. It
//! never prints and never reads the environment.

mod apply;
mod blob_stream;
mod bolt;
mod containerd;
mod crc64;
mod docker;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[allow(clippy::unwrap_used, clippy::panic)] // a property that does not hold is to be loud
pub mod fuzzing;
mod import;
#[cfg(test)]
mod import_tests;
mod layer_directory;
mod layers;
mod link;
mod lower;
mod podman;
mod rootfs;
mod sink;
mod store_dir;
mod tar_split;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
mod time;
mod tree;
mod view;
mod whiteout;

pub use apply::{AppliedLayer, ApplyError, ApplyOptions, ApplyProblem, Limits, apply};
pub use blob_stream::BlobFault;
pub use error::StoreError;
pub use import::{
    ImageReport, ImportOptions, ImportReport, LayerReport, Progress, StoreImage, StoreKind, StoreTarget,
    WrittenLayer, import,
};
pub use layer_directory::LayerDirectoryError;
pub use lower::LowerView;
pub use rootfs::{Rootfs, RootfsError};
pub use sink::directory::{DirectoryOptions, DirectorySink, Recovery};
pub use sink::tar::{TarCompression, TarSink};
pub use sink::{Sink, SinkError, TreeWriter, Written};
pub use tar_split::TarSplitFile;
pub use tree::{LayerTree, TreeFault};
pub use view::{ImageView, LayerView, StoreView, read_store};
pub use whiteout::settle;
