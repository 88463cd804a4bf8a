//! The commands and options, and nothing else: what `--help`, man pages and completions say.

mod fetch;
mod guest;
mod oci;

use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand, ValueEnum};
use vcontainer_bundle::grammar::{Runtime, Source};
use vcontainer_bundle::target::docker;
use vcontainer_store::Limits;

pub use fetch::Fetch;
pub use guest::{Guest, GuestBuild, GuestCommand, GuestList, GuestPack};
pub use oci::{
    CacheArgs, CacheList, CacheLookup, CachePrune, CacheSave, CacheVerify, CompressionArg, LayerArgs, Oci,
    OciBuild, OciCache, OciCacheCommand, OciCommand, OciDiff, OciExtract, OciIndex, OciInspect, OciLayers,
    OciList, OciVerify, RunArgs,
};

const EXAMPLES: &str = "\
Examples:
  Bundle two containers into a target's root filesystem, both started at boot:
    vcontainer bundle --arch aarch64 --images deploy --rootfs rootfs \\
        myapp-container:docker:autostart mydb-container:podman:autostart

  See what would be done:
    vcontainer bundle --images deploy --rootfs rootfs --dry-run myapp-container:docker

  See what is in a store, an image or a whole root filesystem:
    vcontainer inspect rootfs

Exit status:
  0  done
  1  something is wrong with what was given, or could not be read or written; nothing was changed
  2  the command line could not be understood
  128 and the number of a signal (130 for Ctrl-C): interrupted; nothing was changed";

const BUNDLE_EXAMPLES: &str = "\
Examples:
  Into a root filesystem directory (as root, or under fakeroot or pseudo):
    vcontainer bundle --images deploy --rootfs rootfs myapp-container:docker:autostart mydb:podman

  As a tar stream, which needs no privilege; the target's configuration is read from rootfs:
    vcontainer bundle --rootfs rootfs --tar containers.tar.zst myapp:docker:autostart
    vcontainer bundle --arch aarch64 --tar - myapp:docker |
        tar -C elsewhere -xp --numeric-owner --xattrs --xattrs-include='*' --delay-directory-restore

  An image file by its path, under a name of your own:
    vcontainer bundle --rootfs rootfs --image shop=./shop.tar shop:docker:autostart

  From a file, with ports, volumes and so on (docs/formats/bundle-toml.md):
    vcontainer bundle --rootfs rootfs --config bundle.toml

Entries are name[:runtime[:policy]][:external]. Runtimes are docker and podman; policies are
autostart, always, unless-stopped, on-failure and no. docs/guide/naming.md tells how names become
files, images and units.";

/// Puts containers into embedded Linux images at build time: no container engine, no VM, no root.
#[derive(Debug, Parser)]
#[command(name = "vcontainer", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put OCI images into a target's Docker and Podman stores, with units that start the containers
    Bundle(Box<Bundle>),
    /// List images, layers, sizes and what is shared in a store, an image or a root filesystem
    Inspect(Inspect),
    /// Fetch an image from a registry by its digest, for the target's platform, through a cache
    Fetch(Box<Fetch>),
    /// Make or list the files that vdkr and vpdmn boot from
    Guest(Guest),
    /// Build OCI images from root filesystems, join and take apart platforms, look at what is in them
    Oci(Oci),
}

/// Options of `vcontainer bundle`.
#[derive(Debug, ClapArgs)]
#[command(after_help = BUNDLE_EXAMPLES)]
pub struct Bundle {
    /// What to bundle: `name[:runtime[:policy]][:external]`, such as `myapp-container:docker:autostart`
    #[arg(value_name = "ENTRY")]
    pub entries: Vec<String>,

    /// Read more containers, with run options, from a bundle.toml
    #[arg(long, value_name = "FILE", help_heading = "What")]
    pub config: Option<PathBuf>,

    /// Look for images by name in this directory (may be repeated) [default: .]
    #[arg(long, value_name = "DIR", help_heading = "What", env = "VCONTAINER_IMAGES")]
    pub images: Vec<PathBuf>,

    /// The image NAME is this file or directory (may be repeated)
    #[arg(long, value_name = "NAME=PATH", help_heading = "What", value_parser = named_path)]
    pub image: Vec<(Source, PathBuf)>,

    /// Start the container of NAME by this service file instead of a generated one (may be repeated)
    #[arg(long, value_name = "NAME=FILE", help_heading = "What", value_parser = named_path)]
    pub service: Vec<(Source, PathBuf)>,

