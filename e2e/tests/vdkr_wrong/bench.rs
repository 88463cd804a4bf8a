//! Somebody who does something wrong, and everything that they had before.

use anyhow::Result;
use e2e::guest;
use e2e::person::Person;
use e2e::process::Command;
use e2e::tree::{self, Tree};
use vcontainer_guest::{Arch, Engine};

/// What a machine that could not be started leaves: who holds the directory, and what QEMU has said.
pub const LEFT: [&str; 4] = [
    "home/.vdkr",
    "home/.vdkr/aarch64",
    "home/.vdkr/aarch64/lock",
    "home/.vdkr/aarch64/qemu.log",
];

/// Somebody with guest files for Docker on aarch64.
pub struct Bench {
    pub person: Person,
}

impl Bench {
    pub fn new() -> Result<Self> {
        let person = guest::owner(&[(Engine::Docker, Arch::Aarch64)])?;
        Ok(Self { person })
    }

    /// `vdkr` for aarch64.
    pub fn vdkr(&self, words: &[&str]) -> Command {
        self.person.command("vdkr").args(["-a", "aarch64"]).args(words)
    }

    /// A path in the person's `work`, as text.
    pub fn work(&self, name: &str) -> String {
        self.person.path("work").join(name).display().to_string()
    }

    /// `vdkr` for aarch64 with these words is refused as [`Bench::fails`] says, with 1.
    pub fn refused(&self, words: &[&str], stderr: &str) -> Result<()> {
        self.fails(self.vdkr(words), 1, stderr)
    }

    /// A command ends with this code and these words on standard error, with nothing on standard output, leaves no
    /// process, and everything as it was.
    pub fn fails(&self, command: Command, code: i32, stderr: &str) -> Result<()> {
        self.fails_and_leaves(command, code, stderr, &[])
    }

    fn belongings(&self) -> Result<Tree> {
        let cache = format!("work/{CACHE}");
        let mut all = self.person.belongings()?;
        all.retain(|name, _| !name.starts_with(&cache));
        // Each start begins it anew.
        if let Some(log) = all.get_mut("home/.vdkr/aarch64/qemu.log") {
            log.mtime = None;
        }
        Ok(all)
    }

    /// As [`Bench::fails`], but these are new.
    pub fn fails_and_leaves(&self, command: Command, code: i32, stderr: &str, left: &[&str]) -> Result<()> {
        let before = self.belongings()?;
        let outcome = command.outcome()?;
        assert_eq!(
            (
                outcome.stderr.as_str(),
                outcome.stdout.as_str(),
                outcome.status.code()
            ),
            (stderr, "", Some(code)),
            "{}",
            outcome.command
        );
        self.person.alone()?;
        let after = self.belongings()?;
        let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        let new_before: Vec<&&str> = left.iter().filter(|name| !before.contains_key(**name)).collect();
        assert_eq!(
            format!("{new:?}"),
            format!("{new_before:?}"),
            "new after {}",
            outcome.command
        );
        let old: Tree = after
            .into_iter()
            .filter(|(name, _)| before.contains_key(name))
            .collect();
        let differences = tree::differences(&before, &old);
        assert!(
            differences.is_empty(),
            "{}:\n{}",
            outcome.command,
            differences.join("\n")
        );
        Ok(())
    }
}

/// The directory (in `work`) for caches of tests that need their own. What is in it may change.
pub const CACHE: &str = "cache";

/// An error of `vdkr` with what caused it, as it is told.
pub fn error(what: &str, causes: &[&str]) -> String {
    let mut text = format!("[vdkr] error: {what}\n");
    for cause in causes {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    text
}

/// The error of a machine that does not start.
pub fn no_start(causes: &[&str]) -> String {
    error("the aarch64 machine cannot be started", causes)
}

/// What stands below an error in the words of the command line.
pub const HELP: &str = "[vdkr] `vdkr --help` shows how it is used\n";

/// What the system says.
pub const DENIED: &str = "Permission denied (os error 13)";
/// What the system says.
pub const NOT_THERE: &str = "No such file or directory (os error 2)";
