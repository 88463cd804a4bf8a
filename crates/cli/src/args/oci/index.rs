//! The options of `vcontainer oci index`, `list` and `extract`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::args::Format;

const EXAMPLES: &str = "\
Examples:
  One image for two architectures, from two builds:
    vcontainer oci index --output deploy myapp:1.0 \\
        aarch64/myapp-latest-oci x86_64/myapp-latest-oci

  See what is in it, and take one out again:
    vcontainer oci list deploy/myapp-1.0-oci
    vcontainer oci extract deploy/myapp-1.0-oci --arch aarch64 myapp-aarch64";

/// Options of `vcontainer oci index`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct OciIndex {
    /// The new image's name, with its tag if that is not `latest`
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,

    /// OCI layouts, as directories or archives: all images in them, each for another platform
    #[arg(value_name = "LAYOUT", required = true)]
    pub layouts: Vec<PathBuf>,

    /// List the platforms in index.json itself instead of an index that it names (skopeo reads one of them only)
    #[arg(long)]
    pub flat: bool,

    /// Write the image into this directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,

    /// Call the directory of the layout so, instead of NAME-TAG-oci, and make no link
    #[arg(long, value_name = "NAME")]
    pub layout_name: Option<String>,

    /// Tell errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `vcontainer oci list`.
#[derive(Debug, ClapArgs)]
pub struct OciList {
    /// An OCI layout: a directory or an archive
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `vcontainer oci extract`.
#[derive(Debug, ClapArgs)]
pub struct OciExtract {
    /// An OCI layout with images for several platforms: a directory or an archive
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,

    /// The new layout's name, with its tag if that is not `latest`
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,

    /// The architecture to take out, such as aarch64 or x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: String,

    /// Its variant, such as v7, if there are several
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,

    /// Which image, if there are several for it: a tag or a digest
    #[arg(long, value_name = "TAG")]
    pub select: Option<String>,

    /// Write the image into this directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,

    /// Tell errors only
    #[arg(short, long)]
    pub quiet: bool,
}
