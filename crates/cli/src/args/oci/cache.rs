//! The options of `vcontainer oci cache`.

use clap::{Args as ClapArgs, Subcommand};

use super::content::{CacheArgs, LayerArgs, limit};
use crate::args::Format;

const EXAMPLES: &str = "\
Examples:
  Before packages are installed: which layers are there already?
    vcontainer oci cache lookup --arch aarch64 --machine qemuarm64 \\
        --layer base:packages:base-files+busybox --package-version base-files=3.0.14 \\
        --package-version busybox=1.37.0 --layer-input base=0c3f8a91

  After somebody has installed the packages of a layer into rootfs:
    vcontainer oci cache save --arch aarch64 --machine qemuarm64 --installed base=rootfs \\
        --layer base:packages:base-files+busybox --package-version base-files=3.0.14 \\
        --package-version busybox=1.37.0 --layer-input base=0c3f8a91

  What is in it, and is it whole?
    vcontainer oci cache list
    vcontainer oci cache verify";

/// Options of `vcontainer oci cache`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct OciCache {
    /// What to do.
    #[command(subcommand)]
    pub command: OciCacheCommand,
}

/// The commands about the layer cache.
#[derive(Debug, Subcommand)]
pub enum OciCacheCommand {
    /// Tell which layers of an image are in the cache, before anything is installed
    Lookup(Box<CacheLookup>),
    /// Put the layers of an image into the cache, without making the image
    Save(Box<CacheSave>),
    /// List the layers in the cache, the one that was used last first
    List(CacheList),
    /// Remove layers that were not used for the longest time
    Prune(CachePrune),
    /// Read every layer in the cache and compare it with its digest
    Verify(CacheVerify),
}

/// Options of `vcontainer oci cache lookup`.
#[derive(Debug, ClapArgs)]
pub struct CacheLookup {
    /// Which layers.
    #[command(flatten)]
    pub layers: LayerArgs,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,

    /// Tell errors and warnings only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `vcontainer oci cache save`.
#[derive(Debug, ClapArgs)]
pub struct CacheSave {
    /// Which layers.
    #[command(flatten)]
    pub layers: LayerArgs,

    /// Tell errors and warnings only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `vcontainer oci cache list`.
#[derive(Debug, ClapArgs)]
pub struct CacheList {
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheArgs,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `vcontainer oci cache prune`.
#[derive(Debug, ClapArgs)]
pub struct CachePrune {
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheArgs,

    /// What may stay, such as 500M; 0 removes all
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    pub size: u64,
}

/// Options of `vcontainer oci cache verify`.
#[derive(Debug, ClapArgs)]
pub struct CacheVerify {
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheArgs,

    /// Remove what is damaged
    #[arg(long)]
    pub remove: bool,
}
