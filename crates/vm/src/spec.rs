//! Which machine is meant.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vcontainer_guest::{Arch, Engine, GuestFiles};

/// A machine: what it is made of and where its state lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Which engine's guest it is.
    pub engine: Engine,
    /// Its architecture.
    pub arch: Arch,
    /// What it boots from.
    pub guest: BootFiles,
    /// Virtual processors, at least 1. An emulated x86_64 machine has one in any case.
    pub cpus: u8,
    /// Memory, in MiB.
    pub memory: u32,
    /// Size of a state disk that is made anew, in bytes. A disk that exists keeps its size.
    pub disk: u64,
    /// How its processors are run.
    pub accelerator: Accelerator,
    /// Whether it has a network card.
    pub network: bool,
    /// Where its state lies.
    pub place: Place,
    /// A directory of the user's for templates and for what was found out about the host.
    pub cache: PathBuf,
    /// How long it stays up after the last client has gone.
    pub linger: Duration,
    /// The program that has the hidden sub-commands: our own binary.
    pub program: PathBuf,
    /// The directories in which QEMU is looked for: those of `PATH`.
    pub search_path: Vec<PathBuf>,
}

impl MachineSpec {
    /// Memory of a machine unless something else is asked for, in MiB.
    pub const DEFAULT_MEMORY: u32 = 1024;
    /// Less memory than this, in MiB, does not do for a guest with its engine.
    pub const LEAST_MEMORY: u32 = 256;
    /// A smaller state disk than this, in bytes, has no room for an engine's store.
    pub const LEAST_DISK: u64 = 256 << 20;
    /// Virtual size of a new state disk unless something else is asked for, in bytes. The file is sparse.
    pub const DEFAULT_DISK: u64 = 64 << 30;
    /// How long a machine stays up unless something else is asked for.
    pub const DEFAULT_LINGER: Duration = Duration::from_secs(60);

    /// Virtual processors unless something else is asked for: the host's, at most 4.
    #[must_use]
    pub fn default_cpus() -> u8 {
        let host = std::thread::available_parallelism().map_or(1, usize::from);
        u8::try_from(host.clamp(1, 4)).unwrap_or(1)
    }
}

/// The files that a machine boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs with the agent.
    pub initramfs: PathBuf,
    /// The root file system.
    pub rootfs: PathBuf,
    /// Differs whenever the content of a file differs: the hash of the manifest.
    pub identity: String,
}

impl From<&GuestFiles> for BootFiles {
    fn from(files: &GuestFiles) -> Self {
        Self {
            kernel: files.kernel(),
            initramfs: files.initramfs(),
            rootfs: files.rootfs(),
            identity: files.hash().into(),
        }
    }
}

/// How the processors are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    /// KVM when a trial shows that it runs a guest, else emulation.
    #[default]
    Auto,
    /// Emulation, always.
    Tcg,
    /// KVM, or nothing.
    Kvm,
}

/// Where a machine's state lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In this directory, which outlives the machine.
    Persistent(PathBuf),
    /// Nowhere: the machine starts as after a first boot and leaves nothing behind.
    Stateless,
}
