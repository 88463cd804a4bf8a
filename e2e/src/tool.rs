//! The tool under test, called as a user calls it, and the target that it writes into.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use crate::cache;
use crate::debian::Suite;
use crate::machine::{Builder, scratch_directory};
use crate::process::Command;

/// The `vcontainer` binary to test: the one that `VCONTAINER` names (an installed one, say), else that of this
/// checkout, built first if need be.
///
/// # Errors
/// It doesn't compile.
pub fn binary() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VCONTAINER") {
        return Ok(path.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .directory(cache::checkout())
        .args(["build", "--quiet", "--package", "vcontainer"])
        .output()?;
    // This program is target/PROFILE/deps/NAME-HASH or target/PROFILE/NAME.
    let this = std::env::current_exe().context("finding this program's own path")?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("vcontainer"))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no vcontainer near {}", this.display()))
}

/// A command `vcontainer WORDS`.
///
/// # Errors
/// The tool doesn't compile.
pub fn vcontainer(words: &[&str]) -> Result<Command> {
    Ok(Command::new(binary()?).args(words))
}

/// Of a Debian root filesystem, what a bundler looks at: programs, units, the package database.
const LOOKED_AT: &[&str] = &[
    "etc/os-release",
    "usr/bin/docker",
    "usr/bin/dockerd",
    "usr/bin/podman",
    "usr/lib/podman/netavark",
    "usr/lib/os-release",
    "usr/lib/systemd/system/docker.service",
    "usr/lib/systemd/systemd",
    "usr/sbin/dockerd",
    "var/lib/dpkg/status",
];

/// Where engines keep images.
const STORES: &[&str] = &[
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers/storage",
];

/// A target root filesystem with engines of a Debian release. Only what a bundler looks at is in it, so that a fresh
/// one costs nothing.
pub struct Target {
    suite: Suite,
    scratch: TempDir,
}

impl Target {
    /// A fresh target without any image.
    ///
    /// # Errors
    /// The Debian root cannot be made, or files cannot be linked.
    pub fn new(suite: Suite) -> Result<Self> {
        let source = suite.path()?;
        let target = Self {
            suite,
            scratch: scratch_directory()?,
        };
        let root = target.path();
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        for name in ["bin", "sbin", "lib"] {
            symlink(format!("usr/{name}"), root.join(name))
                .with_context(|| format!("linking {name} of a target"))?;
        }
        for name in LOOKED_AT {
            let (from, to) = (source.join(name), root.join(name));
            if !from.exists() || from.is_symlink() {
                continue;
            }
            to.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::hard_link(&from, &to))
                .with_context(|| format!("linking {name} of a target"))?;
        }
        Ok(target)
    }

    /// Its root directory.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// `vcontainer bundle --rootfs THIS WORDS`.
    ///
    /// # Errors
    /// The tool fails; the error holds what it said.
    pub fn bundle(&self, words: &[&str]) -> Result<String> {
        vcontainer(&["bundle", "--no-sync", "--rootfs"])?
            .arg(self.path())
            .args(words)
            .output()
    }

    /// A machine of the same Debian release that has this target's stores.
    pub fn machine(&self) -> Builder {
        let mut builder = Builder::new(self.suite);
        for store in STORES {
            let path = self.path().join(store.trim_start_matches('/'));
            if path.is_dir() {
                builder = builder.bind(path, store);
            }
        }
        builder
    }
}
