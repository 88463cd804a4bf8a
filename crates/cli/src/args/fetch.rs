//! The options of `vcontainer fetch`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use vcontainer_fetch::place::Mirror;

const EXAMPLES: &str = "\
Examples:
  See which digest a tag has now (an error that shows the line for a recipe):
    vcontainer fetch docker.io/library/redis:7

  Fetch that for a target, and bundle it:
    vcontainer fetch docker.io/library/redis:7@sha256:DIGEST --arch aarch64 --output deploy
    vcontainer bundle --rootfs rootfs --image docker.io/library/redis:7=deploy/redis-latest-oci \\
        docker.io/library/redis:7:docker:autostart

  From a registry of your own, with its own CA, and a mirror before it:
    vcontainer fetch --ca ca.crt --mirror registry.example=mirror.example:5000/copy \\
        --arch aarch64 registry.example/team/app:1.0@sha256:DIGEST

Credentials are those of skopeo, podman and docker: `skopeo login registry.example` is enough.
http_proxy, https_proxy, no_proxy, SSL_CERT_FILE and DOCKER_CONFIG mean what they mean elsewhere.
docs/guide/fetch.md has the rest.";

/// Options of `vcontainer fetch`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct Fetch {
    /// The image, pinned by the digest of its index or of its manifest
    #[arg(value_name = "REFERENCE@sha256:DIGEST")]
    pub reference: String,

    /// The target's architecture, such as aarch64 or x86_64; needed when the image is for several
    #[arg(long, value_name = "ARCH", env = "VCONTAINER_ARCH", help_heading = "What")]
    pub arch: Option<String>,

    /// Its variant, such as v7
    #[arg(long, value_name = "VARIANT", requires = "arch", help_heading = "What")]
    pub variant: Option<String>,

    /// Write the image into this directory
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Output")]
    pub output: PathBuf,

    /// The layout's name and tag: NAME-TAG-oci, with a link NAME-latest-oci [default: those of the reference]
    #[arg(long, value_name = "NAME[:TAG]", help_heading = "Output")]
    pub name: Option<String>,

    /// Call the directory of the layout so, instead of NAME-TAG-oci, and make no link
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub layout_name: Option<String>,

    /// Bring the image into the cache only, and write no layout
    #[arg(long, conflicts_with_all = ["output", "name", "layout_name"], help_heading = "Output")]
    pub cache_only: bool,

    /// Tell errors and warnings only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Keep what is received in this directory [default: ~/.cache/vcontainer/registry]
    #[arg(
        long,
        value_name = "DIR",
        env = "VCONTAINER_FETCH_CACHE",
        help_heading = "Network"
    )]
    pub cache: Option<PathBuf>,

    /// Use the cache only, never the network
    #[arg(long, help_heading = "Network")]
    pub offline: bool,

    /// Look below PLACE first for what is below PREFIX, such as docker.io=mirror.example/hub (may be repeated)
    #[arg(long, value_name = "PREFIX=PLACE", help_heading = "Network")]
    pub mirror: Vec<Mirror>,

    /// Take credentials from this file only [default: those of podman, then of docker]
    #[arg(
        long,
        value_name = "FILE",
        env = "REGISTRY_AUTH_FILE",
        help_heading = "Network"
    )]
    pub authfile: Option<PathBuf>,

    /// Trust the CAs in this file as well, in PEM form (may be repeated)
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub ca: Vec<PathBuf>,

    /// This registry, with its port, has no TLS (may be repeated); those on this computer are asked whether they have
    #[arg(long, value_name = "HOST", help_heading = "Network")]
    pub plain_http: Vec<String>,

    /// How often something is tried before it is given up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Network")]
    pub tries: u32,
}
