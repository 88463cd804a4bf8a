//! Why a guest could not be made.

use std::io;
use std::path::{Path, PathBuf};

use vcontainer_build::RootfsError as UnreadableRootfs;

use crate::modules::ModuleError;
use crate::needs::Lacks;
use crate::recipe::RecipeError;
use crate::rootfs::RootfsError;
use crate::{Arch, OpenError};

/// Why a guest could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The packages.
    #[error("cannot get the packages of a guest")]
    Packages(#[from] vcontainer_debian::Error),
    /// The root filesystem or the modules that were named.
    #[error(transparent)]
    Named(#[from] UnreadableRootfs),
    /// The guest data.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The kernel's modules.
    #[error("cannot use the modules of the kernel")]
    Modules(#[from] ModuleError),
    /// The root filesystem.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Something that a guest needs is not there.
    #[error(transparent)]
    Lacks(#[from] Lacks),
    /// The agent is missing.
    #[error("cannot read the agent `{}`: it belongs to the installed program, install it again", path.display())]
    Agent {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent is for another architecture, or no program.
    #[error("the agent `{}` is no program for {arch}", path.display())]
    OtherAgent {
        /// The agent.
        path: PathBuf,
        /// The architecture of the guest.
        arch: Arch,
    },
    /// The agent needs libraries, and the initramfs has none.
    #[error(
        "the agent `{}` is linked dynamically: it starts before any library is there, so compile it with \
         `-C target-feature=+crt-static`", path.display()
    )]
    DynamicAgent {
        /// The agent.
        path: PathBuf,
    },
    /// The packages have no kernel that QEMU can boot.
    #[error("the packages have no kernel that can be booted on {0}")]
    NoKernel(Arch),
    /// A file is no kernel that QEMU can boot.
    #[error(
        "`{}` is no kernel that QEMU boots on {arch}: expected is the {} that the kernel's own build makes, not \
         compressed otherwise", path.display(), arch.kernel_file()
    )]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The architecture of the guest.
        arch: Arch,
    },
    /// The modules are another kernel's.
    #[error("the kernel `{}` is {kernel}, and the modules are those of {modules}: take both from one build", path.display())]
    OtherModules {
        /// The kernel's file.
        path: PathBuf,
        /// The kernel's release.
        kernel: String,
        /// The release that the modules are for.
        modules: String,
    },
    /// The file system said no.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was made cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { doing, path, source }
}
