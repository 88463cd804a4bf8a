//! What can go wrong with a machine.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done, and to which thing.
        doing: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// QEMU or `qemu-img` is not installed.
    #[error("{program} was not found on PATH: install it (Debian and Ubuntu: apt install {package})")]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// QEMU is too old.
    #[error("{} is version {found}, and 7.2 or newer is needed: install that", program.display())]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: String,
    },
    /// A program failed.
    #[error("{doing}: {detail}")]
    Program {
        /// What was being done.
        doing: String,
        /// What the program said.
        detail: String,
    },
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {message}")]
    Qmp {
        /// The command.
        command: String,
        /// Why.
        message: String,
    },
    /// QEMU ended.
    #[error("{0}")]
    Ended(String),
    /// QEMU ended as soon as it was started: whatever machine is tried, it does the same again.
    #[error("{0}")]
    NotStarted(String),
    /// A directory that machines need cannot be used.
    #[error("{} cannot hold {what}: use another directory with {option}", directory.display())]
    Place {
        /// The directory.
        directory: PathBuf,
        /// What it is for.
        what: &'static str,
        /// How the user names another.
        option: &'static str,
        /// Why.
        source: Box<Error>,
    },
    /// KVM was demanded and doesn't work.
    #[error("KVM was asked for and cannot be used: {0}")]
    Kvm(String),
    /// The state was written by a newer version.
    #[error(
        "{} was written by a newer version of this tool (format {format}, this one knows {known}): update the tool, or \
         use another directory with --state-dir",
        directory.display()
    )]
    NewerState {
        /// The state directory.
        directory: PathBuf,
        /// Its format.
        format: u32,
        /// The format of this version.
        known: u32,
    },
    /// The state belongs to a machine of another kind.
    #[error("{} holds the state of {found}, not of {wanted}: use another directory", directory.display())]
    OtherState {
        /// The state directory.
        directory: PathBuf,
        /// Whose state it is.
        found: String,
        /// Whose state was wanted.
        wanted: String,
    },
    /// A file of the state is damaged or is not what it must be.
    #[error("{} {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// Another process holds the machine and neither serves it nor lets it go.
    #[error(
        "{} is in use by {holder}, which does not answer: wait for it, or end it", directory.display()
    )]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// The process.
        holder: String,
    },
    /// The host has too little memory.
    #[error(
        "a machine with {memory} MiB of memory needs {need} MiB of the host's, which has {available} MiB left: end \
         other programs, or give the machine less with --memory"
    )]
    LittleMemory {
        /// The machine's memory, in MiB.
        memory: u64,
        /// How much of it must be there, in MiB.
        need: u64,
        /// What is available, in MiB.
        available: u64,
    },
    /// The supervisor could not start the machine, or died.
    #[error("{0}")]
    Supervisor(String),
    /// The agent or the supervisor said no.
    #[error("{doing}: {message}")]
    Refused {
        /// What was asked.
        doing: String,
        /// Why it was refused.
        message: String,
    },
    /// The conversation broke.
    #[error("{doing}")]
    Wire {
        /// What was being done.
        doing: String,
        /// What is wrong.
        source: vcontainer_wire::Error,
    },
}

impl Error {
    /// Whether a file system is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// This error and what lies below it, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}

/// Says what was being done when the system refuses it.
pub(crate) trait During<T> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
    /// `during`, for an action on one file.
    fn on(self, doing: &str, path: &Path) -> Result<T, Error>
    where
        Self: Sized,
    {
        self.during(|| format!("{doing} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Io {
            doing: doing(),
            source: error.into(),
        })
    }
}
