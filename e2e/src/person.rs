//! An ordinary user with a home of their own, who calls the tool: when root runs the tests, a user that nobody knows and
//! that has no privilege; otherwise the user who runs the tests. Whatever they started ends with the value.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

use crate::machine::scratch_directory;
use crate::process::Command;
use crate::tree::{self, Tree};
use crate::{privilege, terminal, tool};

/// A numeric ID that no user of the machine has.
const NUMBER: u32 = 54_322;

/// The names that the tool answers to.
const NAMES: &[&str] = &[
    "vcontainer",
    "vdkr",
    "vdkr-aarch64",
    "vdkr-x86_64",
    "vpdmn",
    "vpdmn-aarch64",
    "vpdmn-x86_64",
];

/// A command that takes this many seconds hangs: only then is it ended.
const HUNG: &str = "600";

/// A user, with a home directory (`home`), a directory to work in (`work`), one for temporary files (`tmp`), and the
/// tool's names in `bin`.
pub struct Person {
    folder: TempDir,
    environment: Vec<(String, PathBuf)>,
}

impl Person {
    /// Somebody whose home is empty.
    ///
    /// # Errors
    /// The tool doesn't compile, or the directories cannot be made.
    pub fn new() -> Result<Self> {
        let person = Self {
            folder: scratch_directory()?,
            environment: Vec::new(),
        };
        give(person.folder.path())?;
        for name in ["home", "work", "tmp"] {
            person.directory(name)?;
        }
        let bin = person.directory("bin")?;
        for name in NAMES {
            symlink(tool::binary()?, bin.join(name)).with_context(|| format!("linking {name}"))?;
        }
        person.reaches(tool::binary()?)?;
        Ok(person)
    }

    /// The same person, with this environment variable in all that they call.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A path below the person's folder (`home/…`, `work/…`, `tmp/…`).
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A directory that belongs to the person, made if it isn't there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        give(&path)?;
        Ok(path)
    }

    /// Writes a file that belongs to the person.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        give(&path)?;
        Ok(path)
    }

    /// A program that the person runs in `work`, with nothing of the tester's environment but `PATH`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.after(&[], "timeout")
            .args(["--foreground", "--kill-after=10", HUNG])
            .arg(program)
    }

    /// The same, for a [`Terminal`](crate::terminal::Terminal).
    pub fn on_terminal(&self, program: impl AsRef<OsStr>) -> Command {
        self.after(terminal::TAKE_CONTROL, program)
    }

    /// The same as a process whose number is its own ([`Person::command`] stands behind a program that ends what
    /// hangs), for who wants to kill it.
    pub fn unlimited(&self, program: impl AsRef<OsStr>) -> Command {
        self.after(&[], program)
    }

    fn after(&self, before: &[&str], program: impl AsRef<OsStr>) -> Command {
        let own = self.path("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path)))
            .unwrap_or_else(|_| path.clone());
        let mut words: Vec<OsString> = before.iter().map(Into::into).collect();
        words.extend(become_ordinary().iter().map(Into::into));
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0])
            .args(&words[1..])
            .clear_environment()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .directory(self.path("work"));
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        command
    }

    /// The processes that the person's commands have started and that still run: their numbers and command lines.
    ///
    /// # Errors
    /// `/proc` cannot be listed.
    pub fn processes(&self) -> Result<Vec<(Pid, String)>> {
        let mark = self.folder.path().as_os_str().as_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("listing /proc")? {
            let entry = entry.context("listing /proc")?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Who ends while we look, or belongs to somebody else, has nothing to show.
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let words = read("cmdline");
            if words.is_empty() || !(contains(&read("environ"), mark) || contains(&words, mark)) {
                continue;
            }
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            if let Some(pid) = Pid::from_raw(pid) {
                found.push((pid, words));
            }
        }
        Ok(found)
    }

    /// Waits until everything that the person started has ended.
    ///
    /// # Errors
    /// Something still runs when that is certainly too long ago.
    pub fn alone(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let Some((pid, words)) = self.processes()?.pop() else {
                return Ok(());
            };
            if !ended(pid, deadline.saturating_duration_since(Instant::now()))? {
                bail!("process {} still runs: {words}", pid.as_raw_nonzero());
            }
        }
    }

    /// Everything in the person's folder: the same again if nothing was lost, changed or left.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn belongings(&self) -> Result<Tree> {
        tree::read_all_that_may_be(self.folder.path())
    }

    /// Whether the person may read a file: whoever checked the project out may have kept it to themselves.
    fn reaches(&self, file: &Path) -> Result<()> {
        self.command("test")
            .arg("-r")
            .arg(file)
            .output()
            .map(|_| ())
            .with_context(|| format!("an ordinary user cannot reach {}", file.display()))
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // After a failed test there may be a machine.
        for _ in 0..10 {
            let Ok(processes) = self.processes() else { return };
            if processes.is_empty() {
                return;
            }
            for (pid, words) in processes {
                eprintln!("killing process {}: {words}", pid.as_raw_nonzero());
                let _ = kill_process(pid, Signal::KILL);
                let _ = ended(pid, Duration::from_secs(5));
            }
        }
    }
}

/// Waits for the end of a process, at most this long; tells whether it came.
///
/// # Errors
/// The system cannot watch processes.
pub fn ended(pid: Pid, at_most: Duration) -> Result<bool> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(error) => return Err(error).context("watching a process"),
    };
    let limit = Timespec {
        tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    let mut watched = [PollFd::new(&process, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&limit)).context("watching a process")? == 1)
}

/// Makes a path the person's own.
///
/// # Errors
/// It cannot be.
pub fn give(path: &Path) -> Result<()> {
    if privilege::is_root() {
        chown(path, Some(NUMBER), Some(NUMBER)).with_context(|| format!("giving {} away", path.display()))?;
    }
    Ok(())
}

/// Makes a directory and all below it the person's own.
///
/// # Errors
/// It cannot be.
pub fn give_all(path: &Path) -> Result<()> {
    if privilege::is_root() {
        Command::new("chown")
            .args(["-hR", &format!("{NUMBER}:{NUMBER}")])
            .arg(path)
            .output()?;
    }
    Ok(())
}

fn become_ordinary() -> Vec<String> {
    if !privilege::is_root() {
        return Vec::new();
    }
    vec![
        "setpriv".to_owned(),
        format!("--reuid={NUMBER}"),
        format!("--regid={NUMBER}"),
        "--clear-groups".to_owned(),
        "--bounding-set=-all".to_owned(),
        "--no-new-privs".to_owned(),
    ]
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_a_person_starts_is_found_and_ends() {
        let person = Person::new().unwrap();
        assert_eq!(
            person
                .command("sh")
                .args(["-c", "echo $HOME"])
                .output()
                .unwrap()
                .trim(),
            person.path("home").to_str().unwrap()
        );
        // When it speaks it is what it will be: no program takes its place any more.
        let mut child = person
            .unlimited("sh")
            .args(["-c", "echo; read line"])
            .std()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let found: Vec<_> = person.processes().unwrap();
        assert!(
            found.iter().any(|(pid, _)| *pid == Pid::from_child(&child)),
            "{found:?}"
        );
        let folder = person.path("");
        drop(person);
        assert!(!child.wait().unwrap().success());
        assert!(!folder.exists());
    }
}
