//! Directories whose new content becomes visible in one step: a new version is staged, gets what the old one holds and
//! takes its place.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vcontainer_image::{Timestamp, TreePath};

use super::carry;
use super::journal::Slot;
use super::object::{self, Spot, failed};
use super::plan::{Item, Kind, Place, Plan, conflict, upwards};
use super::staging::Found;
use crate::sink::{SinkError, Written};

/// A directory whose new content becomes visible in one step.
pub(super) struct Atomic {
    pub slot: Slot,
    /// Whether there is one on the target, whose content is to be carried over.
    pub exists: bool,
    /// The directories in the staged one (by target path, itself too) and the times that they get at the end.
    pub times: BTreeMap<TreePath, Timestamp>,
}

impl Plan {
    /// Whether a staged directory takes the place of one that is there.
    pub fn exists_below(&self, staged: &TreePath) -> bool {
        self.atomic_of(staged).is_some_and(|(_, atomic)| atomic.exists)
    }

    /// The atomic directory that `path` is or lies in.
    pub fn atomic_of(&self, path: &TreePath) -> Option<(TreePath, &Atomic)> {
        upwards(path).find_map(|ancestor| self.atomics.get(&ancestor).map(|atomic| (ancestor, atomic)))
    }

    pub fn place_in_atomic(
        &mut self,
        root: &TreePath,
        parent: &TreePath,
        path: &TreePath,
    ) -> Result<Place, SinkError> {
        self.mirror(root, parent)?;
        let parent_path = self.staged_path(root, parent);
        let directory = object::open_directory(rustix::fs::CWD, parent_path.as_os_str())
            .map_err(|error| failed("open the directory", parent, error))?;
        let name = path.name().unwrap_or_default().to_vec();
        Ok(Place {
            parent: Arc::new(directory),
            parent_path,
            name,
            slot: None,
        })
    }

    /// Where `path` lies in the staged version of the atomic directory `root`.
    pub fn staged_path(&self, root: &TreePath, path: &TreePath) -> PathBuf {
        let below = &path.as_bytes()[root.as_bytes().len()..];
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let staged = self
            .atomics
            .get(root)
            .map_or_else(PathBuf::new, |atomic| self.staging.path(atomic.slot));
        if below.is_empty() {
            staged
        } else {
            staged.join(OsStr::from_bytes(below))
        }
    }

    /// Makes sure that the staged version of the atomic directory `root` has the directory `path` of the target.
    pub fn mirror(&mut self, root: &TreePath, path: &TreePath) -> Result<(), SinkError> {
        if self
            .atomics
            .get(root)
            .is_some_and(|atomic| atomic.times.contains_key(path))
        {
            return Ok(());
        }
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let place = self.place_in_atomic(root, &parent, path)?;
        let meta = carry::mirror_directory(&self.rootfs.host_path(path), &place.spot(path))?;
        if let Some(atomic) = self.atomics.get_mut(root) {
            atomic.times.insert(path.clone(), meta.mtime);
        }
        Ok(())
    }

    pub fn atomic_directory(&mut self, path: &TreePath) -> Result<(), SinkError> {
        const ACTION: &str = "replace the directory";
        if self.atomics.contains_key(path) {
            return Ok(());
        }
        let within = |outer: &TreePath, inner: &TreePath| upwards(inner).any(|ancestor| ancestor == *outer);
        if self
            .atomics
            .keys()
            .any(|other| within(other, path) || within(path, other))
        {
            return conflict(
                ACTION,
                path,
                "it lies in or around another directory that is replaced as a whole",
            );
        }
        if self.items.keys().any(|item| item != path && within(path, item)) {
            return conflict(ACTION, path, "something was written below it already");
        }
        match self.items.get(path) {
            // New, and nothing in it yet: its own item is what everything below goes into.
            Some(Item {
                kind: Kind::Directory,
                slot: Some(slot),
                ..
            }) => {
                let time = self.times.remove(path).unwrap_or_default();
                let times = BTreeMap::from([(path.clone(), time)]);
                self.atomics.insert(
                    path.clone(),
                    Atomic {
                        slot: *slot,
                        exists: false,
                        times,
                    },
                );
                return Ok(());
            }
            Some(_) => return conflict(ACTION, path, "it was written as something else"),
            None => {}
        }
        match self.found(path)? {
            Found::Directory => {}
            Found::Nothing => {
                self.announced.insert(path.clone());
                return Ok(());
            }
            _ => return conflict(ACTION, path, "there is something else than a directory"),
        }
        let Some(parent) = path.parent() else {
            return conflict(ACTION, path, "it is the root");
        };
        let place = self.place_in_slot(&parent)?;
        let meta = carry::mirror_directory(&self.rootfs.host_path(path), &place.spot(path))?;
        self.record(path, Kind::Directory, &place, Written::default());
        if let Some(slot) = place.slot {
            let times = BTreeMap::from([(path.clone(), meta.mtime)]);
            self.atomics.insert(
                path.clone(),
                Atomic {
                    slot,
                    exists: true,
                    times,
                },
            );
        }
        Ok(())
    }

    /// Carries over what the directory `path` holds on the target and what was not written anew.
    pub fn carry_over(&self, root: &TreePath, path: &TreePath) -> Result<(), SinkError> {
        let old = self.rootfs.host_path(path);
        let new = self.staged_path(root, path);
        let directory = object::open_directory(rustix::fs::CWD, new.as_os_str())
            .map_err(|error| failed("open the directory", path, error))?;
        for name in carry::names(&old, path)? {
            let below = path.join(&name);
            let staged = new.join(OsStr::from_bytes(&name));
            if !is_there(&staged, &below)? {
                let spot = Spot {
                    parent: directory.as_fd(),
                    parent_path: &new,
                    name: &name,
                    shown: &below,
                };
                carry::carry(&old.join(OsStr::from_bytes(&name)), &spot)?;
            } else if self
                .items
                .get(&below)
                .is_none_or(|item| item.kind == Kind::Directory)
            {
                self.carry_over(root, &below)?;
            }
        }
        Ok(())
    }
}

fn is_there(path: &Path, shown: &TreePath) -> Result<bool, SinkError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", shown, error)),
    }
}
