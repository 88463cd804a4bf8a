//! The files that a guest boots from: kernel, initramfs, root filesystem, manifest.

mod arch;
mod engine;
mod files;
pub mod manifest;

pub use arch::{Arch, UnknownArch};
pub use engine::{Engine, UnknownEngine};
pub use files::{GuestFiles, INITRAMFS, MANIFEST, OpenError, ROOTFS};
pub use manifest::Manifest;
