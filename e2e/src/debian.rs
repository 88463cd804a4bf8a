//! Debian root filesystems that hold real container engines, made by mmdebstrap and kept in the cache.
//!
//! A root is keyed by its recipe (release, architecture, packages, version of this file's way to make it): a changed
//! recipe makes a new one. It appears under its final name only when it is complete, and nothing ever writes into it:
//! [`crate::machine`] lays an overlay above it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::process::Command;
use crate::{apt, cache};

/// Counts up when the way to make a root changes, so that cached ones are made anew.
const RECIPE_VERSION: u32 = 1;

/// Options of mmdebstrap that all recipes share: no syncs (a crashed build is thrown away), no documentation.
const FAST_AND_SMALL: &[&str] = &[
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    // The version of a package in a root that was only extracted.
    "--dpkgopt=path-include=/usr/share/doc/*/changelog.Debian.*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// The engines and what their tests call inside the root. `tini` reaps processes that daemons leave behind.
const ENGINES: &[&str] = &[
    "attr",
    "busybox-static",
    "ca-certificates",
    "containerd",
    "crun",
    "docker-registry",
    "docker.io",
    "iproute2",
    "mount",
    "podman",
    "runc",
    "skopeo",
    "systemd",
    "tini",
];

/// What a device image would have: an init, and both engines.
const DEVICE: &[&str] = &[
    "crun",
    "docker.io",
    "iptables",
    "podman",
    "systemd",
    "systemd-sysv",
];

/// A Debian root filesystem that the tests or the demo use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: Docker 20.10, Podman 4.3.
    Bookworm,
    /// Debian 13: Docker 26.1, Podman 5.4.
    Trixie,
    /// Debian unstable: Docker 28.5 or what it has today.
    Sid,
    /// Debian 13 for arm64 with systemd and both engines, unpacked only: a target, as a tar archive.
    TrixieArm64,
}

impl Suite {
    /// All that hold engines which run on this machine.
    pub const WITH_ENGINES: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];

    /// Its name in messages and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
            Self::TrixieArm64 => "trixie-arm64",
        }
    }

    /// Whether tests do without it when it cannot be made: unstable is broken on some days.
    pub fn may_be_missing(self) -> bool {
        self == Self::Sid
    }

    /// Whether it is in the cache.
    ///
    /// # Errors
    /// The cache directory cannot be named.
    pub fn is_made(self) -> Result<bool> {
        Ok(self.cached()?.exists())
    }

    /// Where it is, made first if it isn't there: a directory, or a tar archive for [`Suite::TrixieArm64`].
    ///
    /// A root with engines needs root. Of several processes that ask for the same one, the first makes it and the
    /// others wait.
    ///
    /// # Errors
    /// mmdebstrap fails: no mirror, no network, no permission.
    pub fn path(self) -> Result<PathBuf> {
        let path = self.cached()?;
        if path.exists() {
            return Ok(path);
        }
        let roots = cache::directory()?.join("roots");
        fs::create_dir_all(&roots).with_context(|| format!("making {}", roots.display()))?;
        let lock_path = roots.join(format!("{}.lock", self.name()));
        let lock = fs::File::create(&lock_path).with_context(|| format!("making {}", lock_path.display()))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("locking {}", lock_path.display()))?;
        if !path.exists() {
            remove_others(&roots, self.name())?;
            let partial = roots.join(format!("{}-partial", self.name()));
            self.make(&partial)
                .with_context(|| format!("making the Debian root filesystem {}", self.name()))?;
            fs::rename(&partial, &path).with_context(|| format!("renaming to {}", path.display()))?;
        }
        Ok(path)
    }

    /// The static busybox of this release, for images that are run.
    ///
    /// # Errors
    /// As [`Suite::path`], or it cannot be read.
    pub fn busybox(self) -> Result<Vec<u8>> {
        let path = self.path()?.join("usr/bin/busybox");
        let path = if path.exists() {
            path
        } else {
            self.path()?.join("bin/busybox")
        };
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// getfattr of this release, with the loader and the library that it needs: file names and contents.
    ///
    /// # Errors
    /// As [`Suite::path`], or one cannot be read.
    pub fn getfattr(self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let root = self.path()?;
        [
            ("getfattr", "usr/bin/getfattr"),
            ("ld.so", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
            ("libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ]
        .into_iter()
        .map(|(name, path)| {
            let path = root.join(path);
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok((name, content))
        })
        .collect()
    }

    fn cached(self) -> Result<PathBuf> {
        Ok(cache::directory()?
            .join("roots")
            .join(format!("{}-{}", self.name(), self.key())))
    }

    fn release(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie | Self::TrixieArm64 => "trixie",
            Self::Sid => "sid",
        }
    }

    fn packages(self) -> Vec<&'static str> {
        let mut packages = if self == Self::TrixieArm64 {
            DEVICE
        } else {
            ENGINES
        }
        .to_vec();
        if self != Self::Bookworm {
            // Part of docker.io in Debian 12, a package of its own since.
            packages.push("docker-cli");
        }
        packages
    }

    /// Sixteen hexadecimal digits that change with the recipe.
    fn key(self) -> String {
        let recipe = format!(
            "{RECIPE_VERSION} {self:?} {:?} {FAST_AND_SMALL:?}",
            self.packages()
        );
        Sha256::digest(recipe.as_bytes())
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn make(self, output: &Path) -> Result<()> {
        let options = apt::fetch_options()?;
        let arm64 = self == Self::TrixieArm64;
        // Under fakeroot an ordinary user gets the right owners; real root needs no help.
        let program = if arm64 && !crate::privilege::is_root() {
            Command::new("fakeroot").arg("mmdebstrap")
        } else {
            Command::new("mmdebstrap")
        };
        let log = program
            .arg("--mode=root")
            .args(if arm64 {
                &["--variant=extract", "--architectures=arm64", "--format=tar"][..]
            } else {
                &["--variant=essential", "--format=directory"]
            })
            .args(options.iter().map(|option| format!("--aptopt={option}")))
            .args(FAST_AND_SMALL)
            .arg(format!("--include={}", self.packages().join(",")))
            .args([self.release().as_ref(), output.as_os_str()])
            .arg(apt::mirror()?)
            .outcome()?;
        log.success().map(|_| ())
    }
}

/// Removes what older recipes and interrupted builds of this root left behind.
fn remove_others(roots: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(roots).with_context(|| format!("listing {}", roots.display()))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(key) = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'))
        else {
            continue;
        };
        if key != "partial" && (key.len() != 16 || !key.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_root_is_removed() {
        let roots = tempfile::tempdir().unwrap();
        for name in [
            "trixie-0123456789abcdef",
            "trixie-partial",
            "trixie-arm64-0123456789abcdef",
            "trixie.lock",
            "sid",
        ] {
            fs::create_dir(roots.path().join(name)).unwrap();
        }
        remove_others(roots.path(), "trixie").unwrap();
        let mut left: Vec<_> = fs::read_dir(roots.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["sid", "trixie-arm64-0123456789abcdef", "trixie.lock"]);
    }
}
