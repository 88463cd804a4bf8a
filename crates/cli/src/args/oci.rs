//! The options of `vcontainer oci`.

mod build;
mod index;
mod tools;

use clap::{Args as ClapArgs, Subcommand};

pub use build::{CompressionArg, OciBuild};
pub use index::{OciExtract, OciIndex, OciList};
pub use tools::{OciDiff, OciInspect, OciLayers, OciVerify};

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
    /// Show what an image is: configuration, annotations, how it was made
    Inspect(OciInspect),
    /// Show the layers of images, which of them are shared and what that saves
    Layers(OciLayers),
    /// Show how two images differ: settings, layers, files
    Diff(OciDiff),
    /// Look for faults: every blob, every document, every layer
    Verify(OciVerify),
}
