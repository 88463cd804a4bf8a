//! The files that a guest boots from: kernel, initramfs, root filesystem, manifest. They are made from Debian packages
//! ([`build()`]) or from a root filesystem and a kernel that are there ([`pack()`]), and found again ([`GuestFiles`]).

mod arch;
mod build;
mod elf;
mod engine;
mod error;
mod files;
mod initramfs;
mod kernel;
pub mod manifest;
mod modules;
mod needs;
mod output;
mod pack;
mod pattern;
mod recipe;
mod root;
mod rootfs;

pub use arch::{Arch, UnknownArch};
pub use build::{Build, BuildEvent, build};
pub use engine::{Engine, UnknownEngine};
pub use error::BuildError;
pub use files::{GuestFiles, INITRAMFS, MANIFEST, OpenError, ROOTFS};
pub use manifest::Manifest;
pub use modules::ModuleError;
pub use needs::Lacks;
pub use pack::{Pack, pack};
pub use recipe::RecipeError;
pub use rootfs::RootfsError;
