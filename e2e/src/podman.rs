//! A real Podman in a [`Machine`].

use anyhow::{Context, Result};
use serde_json::Value;

use crate::machine::Machine;
use crate::process::Command;

/// Podman on what is in `/var/lib/containers/storage`.
pub struct Podman<'a> {
    machine: &'a Machine,
}

impl<'a> Podman<'a> {
    /// Prepares the machine for Podman. The machine is then no longer fit for dockerd: where the host has version 1
    /// cgroups, Podman's crun must not see them, and dockerd must.
    ///
    /// # Errors
    /// The cgroup mount cannot be changed.
    pub fn new(machine: &'a Machine) -> Result<Self> {
        machine
            .command("sh")
            .args(["-c", "if [ -d /sys/fs/cgroup/unified ]; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; fi"])
            .output()
            .context("giving Podman a pure view of cgroups version 2")?;
        Ok(Self { machine })
    }

    /// `podman WORDS`, returning what it printed.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    pub fn cli(&self, words: &[&str]) -> Result<String> {
        self.command().args(words).output()
    }

    /// `podman` as a command to complete.
    pub fn command(&self) -> Command {
        self.machine.command("podman")
    }

    /// `podman image inspect NAME`: the one object.
    ///
    /// # Errors
    /// The image isn't there.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let text = self.cli(&["image", "inspect", name])?;
        let mut list: Vec<Value> = serde_json::from_str(&text).context("reading `podman image inspect`")?;
        list.pop()
            .with_context(|| format!("`podman image inspect {name}` printed an empty list"))
    }
}
