//! Running programs: like `std::process::Command`, with errors that show the command line and what it said.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// A program to run with its arguments and environment.
pub struct Command(std::process::Command);

impl Command {
    /// A program by name (looked up in `PATH`) or by path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self(std::process::Command::new(program))
    }

    /// Whether a program of this name is in `PATH`.
    pub fn exists(program: &str) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.0.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Leaves nothing of this process' environment; what is set afterwards stays.
    #[must_use]
    pub fn clear_environment(mut self) -> Self {
        self.0.env_clear();
        self
    }

    /// Sets the directory that it runs in.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// The command as the standard library's type, for whoever wants its pipes.
    pub fn std(self) -> std::process::Command {
        self.0
    }

    /// Runs it on this terminal.
    ///
    /// # Errors
    /// It cannot be started, or it exits with anything but 0.
    pub fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("starting {self}"))?;
        if !status.success() {
            bail!("{self} failed ({status})");
        }
        Ok(())
    }

    /// Runs it and returns its standard output (bytes that are not UTF-8 replaced).
    ///
    /// # Errors
    /// As [`Command::run`]; the error holds what it wrote to standard error.
    pub fn output(self) -> Result<String> {
        self.finish(None).and_then(Outcome::success)
    }

    /// Runs it with these bytes as standard input and returns its standard output.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn output_with(self, input: &[u8]) -> Result<String> {
        self.finish(Some(input)).and_then(Outcome::success)
    }

    /// Runs it to its end, whatever that is: for tests of failures.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn outcome(self) -> Result<Outcome> {
        self.finish(None)
    }

    /// As [`Command::outcome`], with these bytes as standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn outcome_with(self, input: &[u8]) -> Result<Outcome> {
        self.finish(Some(input))
    }

    /// Runs it to its end, which must be exactly this.
    ///
    /// # Errors
    /// It cannot be started, or ends otherwise.
    pub fn ends(self, code: i32, stdout: &str, stderr: &str) -> Result<()> {
        self.outcome()?.is(code, stdout, stderr)
    }

    fn finish(mut self, input: Option<&[u8]>) -> Result<Outcome> {
        let stdin = if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = self
            .0
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {self}"))?;
        let pipe = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // A program that ends without reading its input says so by its exit status.
                scope.spawn(move || pipe.write_all(input));
            }
            child.wait_with_output()
        })
        .with_context(|| format!("waiting for {self}"))?;
        Ok(Outcome {
            command: self.to_string(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl fmt::Display for Command {
    /// The command line, arguments with odd characters quoted.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}", self.0.get_program().to_string_lossy())?;
        for argument in self.0.get_args() {
            let argument = argument.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@+%".contains(c);
            if !argument.is_empty() && argument.chars().all(plain) {
                write!(formatter, " {argument}")?;
            } else {
                write!(formatter, " {argument:?}")?;
            }
        }
        formatter.write_str("`")
    }
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Outcome {
    /// Checks exit status and both outputs.
    ///
    /// # Errors
    /// One of them is another.
    pub fn is(&self, code: i32, stdout: &str, stderr: &str) -> Result<()> {
        if (self.status.code(), self.stdout.as_str(), self.stderr.as_str()) == (Some(code), stdout, stderr) {
            return Ok(());
        }
        bail!(
            "{} should end with code {code}\nand say {stdout:?}\nand on standard error {stderr:?}\nand has ended with {}\nand \
             said {:?}\nand on standard error {:?}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
    }

    /// Its standard output, if it succeeded.
    ///
    /// # Errors
    /// It exited with anything but 0; the error holds what it said.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        bail!("{} failed ({}):\n{}", self.command, self.status, said.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure() {
        assert_eq!(Command::new("cat").output_with(b"hello").unwrap(), "hello");
        let error = Command::new("sh")
            .args(["-c", "echo broken >&2; exit 3"])
            .output()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("broken") && text.contains("exit status: 3"),
            "{text}"
        );
        assert!(
            Command::new("no-such-program")
                .output()
                .unwrap_err()
                .to_string()
                .contains("no-such-program")
        );
    }
}
