//! Builds OCI images from root filesystems: layers that are the same for the same input, an image over them, a layout.
//!
//! A [`Tree`] is read from a directory ([`scan`]) or from tar streams ([`Unpacker`]), compared with what lies below it
//! ([`diff::added`]), written as a layer ([`layer::write`]) and put into a layout ([`layout::LayoutWriter`]). [`build`] does
//! all of it. [`index::write`] makes one layout of several images.

pub mod archive;
mod below;
mod build;
pub mod cache;
pub mod compress;
pub mod config;
mod content;
pub mod definition;
pub mod diff;
mod error;
pub mod file;
pub mod index;
pub mod key;
pub mod layer;
pub mod layout;
pub mod lookup;
mod offer;
mod packages;
mod request;
mod rootfs;
pub mod scan;
mod staging;
mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

pub use build::{Built, BuiltLayer, build};
pub use error::Error;
pub use packages::debian_architecture;
pub use request::{Event, Request};
pub use rootfs::{RootfsError, RootfsFault, rootfs};
pub use staging::is_at;
pub use tree::{Content, Kind, Link, Node, Stamp, Tree};
pub use unpack::Unpacker;
