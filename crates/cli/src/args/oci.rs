//! The options of `vcontainer oci`.

mod build;
mod index;

use clap::{Args as ClapArgs, Subcommand};

pub use build::{CompressionArg, OciBuild};
pub use index::{OciExtract, OciIndex, OciList};

/// Options of `vcontainer oci`.
#[derive(Debug, ClapArgs)]
#[command(after_help = build::EXAMPLES)]
pub struct Oci {
    /// What to do.
    #[command(subcommand)]
    pub command: OciCommand,
}

/// The commands about OCI images.
#[derive(Debug, Subcommand)]
pub enum OciCommand {
    /// Build an image from a root filesystem
    Build(Box<OciBuild>),
    /// Make one image of several, each for another platform
    Index(OciIndex),
    /// List the images of a layout with their platforms
    List(OciList),
    /// Take the image of one platform out of a layout
    Extract(OciExtract),
}
