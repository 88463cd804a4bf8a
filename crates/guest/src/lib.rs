//! The files that a guest boots from: kernel, initramfs, root filesystem, manifest. They are made from Debian packages
//! ([`build()`]) and found again ([`GuestFiles`]).

mod arch;
mod build;
mod engine;
mod files;
mod initramfs;
pub mod manifest;
mod modules;
mod pattern;
mod recipe;
mod rootfs;

pub use arch::{Arch, UnknownArch};
pub use build::{Build, BuildError, BuildEvent, build};
pub use engine::{Engine, UnknownEngine};
pub use files::{GuestFiles, INITRAMFS, MANIFEST, OpenError, ROOTFS};
pub use manifest::Manifest;
pub use modules::ModuleError;
pub use recipe::RecipeError;
pub use rootfs::RootfsError;
