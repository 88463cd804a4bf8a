//! What the target has: engines, their versions and configuration, read from its root filesystem.
//!
//! Only what decides where a store lies and whether the engine will see it is read. Without a root filesystem (a
//! plain tar stream) the engines' defaults apply and nothing can be checked.

pub mod docker;
mod machine;
mod mounts;
mod packages;
pub mod podman;
mod version;

use std::path::PathBuf;

use vcontainer_image::{Platform, TreePath, TreePathError};
use vcontainer_store::{Rootfs, RootfsError};

pub use machine::Machine;
pub use mounts::Mount;
pub use version::Version;

use crate::grammar::Runtime;
use packages::Packages;

/// No configuration file or package database is larger than this many bytes.
const FILE_LIMIT: u64 = 64 << 20;

/// The directories of unit files, the one that overrides first (systemd.unit(5), "Unit File Load Path").
const UNIT_DIRECTORIES: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What is not to be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trust {
    /// Take the target as it is said to be: engines that are not there (yet), another architecture, no systemd.
    pub target: bool,
    /// Write below places that the target mounts something else on: the files are put there in another way.
    pub mounts: bool,
}

/// Why a target cannot get what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The root filesystem cannot be read, or a path in it leaves it.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// A path in a configuration file is none.
    #[error("a path in the target's configuration is wrong")]
    Path(#[from] TreePathError),
    /// The engine is not there.
    #[error(
        "{engine} is not installed in the root filesystem `{}`: there is no {looked_for}; install it, or bundle with \
         --no-target-check if it comes later",
        rootfs.display()
    )]
    NotInstalled {
        /// The engine.
        engine: &'static str,
        /// The root filesystem.
        rootfs: PathBuf,
        /// The programs that were looked for.
        looked_for: String,
    },
    /// A service was asked for, and nothing would read the unit.
    #[error(
        "`{}` has no systemd, so that nothing would start {container}; leave out its policy, or bundle with \
         --no-target-check if systemd comes later",
        rootfs.display()
    )]
    NoSystemd {
        /// The root filesystem.
        rootfs: PathBuf,
        /// The first container with a service.
        container: String,
    },
    /// A configuration file cannot be understood, so nobody knows which store the engine uses.
    #[error("cannot understand the target's `{file}`")]
    Malformed {
        /// The file.
        file: String,
        /// The parser's message.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine would not see the store.
    #[error("the target's {place} has {setting}: {problem}; {remedy}")]
    Hidden {
        /// Where the setting is: a file, "Docker 26.1.5", "existing store".
        place: String,
        /// What it says.
        setting: String,
        /// What follows.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Another file system will be mounted over the store.
    #[error(
        "the target mounts `{}` on `{}` (`{}`), which would hide the {engine} store in `{root}`; give the engine a \
         {setting} outside of it, or, if `{}` is made from this root filesystem, bundle with --allow-mounted",
        mount.what,
        mount.point,
        mount.file,
        mount.point
    )]
    Mounted {
        /// What is mounted where.
        mount: Box<Mount>,
        /// Whose store.
        engine: &'static str,
        /// Where the store lies.
        root: String,
        /// The engine's setting for it.
        setting: &'static str,
    },
    /// The images would be for another architecture than the target's programs.
    #[error(
        "the root filesystem is for {found} (`{program}`), and --arch asks for {wanted}; give --arch {found}, or \
         bundle with --no-target-check if the target runs both"
    )]
    Machine {
        /// What the program is for.
        found: Machine,
        /// The program that was looked at.
        program: String,
        /// What was asked for.
        wanted: Platform,
    },
}

/// A target, as far as its root filesystem tells.
#[derive(Debug)]
pub struct Target {
    rootfs: Option<Rootfs>,
    mounts: Vec<Mount>,
    packages: Packages,
    trust: Trust,
}

/// Where unit files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitDirectory {
    /// Where the files are written.
    pub physical: TreePath,
    /// The absolute path by which the target knows the directory, for links to it.
    pub path: &'static str,
}

impl Target {
    /// Reads what is needed of `rootfs`; `None` for a target of which nothing is known.
    ///
    /// # Errors
    /// Files that are there and cannot be read.
    pub fn read(rootfs: Option<Rootfs>, trust: Trust) -> Result<Self, TargetError> {
        let (mounts, packages) = match &rootfs {
            Some(rootfs) => (mounts::read(rootfs)?, Packages::read(rootfs)?),
            None => (Vec::new(), Packages::default()),
        };
        Ok(Self {
            rootfs,
            mounts,
            packages,
            trust,
        })
    }

