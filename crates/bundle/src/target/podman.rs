//! Podman on the target: which store it will use, where it lies, and whether it has Quadlet.
//!
//! Source: containers-storage.conf(5), podman-systemd.unit(5). The store of root is meant; users' own stores are made
//! on the target.

use serde::Deserialize;
use vcontainer_image::TreePath;

use super::docker::malformed;
use super::{Target, TargetError, Version, first_of};
use crate::grammar::Runtime;
use crate::quadlet;

/// Names of packages that hold Podman.
pub(super) const PACKAGES: [&str; 1] = ["podman"];

const PROGRAMS: [&str; 2] = ["/usr/bin/podman", "/usr/local/bin/podman"];
const GENERATORS: [&str; 5] = [
    "/usr/lib/systemd/system-generators/podman-system-generator",
    "/lib/systemd/system-generators/podman-system-generator",
    "/usr/libexec/podman/quadlet",
    "/usr/lib/podman/quadlet",
    "/usr/local/libexec/podman/quadlet",
];

/// Where Podman looks for netavark: containers.conf(5), `helper_binaries_dir`.
const NETAVARK: [&str; 4] = [
    "/usr/local/libexec/podman/netavark",
    "/usr/local/lib/podman/netavark",
    "/usr/libexec/podman/netavark",
    "/usr/lib/podman/netavark",
];

/// The configuration, the file that replaces the other first.
const CONFIGS: [&str; 2] = [
    "/etc/containers/storage.conf",
    "/usr/share/containers/storage.conf",
];
const DEFAULT_ROOT: &str = "/var/lib/containers/storage";

/// Podman, as it will run on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Podman {
    /// Its version, when a package database tells.
    pub version: Option<Version>,
    /// The path of the program.
    pub program: &'static str,
    /// Where the store lies, symlinks resolved.
    pub root: TreePath,
    /// Whether its generator makes units of Quadlet files.
    pub quadlet: bool,
    /// Whether it has netavark for its networks; Podman 4 may have CNI instead.
    pub netavark: bool,
}

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    storage: Storage,
}

#[derive(Deserialize, Default)]
struct Storage {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    graphroot: String,
    #[serde(default)]
    imagestore: String,
}

impl Target {
    /// Podman on this target.
    ///
    /// # Errors
    /// Podman is not installed, its configuration cannot be read, or it would not see an overlay store.
    pub fn podman(&self) -> Result<Podman, TargetError> {
        let program = self.program(Runtime::Podman, &PROGRAMS)?;
        let version = self.packages.version(&PACKAGES);
        let (root, setting) = self.storage()?;
        let (quadlet, netavark) = match &self.rootfs {
            // What comes later is taken to be current.
            _ if self.trust.target && version.is_none() => (true, true),
            None => (true, true),
            Some(rootfs) => (
                version.is_none_or(|version| version >= quadlet::SINCE)
                    && first_of(rootfs, &GENERATORS)?.is_some(),
                first_of(rootfs, &NETAVARK)?.is_some(),
            ),
        };
        Ok(Podman {
            version,
            program,
            root: self.store_root(&root, "Podman", setting)?,
            quadlet,
            netavark,
        })
    }

    /// Where images lie, and which setting says so.
    fn storage(&self) -> Result<(String, &'static str), TargetError> {
        let default = Ok((DEFAULT_ROOT.to_owned(), "graphroot"));
        for file in CONFIGS {
            let Some(text) = self.text(file)? else { continue };
            let File { storage } = toml::from_str(&text).map_err(|source| malformed(file, source))?;
            if !matches!(storage.driver.as_str(), "" | "overlay" | "overlay2") {
                return Err(TargetError::Hidden {
                    place: format!("`{file}`"),
                    setting: format!("`driver = \"{}\"`", storage.driver),
                    problem: "Podman would not see an overlay store".to_owned(),
                    remedy: format!("set driver = \"overlay\" in the target's {}", CONFIGS[0]),
                });
            }
            return match storage {
                Storage { imagestore, .. } if !imagestore.is_empty() => Ok((imagestore, "imagestore")),
                Storage { graphroot, .. } if !graphroot.is_empty() => Ok((graphroot, "graphroot")),
                _ => default,
            };
        }
        default
    }
}
