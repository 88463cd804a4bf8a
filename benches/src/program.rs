//! The built `vcontainer`, run and watched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::process::Command;

/// How often a running program is looked at. The kernel keeps the peak, so that only growth in the last interval of its
/// life is missed.
const INTERVAL: Duration = Duration::from_millis(2);

/// What a run of the program took, beside time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Most resident memory in bytes.
    pub(crate) peak_memory: u64,
    /// Bytes handed to write(2) and the like.
    pub(crate) written: u64,
}

/// `vcontainer bundle` of images into a root filesystem, without looking at what else that has.
pub(crate) fn bundle(program: &Path, rootfs: &Path) -> Command {
    Command::new(program)
        .args(["bundle", "--quiet", "--no-target-check", "--arch=x86_64"])
        .arg("--rootfs")
        .arg(rootfs)
}

/// The program that `cargo xtask bench` has built.
pub(crate) fn path() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let path = own.with_file_name("vcontainer");
    if !path.exists() {
        bail!(
            "{} is not there: build it (`cargo build --release`), or call this through `cargo xtask bench`",
            path.display()
        );
    }
    Ok(path)
}

/// Runs a command to its end and watches its memory and output.
pub(crate) fn watch(command: Command) -> Result<Usage> {
    let shown = command.to_string();
    let mut child = command
        .std()
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let mut usage = Usage::default();
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for {shown}"))? {
            break status;
        }
        let read = |file: &str, key: &str| number_after(&fs::read_to_string(proc.join(file)).ok()?, key);
        usage.peak_memory = usage
            .peak_memory
            .max(read("status", "VmHWM:").unwrap_or(0) * 1024);
        usage.written = usage.written.max(read("io", "wchar:").unwrap_or(0));
        thread::sleep(INTERVAL);
    };
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(usage)
}

/// The number that follows a key at the start of a line, as the files of /proc have it.
fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        assert_eq!(
            number_after("VmPeak:\t 9 kB\nVmHWM:\t   1234 kB\n", "VmHWM:"),
            Some(1234)
        );
        assert_eq!(number_after("rchar: 1\nwchar: 22\n", "wchar:"), Some(22));
        assert_eq!(number_after("", "wchar:"), None);
    }

    #[test]
    fn failures_are_errors() {
        assert!(watch(Command::new("false")).is_err());
        assert!(watch(Command::new("sleep").arg("0.1")).unwrap().peak_memory > 0);
    }
}
