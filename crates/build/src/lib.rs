//! Builds OCI images from root filesystems: layers that are the same for the same input, an image over them, a layout.
//!
//! A [`Tree`] is read from a directory ([`scan`]) or from tar streams ([`Unpacker`]), compared with what lies below it
//! ([`diff::added`]), written as a layer ([`layer::write`]) and put into a layout ([`layout::LayoutWriter`]). [`build`] does
//! all of it. [`index::write`] makes one layout of several images.

pub mod archive;
mod build;
pub mod compress;
pub mod config;
pub mod definition;
pub mod diff;
mod error;
pub mod index;
pub mod layer;
pub mod layout;
pub mod scan;
mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

pub use build::{Built, BuiltLayer, Request, build};
pub use error::Error;
pub use tree::{Content, Kind, Link, Node, Stamp, Tree};
pub use unpack::Unpacker;
