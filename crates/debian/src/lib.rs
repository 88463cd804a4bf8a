//! Debian packages of any architecture and release, as an ordinary user: found and fetched by an apt of our own,
//! unpacked without running anything of theirs, merged into one tree, written as one tar stream.
//!
//! Nothing of the machine's own apt is touched, and no code of a package is run: maintainer scripts are never called.
//! What they would have made (alternatives, caches, users) is for the caller to add.

mod apt;
mod error;
pub mod host;
mod process;
pub mod tar;
mod tree;
mod unpack;

pub use apt::{Event, Fetched, Mirror, Package, Request, fetch};
pub use error::Error;
pub use tree::{Content, Kind, Node, Tree};
pub use unpack::unpack;