    /// The engine of entries that name none
    #[arg(
        long,
        value_name = "RUNTIME",
        help_heading = "What",
        env = "VCONTAINER_RUNTIME",
        default_value = "docker"
    )]
    pub runtime: RuntimeArg,

    /// The target's architecture, such as aarch64 or x86_64 [default: that of the root filesystem's programs]
    #[arg(long, value_name = "ARCH", help_heading = "Target", env = "VCONTAINER_ARCH")]
    pub arch: Option<String>,

    /// The target's root filesystem: its configuration is read, and without --tar the stores are written into it
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Target",
        required_unless_present = "tar"
    )]
    pub rootfs: Option<PathBuf>,

    /// The kind of store that Docker uses
    #[arg(
        long,
        value_name = "STORE",
        help_heading = "Target",
        env = "VCONTAINER_DOCKER_STORE",
        default_value = "overlay2"
    )]
    pub docker_store: DockerStoreArg,

    /// How images get into the stores: written here, or loaded by the real engine in a machine of the target's
    /// architecture (which needs guest files, see `vcontainer guest build`, and stores that are empty)
    #[arg(long, value_name = "HOW", help_heading = "Target", default_value = "native")]
    pub import: ImportArg,

    /// Do not check that the root filesystem has the engines, systemd and the right architecture
    #[arg(long, help_heading = "Target")]
    pub no_target_check: bool,

    /// Write stores below places that the target mounts another file system on
    #[arg(long, help_heading = "Target")]
    pub allow_mounted: bool,

    /// Write a tar stream rooted at / instead, to this file or to standard output (-)
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub tar: Option<PathBuf>,

    /// Compress the tar stream with zstd [default: if FILE ends in .zst]
    #[arg(long, help_heading = "Output", requires = "tar")]
    pub zstd: bool,

    /// Show what would be done and do nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Say nothing but errors and warnings
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// Do not wait until everything is on the disk (a power cut may then leave a half-written store)
    #[arg(long, help_heading = "Output")]
    pub no_sync: bool,

    /// The largest layer, uncompressed, in bytes or with K, M, G, T (against layer bombs)
    #[arg(long, value_name = "SIZE", help_heading = "Limits", default_value = "16G", value_parser = size)]
    pub max_layer_size: u64,

    /// The largest number of entries of a layer (against layer bombs)
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = Limits::default().entries, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_layer_entries: u64,

    /// How many layers are written at a time [default: one per processor, four at most]
    #[arg(long, value_name = "N", help_heading = "Limits", env = "VCONTAINER_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// The directory for temporary files
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Limits",
        env = "TMPDIR",
        default_value = "/var/tmp"
    )]
    pub temp_dir: PathBuf,
}

/// Options of `vcontainer inspect`.
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// A store (such as rootfs/var/lib/docker), an image (OCI layout, archive) or a root filesystem
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// A runtime as an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeArg {
    /// Docker
    Docker,
    /// Podman
    Podman,
}

impl From<RuntimeArg> for Runtime {
    fn from(argument: RuntimeArg) -> Self {
        match argument {
            RuntimeArg::Docker => Self::Docker,
            RuntimeArg::Podman => Self::Podman,
        }
    }
}

/// A kind of Docker store as an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DockerStoreArg {
    /// The overlay2 storage driver: Docker 20.10 to 29
    Overlay2,
    /// containerd's image store: fresh Docker 29, or where it is switched on
    Containerd,
}

impl From<DockerStoreArg> for docker::Store {
    fn from(argument: DockerStoreArg) -> Self {
        match argument {
            DockerStoreArg::Overlay2 => Self::Overlay2,
            DockerStoreArg::Containerd => Self::Containerd,
        }
    }
}

/// How images get into stores, as an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportArg {
    /// The store is written here, as pure data
    Native,
    /// A real engine imports the images, in a machine
    Vm,
}

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// The whole command line, for generators of man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

fn named_path(text: &str) -> Result<(Source, PathBuf), String> {
    let (name, path) = text
        .split_once('=')
        .filter(|(name, path)| !name.is_empty() && !path.is_empty())
        .ok_or("the form is NAME=PATH")?;
    let source = Source::parse(name).map_err(|error| error.problem.to_string())?;
    Ok((source, path.into()))
}

/// A number of bytes with an optional unit of 1024, 1024², 1024³ or 1024⁴.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("the form is a number, perhaps with K, M, G or T".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "the form is a number, perhaps with K, M, G or T".to_owned())?;
    number
        .checked_shl(shift)
        .filter(|bytes| bytes >> shift == number && *bytes > 0)
        .ok_or_else(|| "it must be at least 1 byte and fit 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1", Ok(1)),
            ("512M", Ok(512 << 20)),
            ("16g", Ok(16 << 30)),
            ("2GiB", Ok(2 << 30)),
            ("1T", Ok(1 << 40)),
            ("0", Err(())),
            ("", Err(())),
            ("G", Err(())),
            ("1X", Err(())),
            ("-1", Err(())),
            ("99999999T", Err(())),
        ] {
            assert_eq!(size(text).map_err(|_| ()), bytes, "{text}");
        }
    }

    #[test]
    fn names_with_paths_are_read() {
        let (source, path) = named_path("docker.io/library/redis:7=a=b").unwrap();
        assert_eq!(
            (source.as_str(), path),
            ("docker.io/library/redis:7", "a=b".into())
        );
        for wrong in ["x", "=x", "x=", "x:docker=y", "./x=y"] {
            assert!(named_path(wrong).is_err(), "{wrong}");
        }
    }
}