    /// The root filesystem, if there is one.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Rootfs> {
        self.rootfs.as_ref()
    }

    /// The machine that the target's programs are for, and the program that was looked at.
    ///
    /// # Errors
    /// The root filesystem cannot be read.
    pub fn machine(&self) -> Result<Option<(Machine, String)>, TargetError> {
        self.rootfs.as_ref().map_or(Ok(None), machine::read)
    }

    /// Makes sure that images of `platform` are for the machine of the target.
    ///
    /// # Errors
    /// They are for another one, or the root filesystem cannot be read.
    pub fn check_platform(&self, platform: &Platform) -> Result<(), TargetError> {
        if self.trust.target {
            return Ok(());
        }
        match self.machine()? {
            Some((found, program)) if !found.runs(platform) => Err(TargetError::Machine {
                found,
                program,
                wanted: platform.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Where unit files go: `/lib/systemd/system`, which on a merged-usr target is `/usr/lib/systemd/system`. With no
    /// root filesystem it is the latter, where every systemd looks: a tar stream with a directory `lib` would replace
    /// the symlink of a merged-usr target.
    ///
    /// # Errors
    /// The path leaves the root filesystem.
    pub fn unit_directory(&self) -> Result<UnitDirectory, TargetError> {
        let path = match self.rootfs {
            Some(_) => "/lib/systemd/system",
            None => "/usr/lib/systemd/system",
        };
        Ok(UnitDirectory {
            physical: self.resolve(path)?,
            path,
        })
    }

    /// Makes sure that somebody reads units, when `container` gets one.
    ///
    /// # Errors
    /// There is no systemd in the root filesystem.
    pub fn check_systemd(&self, container: &str) -> Result<(), TargetError> {
        let Some(rootfs) = self.rootfs.as_ref().filter(|_| !self.trust.target) else {
            return Ok(());
        };
        let places = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
        if first_of(rootfs, &places)?.is_some() {
            return Ok(());
        }
        Err(TargetError::NoSystemd {
            rootfs: rootfs.path().to_owned(),
            container: container.to_owned(),
        })
    }

    /// Whether the target has a unit of this name already, in a directory of units that come with packages.
    ///
    /// # Errors
    /// The root filesystem cannot be read.
    pub fn has_packaged_unit(&self, unit: &str) -> Result<bool, TargetError> {
        let Some(rootfs) = &self.rootfs else {
            return Ok(false);
        };
        for directory in &UNIT_DIRECTORIES[1..] {
            if rootfs
                .metadata(&tree_path(&format!("{directory}/{unit}"))?)?
                .is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where an absolute path of the target comes to lie, its symlinks followed.
    ///
    /// # Errors
    /// It leaves the root filesystem.
    pub fn resolve(&self, path: &str) -> Result<TreePath, TargetError> {
        let path = tree_path(path)?;
        Ok(match &self.rootfs {
            Some(rootfs) => rootfs.resolve(&path)?,
            None => path,
        })
    }

    /// The first of these programs that is there; an error when none is and that matters. Without a root filesystem
    /// it is the first.
    fn program(&self, runtime: Runtime, places: &[&'static str]) -> Result<&'static str, TargetError> {
        let default = places.first().copied().unwrap_or_default();
        let Some(rootfs) = &self.rootfs else {
            return Ok(default);
        };
        match first_of(rootfs, places)? {
            Some(place) => Ok(place),
            None if self.trust.target => Ok(default),
            None => Err(TargetError::NotInstalled {
                engine: runtime.engine(),
                rootfs: rootfs.path().to_owned(),
                looked_for: places.join(", "),
            }),
        }
    }

    /// Resolves the root of a store and makes sure that nothing is mounted over it.
    fn store_root(
        &self,
        root: &str,
        engine: &'static str,
        setting: &'static str,
    ) -> Result<TreePath, TargetError> {
        let physical = self.resolve(root)?;
        match self.mounts.iter().find(|mount| mount.covers(&physical)) {
            Some(mount) if !self.trust.mounts => Err(TargetError::Mounted {
                mount: Box::new(mount.clone()),
                engine,
                root: root.to_owned(),
                setting,
            }),
            _ => Ok(physical),
        }
    }

    /// The text of a file of the target; `None` when it is not there.
    fn text(&self, path: &str) -> Result<Option<String>, TargetError> {
        match &self.rootfs {
            Some(rootfs) => text(rootfs, path),
            None => Ok(None),
        }
    }
}

fn tree_path(path: &str) -> Result<TreePath, TargetError> {
    Ok(TreePath::clean(path.as_bytes())?)
}

fn text(rootfs: &Rootfs, path: &str) -> Result<Option<String>, TargetError> {
    let path = tree_path(path)?;
    // A link to /dev/null masks a unit or a drop-in (systemd.unit(5)). On a host the device may be there.
    if rootfs.resolve(&path)? == tree_path("/dev/null")? {
        return Ok(Some(String::new()));
    }
    let bytes = rootfs.read(&path, FILE_LIMIT)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn first_of(rootfs: &Rootfs, places: &[&'static str]) -> Result<Option<&'static str>, TargetError> {
    for place in places {
        if rootfs.metadata(&tree_path(place)?)?.is_some() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
