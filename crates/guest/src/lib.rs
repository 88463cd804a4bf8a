//! The files that a guest boots from: kernel, initramfs, root filesystem and their manifest.
