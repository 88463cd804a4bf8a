//! The options of `vcontainer oci inspect`, `layers`, `diff` and `verify`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::args::Format;

/// Options of `vcontainer oci inspect`.
#[derive(Debug, ClapArgs)]
pub struct OciInspect {
    /// An OCI layout or another kind of image file
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,

    /// Show the image for this architecture only, such as aarch64 or x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `vcontainer oci layers`.
#[derive(Debug, ClapArgs)]
pub struct OciLayers {
    /// OCI layouts or other kinds of image files: all images in them
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,

    /// Take the images for this architecture only, such as aarch64 or x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,

    /// Write a page with a picture of it, too: one file that any browser shows, without network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Options of `vcontainer oci diff`.
#[derive(Debug, ClapArgs)]
pub struct OciDiff {
    /// An OCI layout or another kind of image file
    #[arg(value_name = "A")]
    pub a: PathBuf,

    /// What it is compared with
    #[arg(value_name = "B")]
    pub b: PathBuf,

    /// Which image, where there are several: that for this architecture, such as aarch64 or x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,

    /// Exit with status 1 if there is any difference
    #[arg(long)]
    pub exit_code: bool,

    /// The directory for temporary files
    #[arg(long, value_name = "DIR", env = "TMPDIR", default_value = "/var/tmp")]
    pub temp_dir: PathBuf,
}

/// Options of `vcontainer oci verify`.
#[derive(Debug, ClapArgs)]
pub struct OciVerify {
    /// OCI layouts, as directories or archives
    #[arg(value_name = "LAYOUT", required = true)]
    pub layouts: Vec<PathBuf>,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}
