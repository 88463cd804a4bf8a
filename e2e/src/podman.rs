//! A real Podman in a [`Machine`].

use anyhow::{Context, Result};

use crate::engine::Engine;
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
}

impl Engine for Podman<'_> {
    fn machine(&self) -> &Machine {
        self.machine
    }

    fn command(&self) -> Command {
        self.machine.command("podman")
    }
}
