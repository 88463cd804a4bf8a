//! The options that decide what the layers of an image are, and under which keys they lie in the cache.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use vcontainer_build::definition::Definition;

use crate::args::size;

/// What the layers of an image are.
#[derive(Debug, Clone, ClapArgs)]
pub struct LayerArgs {
    /// Read the image's description from a file (docs/formats/image-toml.md); options go before it
    #[arg(long, value_name = "FILE", help_heading = "Content")]
    pub config: Option<PathBuf>,

    /// The image's files: a directory or a tar file, plain or compressed
    #[arg(long, value_name = "PATH", help_heading = "Content")]
    pub rootfs: Option<PathBuf>,

    /// A layer, as name:type:content; items of the content are separated by `+` (may be repeated, lowest first)
    #[arg(long, value_name = "LAYER", help_heading = "Content")]
    pub layer: Vec<Definition>,

    /// Build upon this image: an absolute path, or the name of one in the output directory
    #[arg(long, value_name = "IMAGE", help_heading = "Content")]
    pub base: Option<String>,

    /// The tag of the base image that is given by name [default: latest]
    #[arg(long, value_name = "TAG", help_heading = "Content")]
    pub base_tag: Option<String>,

    /// The image's architecture, such as aarch64 or x86_64 [default: that of the base image]
    #[arg(long, value_name = "ARCH", help_heading = "Content", env = "VCONTAINER_ARCH")]
    pub arch: Option<String>,

    /// The variant of the architecture, such as v7 for arm
    #[arg(long, value_name = "VARIANT", help_heading = "Content")]
    pub variant: Option<String>,

    /// Take packages from this release of Debian, such as trixie
    #[arg(long, value_name = "RELEASE", help_heading = "Packages")]
    pub suite: Option<String>,

    /// Take packages from this directory with .deb files in it or below (may be repeated)
    #[arg(long, value_name = "DIR", help_heading = "Packages")]
    pub feed: Vec<PathBuf>,

    /// Take Debian packages from this mirror; where it lacks the release, from that of this machine's apt
    #[arg(
        long,
        value_name = "ADDRESS",
        help_heading = "Packages",
        env = "VCONTAINER_MIRROR"
    )]
    pub mirror: Option<String>,

    /// Check Debian packages with the keys of this file
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Packages",
        default_value = "/usr/share/keyrings/debian-archive-keyring.gpg"
    )]
    pub keyring: PathBuf,

    /// Keep downloaded packages in this directory [default: ~/.cache/vcontainer]
    #[arg(long, value_name = "DIR", help_heading = "Packages")]
    pub package_cache: Option<PathBuf>,

    /// Fetch the mirror's lists of packages again, although they are younger than an hour
    #[arg(long, help_heading = "Packages")]
    pub refresh: bool,

    /// Another package manager has installed the packages of a layer: this is the root filesystem after it
    #[arg(long, value_name = "LAYER=DIR", help_heading = "Packages", value_parser = named)]
    pub installed: Vec<(String, PathBuf)>,

    /// Compress layers so [default: gzip]
    #[arg(long, value_name = "KIND", help_heading = "Output")]
    pub compression: Option<CompressionArg>,

    /// How hard to compress: 1 to 9 for gzip, 1 to 19 for zstd [default: 3]
    #[arg(long, value_name = "NUMBER", help_heading = "Output")]
    pub level: Option<i32>,

    /// Compress on so many threads; the result is the same [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", help_heading = "Output")]
    pub threads: Option<usize>,

    /// Write the image into this directory
    #[arg(long, value_name = "DIR", help_heading = "Output", default_value = ".")]
    pub output: PathBuf,

    /// The directory for temporary files
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Output",
        env = "TMPDIR",
        default_value = "/var/tmp"
    )]
    pub temp_dir: PathBuf,

    /// Where layers are kept for the next time.
    #[command(flatten)]
    pub cache: CacheArgs,

    /// Make every layer anew, and keep none
    #[arg(long, help_heading = "Layer cache", conflicts_with = "layer_cache")]
    pub no_layer_cache: bool,

    /// The entries that were not used for the longest time go when all take more than this; 0 for no limit
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Layer cache",
        value_parser = limit,
        default_value = "10G"
    )]
    pub layer_cache_limit: u64,

    /// The machine that packages are for (Yocto's MACHINE): layers for others have other keys
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Layer cache",
        default_value = "",
        hide_default_value = true
    )]
    pub machine: String,

    /// The packages' architecture (Yocto's TUNE_PKGARCH): layers for others have other keys
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Layer cache",
        default_value = "",
        hide_default_value = true
    )]
    pub tune: String,

    /// The version of a package that another package manager installs (may be repeated)
    #[arg(long, value_name = "PACKAGE=VERSION", help_heading = "Layer cache", value_parser = pair)]
    pub package_version: Vec<(String, String)>,

    /// What else a layer depends on, such as the hash of a task: with another text it has another key (may be repeated)
    #[arg(long, value_name = "LAYER=TEXT", help_heading = "Layer cache", value_parser = pair)]
    pub layer_input: Vec<(String, String)>,

    /// Keep this file of another package manager with a layer: its state after the layer
    #[arg(long, value_name = "LAYER=FILE", help_heading = "Layer cache", value_parser = named)]
    pub layer_state: Vec<(String, PathBuf)>,
}

/// Which cache.
#[derive(Debug, Clone, ClapArgs)]
pub struct CacheArgs {
    /// Keep finished layers in this directory [default: that of VCONTAINER_LAYER_CACHE, else
    /// ~/.cache/vcontainer/oci-layer-cache]
    #[arg(long, value_name = "DIR", help_heading = "Layer cache")]
    pub layer_cache: Option<PathBuf>,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// For every engine.
    Gzip,
    /// Smaller, and faster to unpack; old engines cannot read it.
    Zstd,
    /// For local use.
    None,
}

/// A size, or 0 for none.
pub(super) fn limit(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        text => size(text),
    }
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.into(), path.into())),
        _ => Err("write LAYER=PATH".into()),
    }
}
