//! The options of `vcontainer guest`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use vcontainer_guest::{Arch, Engine};

const EXAMPLES: &str = "\
Examples:
  Make the guests of vdkr and vpdmn for both architectures (no root, nothing of the packages is run):
    vcontainer guest build

  Only what `vdkr -a aarch64` needs, from a mirror of your own:
    vcontainer guest build --engine docker --arch aarch64 --mirror http://mirror.example/debian

  Make the guest of vdkr from a root filesystem and a kernel of your own:
    vcontainer guest pack --engine docker --arch aarch64 --rootfs rootfs.tar --kernel Image

  See what is there:
    vcontainer guest list";

/// Options of `vcontainer guest`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct Guest {
    /// What to do.
    #[command(subcommand)]
    pub command: GuestCommand,
}

/// The commands about guest files.
#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// Make the files that vdkr and vpdmn boot from, from Debian packages
    Build(GuestBuild),
    /// Make them from a root filesystem with an engine, and a kernel, that are there already
    Pack(GuestPack),
    /// List which guest files are there, their size and what is in them
    List(GuestList),
}

/// Options of `vcontainer guest build`.
#[derive(Debug, ClapArgs)]
pub struct GuestBuild {
    /// Only guests with this engine, docker or podman (may be repeated) [default: both]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Vec<Engine>,

    /// Only guests of this architecture, aarch64 or x86_64 (may be repeated) [default: both]
    #[arg(long, value_name = "ARCH")]
    pub arch: Vec<Arch>,

    /// Take Debian packages from this mirror; where it lacks the release, from that of this machine's apt
    #[arg(long, value_name = "ADDRESS", env = "VCONTAINER_MIRROR")]
    pub mirror: Option<String>,

    /// Write DIR/vdkr/ARCH and DIR/vpdmn/ARCH [default: ~/.local/share/vcontainer, where vdkr and vpdmn look]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Keep downloaded packages in this directory [default: ~/.cache/vcontainer]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// Check packages with the keys of this file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/share/keyrings/debian-archive-keyring.gpg"
    )]
    pub keyring: PathBuf,

    /// Agents and guest data are in this directory [default: share/vcontainer of the installed program]
    #[arg(long, value_name = "DIR", env = "VCONTAINER_SHARE")]
    pub share: Option<PathBuf>,

    /// Tell errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `vcontainer guest pack`.
#[derive(Debug, ClapArgs)]
pub struct GuestPack {
    /// The engine in the root filesystem, docker or podman
    #[arg(long, value_name = "ENGINE")]
    pub engine: Engine,

    /// The architecture of the guest, aarch64 or x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Arch,

    /// The root filesystem: a directory, or a tar file (plain, gzip or zstd)
    #[arg(long, value_name = "PATH")]
    pub rootfs: PathBuf,

    /// The kernel: Image for aarch64, bzImage for x86_64
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,

    /// A directory or tar file with lib/modules of the kernel in it [default: those of the root filesystem]
    #[arg(long, value_name = "PATH")]
    pub modules: Option<PathBuf>,

    /// Check this configuration of the kernel [default: boot/config-* of the root filesystem, if it has one]
    #[arg(long, value_name = "FILE")]
    pub kernel_config: Option<PathBuf>,

    /// The agent, linked statically [default: agent/ARCH/vcontainer-agent in --share]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,

    /// Write DIR/vdkr/ARCH or DIR/vpdmn/ARCH [default: ~/.local/share/vcontainer, where vdkr and vpdmn look]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// The guest data and the agents are in this directory [default: share/vcontainer of the installed program]
    #[arg(long, value_name = "DIR", env = "VCONTAINER_SHARE")]
    pub share: Option<PathBuf>,

    /// Tell errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `vcontainer guest list`.
#[derive(Debug, ClapArgs)]
pub struct GuestList {
    /// Look in DIR/vdkr and DIR/vpdmn only [default: ~/.local/share/vcontainer, then the installed program's]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Read every file and compare it with its digest
    #[arg(long)]
    pub verify: bool,
}
