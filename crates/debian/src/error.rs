//! What can be wrong with packages.

use std::io;
use std::path::PathBuf;

use crate::tar::TarError;

/// Why packages could not be fetched or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the machine is missing.
    #[error("cannot run `{program}`: install the package {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program of the machine failed.
    #[error("`{program}` failed while {doing}: {said}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it was to do.
        doing: String,
        /// What it said.
        said: String,
    },
    /// There is no mirror at all.
    #[error(
        "no Debian mirror is known: none was given, and this machine's apt has none. Give one by --mirror or \
         VCONTAINER_MIRROR"
    )]
    NoMirror,
    /// No mirror has the release.
    #[error(
        "no mirror serves Debian {suite} for {architecture}: {reasons}. Give another by --mirror or VCONTAINER_MIRROR"
    )]
    NotServed {
        /// The release.
        suite: String,
        /// Debian's name of the architecture.
        architecture: String,
        /// Each mirror and what was wrong with it.
        reasons: String,
    },
    /// The keyring is missing.
    #[error("cannot check the packages' signatures: there is no `{}`. Install the package debian-archive-keyring", path.display())]
    NoKeyring {
        /// Where it should be.
        path: PathBuf,
    },
    /// A keyring that apt cannot be told of.
    #[error("cannot check the packages' signatures: apt takes no keyring whose path has a space or a comma, and `{}` has one", path.display())]
    KeyringPath {
        /// Where it is.
        path: PathBuf,
    },
    /// apt found no way to install the packages.
    #[error("apt cannot find the packages for {architecture} in {origin}: {said}")]
    Unsolvable {
        /// Where it looked.
        origin: String,
        /// Debian's name of the architecture.
        architecture: String,
        /// What apt said.
        said: String,
    },
    /// A downloaded package is not what the mirror's index says.
    #[error("the package `{}` is damaged: it has another digest than the index says", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
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
    /// What a package holds cannot be read.
    #[error("cannot unpack the package `{}`", path.display())]
    Unpack {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        source: TarError,
    },
    /// Two packages have the same file.
    #[error("`/{path}` is in the packages {first} and {second}: they cannot be installed together")]
    Conflict {
        /// The path of the file.
        path: String,
        /// The one that was unpacked first.
        first: String,
        /// The other.
        second: String,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
