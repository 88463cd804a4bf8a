//! End-to-end tests: the tool as a user calls it, and real container engines as judges of what it wrote.
//!
//! This library is what those tests (and `cargo xtask`) stand on: Debian root filesystems that hold the engines, the
//! engines run inside them, images made for tests, and comparisons of file trees.

pub mod apt;
pub mod cache;
pub mod debian;
pub mod docker;
pub mod engine;
pub mod generated;
pub mod guest;
pub mod guest_root;
pub mod guide;
pub mod layout;
pub mod machine;
pub mod mount;
pub mod person;
pub mod podman;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod random;
pub mod registry;
pub mod tarball;
pub mod terminal;
pub mod tool;
pub mod tree;
pub mod trials;
pub mod units;
pub mod yocto;
