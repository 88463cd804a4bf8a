//! The files that a guest boots from: kernel, initramfs, root filesystem and their manifest.

mod arch;
mod engine;

pub use arch::{Arch, UnknownArch};
pub use engine::{Engine, UnknownEngine};
