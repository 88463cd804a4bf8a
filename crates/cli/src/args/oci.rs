//! The options of `vcontainer oci`.

mod build;
mod cache;
mod content;
mod index;
mod run;
mod tools;

use clap::{Args as ClapArgs, Subcommand};

pub use build::OciBuild;
pub use cache::{CacheList, CacheLookup, CachePrune, CacheSave, CacheVerify, OciCache, OciCacheCommand};
pub use content::{CacheArgs, CompressionArg, LayerArgs};
pub use index::{OciExtract, OciIndex, OciList};
pub use run::RunArgs;
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
    /// Build an image from a root filesystem, from packages, or both
    Build(Box<OciBuild>),
    /// Look after the layers that are kept for the next build
    Cache(OciCache),
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
