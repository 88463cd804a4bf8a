//! The options of `vcontainer oci build`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use vcontainer_build::config::Port;
use vcontainer_build::definition::Definition;

pub(super) const EXAMPLES: &str = "\
Examples:
  One layer, from a root filesystem:
    vcontainer oci build --arch aarch64 --rootfs rootfs --cmd /bin/sh myapp

  On top of another image, which lies as deploy/container-base-latest-oci:
    vcontainer oci build --arch aarch64 --output deploy --base container-base --rootfs rootfs myapp:1.0

  Layers of its own:
    vcontainer oci build --arch aarch64 --rootfs rootfs \\
        --layer base:directories:/bin+/etc+/lib+/usr --layer app:directories:/opt/myapp myapp

The image is the directory OUTPUT/NAME-TAG-oci, and OUTPUT/NAME-latest-oci leads to it.";

/// Options of `vcontainer oci build`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct OciBuild {
    /// The image's name, with its tag if that is not `latest`
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,

    /// The image's files: a directory or a tar file, plain or compressed
    #[arg(long, value_name = "PATH", help_heading = "Content")]
    pub rootfs: Option<PathBuf>,

    /// A layer, as name:type:content; items of the content are separated by `+` (may be repeated, lowest first)
    #[arg(long, value_name = "LAYER", help_heading = "Content")]
    pub layer: Vec<Definition>,

    /// Build upon this image: an absolute path, or the name of one in the output directory
    #[arg(long, value_name = "IMAGE", help_heading = "Content")]
    pub base: Option<String>,

    /// The tag of the base image that is given by name
    #[arg(long, value_name = "TAG", help_heading = "Content", default_value = "latest")]
    pub base_tag: String,

    /// The image's architecture, such as aarch64 or x86_64 [default: that of the base image]
    #[arg(long, value_name = "ARCH", help_heading = "Content", env = "VCONTAINER_ARCH")]
    pub arch: Option<String>,

    /// Write the image into this directory
    #[arg(long, value_name = "DIR", help_heading = "Output", default_value = ".")]
    pub output: PathBuf,

    /// Write the image as tar files too: NAME-TAG-oci.tar, and NAME-TAG-oci-dir.tar with all in a directory
    #[arg(long, help_heading = "Output")]
    pub tar: bool,

    /// How layers are compressed
    #[arg(long, value_name = "KIND", help_heading = "Output", default_value = "gzip")]
    pub compression: CompressionArg,

    /// How hard to compress: 1 to 9 for gzip, 1 to 19 for zstd [default: 6, 3]
    #[arg(long, value_name = "NUMBER", help_heading = "Output")]
    pub level: Option<i32>,

    /// Compress on so many threads; the result is the same [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", help_heading = "Output")]
    pub threads: Option<usize>,

    /// The directory for temporary files
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Output",
        env = "TMPDIR",
        default_value = "/var/tmp"
    )]
    pub temp_dir: PathBuf,

    /// The program that always runs; words are split as a shell does it
    #[arg(long, value_name = "WORDS", help_heading = "Configuration")]
    pub entrypoint: Option<String>,

    /// The command, or with an entrypoint its arguments, which `docker run IMAGE WORDS` replaces
    #[arg(long, value_name = "WORDS", help_heading = "Configuration")]
    pub cmd: Option<String>,

    /// A variable of the environment (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Configuration", value_parser = pair)]
    pub env: Vec<(String, String)>,

    /// A label (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Configuration", value_parser = pair)]
    pub label: Vec<(String, String)>,

    /// An annotation of the manifest (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Configuration", value_parser = pair)]
    pub annotation: Vec<(String, String)>,

    /// A port that it listens on, such as 80 or 53/udp (may be repeated)
    #[arg(long, value_name = "PORT", help_heading = "Configuration")]
    pub port: Vec<Port>,

    /// A directory that holds data (may be repeated)
    #[arg(long, value_name = "PATH", help_heading = "Configuration")]
    pub volume: Vec<String>,

    /// The user that programs run as: `user[:group]`, by name or number
    #[arg(long, value_name = "USER", help_heading = "Configuration")]
    pub user: Option<String>,

    /// Where programs start
    #[arg(long, value_name = "PATH", help_heading = "Configuration")]
    pub working_dir: Option<String>,

    /// The signal that tells the program to end, such as SIGTERM
    #[arg(long, value_name = "SIGNAL", help_heading = "Configuration")]
    pub stop_signal: Option<String>,

    /// Who made it
    #[arg(long, value_name = "TEXT", help_heading = "Configuration")]
    pub author: Option<String>,

    /// Tell errors only
    #[arg(short, long)]
    pub quiet: bool,
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

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}
