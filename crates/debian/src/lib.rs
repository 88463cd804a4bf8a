//! Debian packages of any architecture and release, as an ordinary user: found and fetched by an apt of our own,
//! unpacked without running anything of theirs, merged into one tree, written as one tar stream.
//!
//! Nothing of the machine's own apt is touched, and no code of a package is run: maintainer scripts are never called.
//! What they would have made (alternatives, caches, users) is for the caller to add.

mod apt;
mod digest;
mod error;
mod feed;
pub mod host;
mod installed;
mod process;
pub mod tar;
mod tree;
mod unpack;

pub use apt::{Apt, Event, Fetched, Mirror, Package, Release, Solution, Sources};
pub use error::Error;
pub use installed::{Control, Installed, control};
pub use tree::{Content, Kind, Node, Tree};
pub use unpack::unpack;
