//! The options of `vcontainer oci build`.

use clap::Args as ClapArgs;

use super::content::LayerArgs;
use super::run::RunArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  One layer, from a root filesystem:
    vcontainer oci build --arch aarch64 --rootfs rootfs --cmd /bin/sh myapp

  On top of another image, which lies as deploy/container-base-latest-oci:
    vcontainer oci build --arch aarch64 --output deploy --base container-base --rootfs rootfs myapp:1.0

  Layers of its own:
    vcontainer oci build --arch aarch64 --rootfs rootfs \\
        --layer base:directories:/bin+/etc+/lib+/usr --layer app:directories:/opt/myapp myapp

  Layers of Debian packages and of a root filesystem:
    vcontainer oci build --arch aarch64 --suite trixie --rootfs rootfs \\
        --layer base:packages:base-files+netbase --layer shell:packages:busybox \\
        --layer app:directories:/opt/myapp myapp

The image is the directory OUTPUT/NAME-TAG-oci, and OUTPUT/NAME-latest-oci leads to it.";

/// Options of `vcontainer oci build`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct OciBuild {
    /// The image's name, with its tag if that is not `latest`
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,

    /// What its layers are.
    #[command(flatten)]
    pub layers: LayerArgs,

    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,

    /// Write the image as tar files too: NAME-TAG-oci.tar, and NAME-TAG-oci-dir.tar with all in a directory
    #[arg(long, help_heading = "Output")]
    pub tar: bool,

    /// The directory with the image is called so; NAME-TAG-oci is a link to it
    #[arg(long, value_name = "DIRECTORY", help_heading = "Output")]
    pub layout_name: Option<String>,

    /// Tell errors and warnings only
    #[arg(short, long)]
    pub quiet: bool,
}
