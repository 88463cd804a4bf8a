//! Running the machine's own programs.

use std::io;
use std::process::{ChildStdout, Command, Output, Stdio};

use crate::Error;

/// A program that is needed, and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub name: &'static str,
    pub package: &'static str,
}

pub(crate) const APT_GET: Program = Program {
    name: "apt-get",
    package: "apt",
};
pub(crate) const APT_CONFIG: Program = Program {
    name: "apt-config",
    package: "apt",
};
pub(crate) const DPKG_DEB: Program = Program {
    name: "dpkg-deb",
    package: "dpkg",
};

impl Program {
    /// The program, speaking English.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.name);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Why it could not be started.
    pub fn not_started(self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::NotFound {
            return Error::NoProgram {
                program: self.name,
                package: self.package,
            };
        }
        Error::Io {
            doing: "run",
            path: self.name.into(),
            source,
        }
    }

    /// Runs it to its end, and reads what it writes with `read`. The inner result is that of `read`.
    ///
    /// When the program complains, its complaint is the error: it says why the stream ended too early. One that says nothing has
    /// been ended by a reader that had enough.
    pub fn stream<T, E>(
        self,
        command: &mut Command,
        doing: impl FnOnce() -> String,
        read: impl FnOnce(ChildStdout) -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.not_started(error))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| self.not_started(io::ErrorKind::BrokenPipe.into()))?;
        let result = read(stdout);
        let output = child
            .wait_with_output()
            .map_err(|error| self.not_started(error))?;
        if !output.status.success() && !output.stderr.is_empty() {
            return Err(Error::Program {
                program: self.name,
                doing: doing(),
                said: complaint(&output.stderr),
            });
        }
        Ok(result)
    }

    /// Runs it to its end.
    pub fn output(self, command: &mut Command) -> Result<Output, Error> {
        command.output().map_err(|error| self.not_started(error))
    }
}

/// What apt or dpkg complained about, in one line.
pub(crate) fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let errors: Vec<&str> = lines.iter().filter_map(|line| error(line)).collect();
    let chosen = if errors.is_empty() { &lines } else { &errors };
    if chosen.is_empty() {
        "it said nothing".to_owned()
    } else {
        chosen.join("; ")
    }
}

/// The text of an error, behind what apt and dpkg-deb put before it.
fn error(line: &str) -> Option<&str> {
    line.strip_prefix("E: ")
        .or_else(|| line.strip_prefix("dpkg-deb: error: "))
}
