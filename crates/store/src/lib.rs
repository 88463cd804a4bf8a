//! Engine stores written as data: Docker's overlay2, Podman's overlay and containerd's image store.
//!
//! Layers are applied the way the engines apply them (whiteouts, tar-split), into a [`Sink`]: a root filesystem
//! directory or a tar stream. This crate never prints and never reads the environment.

mod rootfs;
mod sink;

pub use rootfs::{Rootfs, RootfsError};
pub use sink::directory::{DirectoryOptions, DirectorySink};
pub use sink::tar::{TarCompression, TarFile, TarSink};
pub use sink::{Sink, SinkError, TreeWriter, Written};
