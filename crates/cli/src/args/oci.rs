//! The options of `vcontainer oci`.

mod build;

use clap::{Args as ClapArgs, Subcommand};

pub use build::{CompressionArg, OciBuild};

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
}
