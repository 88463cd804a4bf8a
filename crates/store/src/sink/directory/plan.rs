//! What a sink has staged and what is to become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use vcontainer_image::{Meta, Timestamp, TreePath};

use super::atomic::Atomic;
use super::journal::{Journal, Slot, Step};
use super::object::{self, Spot, failed};
use super::staging::{self, Found, Staging, look};
use crate::rootfs::Rootfs;
use crate::sink::{SinkError, Written};

/// What a staged item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory that others are put into.
    Directory,
    /// A subtree, which only its writer puts things into.
    Tree,
    /// A file or a symlink.
    Leaf,
}

/// Something staged.
pub(super) struct Item {
    pub kind: Kind,
    /// Its own item in a staging directory; `None` when it lies in an atomic directory.
    pub slot: Option<Slot>,
    /// When it was written, among all.
    order: u64,
}

/// Where something new is to be made.
pub(super) struct Place {
    pub parent: Arc<File>,
    pub parent_path: PathBuf,
    pub name: Vec<u8>,
    pub slot: Option<Slot>,
}

impl Place {
    pub fn spot<'a>(&'a self, shown: &'a TreePath) -> Spot<'a> {
        Spot {
            parent: self.parent.as_fd(),
            parent_path: &self.parent_path,
            name: &self.name,
            shown,
        }
    }

    pub fn host_path(&self) -> PathBuf {
        self.parent_path.join(OsStr::from_bytes(&self.name))
    }
}

/// The state of a sink.
pub(super) struct Plan {
    pub rootfs: Rootfs,
    pub staging: Staging,
    /// What was staged, by target path.
    pub items: BTreeMap<TreePath, Item>,
    pub atomics: BTreeMap<TreePath, Atomic>,
    /// Directories announced as atomic that are yet to be made.
    pub announced: BTreeSet<TreePath>,
    /// Directories on the target (old ones and new ones) that get these times when all is in place.
    pub times: BTreeMap<TreePath, Timestamp>,
    order: u64,
    open_trees: usize,
    written: Written,
    /// Whether dropping the sink is to leave the staging alone.
    kept: bool,
}

pub(super) fn conflict<T>(
    action: &'static str,
    path: &TreePath,
    why: impl Into<String>,
) -> Result<T, SinkError> {
    Err(SinkError::Conflict {
        action,
        path: path.clone(),
        why: why.into(),
    })
}

pub(super) fn does_not_move<T>(path: &TreePath) -> Result<T, SinkError> {
    let why = "the file system does not move this directory (overlayfs does not when it comes from a lower layer); copy \
               the root filesystem to an ordinary file system first";
    conflict("put in place", path, why)
}

/// `path` and its ancestors, innermost first, without the root.
pub(super) fn upwards(path: &TreePath) -> impl Iterator<Item = TreePath> {
    std::iter::successors(Some(path.clone()), TreePath::parent).filter(|path| !path.is_root())
}

impl Plan {
    pub fn new(rootfs: &Rootfs) -> Result<Self, SinkError> {
        // Taken before the staging directory changes it.
        let times = BTreeMap::from([(TreePath::root(), staging::mtime(rootfs, &TreePath::root())?)]);
        Ok(Self {
            rootfs: rootfs.clone(),
            staging: Staging::create(rootfs)?,
            items: BTreeMap::new(),
            atomics: BTreeMap::new(),
            announced: BTreeSet::new(),
            times,
            order: 0,
            open_trees: 0,
            written: Written::default(),
            kept: false,
        })
    }

    /// What will be at `path` after the commit.
    pub fn found(&self, path: &TreePath) -> Result<Found, SinkError> {
        for ancestor in upwards(path) {
            let Some(item) = self.items.get(&ancestor) else {
                continue;
            };
            let itself = ancestor == *path;
            return match item.kind {
                Kind::Directory if itself => Ok(Found::Directory),
                // Nothing but what was staged can be in a new directory, and that would have been found by its own name.
                Kind::Directory if !self.exists_below(&ancestor) => Ok(Found::Nothing),
                Kind::Directory => look(&self.rootfs, path),
                Kind::Tree if itself => Ok(Found::Directory),
                Kind::Leaf if itself => Ok(Found::Leaf),
                Kind::Tree => conflict("write", path, format!("it belongs to the subtree `{ancestor}`")),
                Kind::Leaf => conflict("write", path, format!("`{ancestor}` is a file, not a directory")),
            };
        }
        look(&self.rootfs, path)
    }

    /// Where `path`, which will be of `kind`, is to be made.
    pub fn place(&mut self, path: &TreePath, kind: Kind) -> Result<Place, SinkError> {
        const ACTION: &str = "write";
        let Some(parent) = path.parent() else {
            return conflict(ACTION, path, "it is the root");
        };
        match (self.found(path)?, kind) {
            (Found::Nothing, _) | (Found::Directory, Kind::Tree) | (Found::Leaf, Kind::Leaf) => {}
            (Found::Directory, _) => return conflict(ACTION, path, "there is a directory"),
            (Found::Leaf, _) => {
                return conflict(
                    ACTION,
                    path,
                    "there is a file or a symlink where a directory should be",
                );
            }
            (Found::Other(what), _) => return conflict(ACTION, path, format!("there is {what}")),
        }
        if self.found(&parent)? != Found::Directory {
            return conflict(ACTION, path, "the directory that it should be in is not there");
        }
        if kind == Kind::Tree && self.items.contains_key(path) {
            return conflict(ACTION, path, "it was written already");
        }
        match self.atomic_of(&parent).map(|(root, _)| root) {
            Some(root) => {
                let place = self.place_in_atomic(&root, &parent, path)?;
                if self.items.contains_key(path) {
                    fs::remove_file(place.host_path()).map_err(|error| failed("replace", path, error))?;
                }
                Ok(place)
            }
            None => self.place_in_slot(&parent),
        }
    }

    pub fn place_in_slot(&mut self, parent: &TreePath) -> Result<Place, SinkError> {
        let mut ancestor = parent.clone();
        // The nearest directory on the target that is there already.
        while look(&self.rootfs, &ancestor)? != Found::Directory {
            ancestor = ancestor.parent().unwrap_or_default();
        }
        let before = staging::mtime(&self.rootfs, &ancestor)?;
        self.times.entry(ancestor.clone()).or_insert(before);
        let slot = self.staging.slot(&ancestor)?;
        let (directory, parent_path, name) = self.staging.place(slot);
        Ok(Place {
            parent: directory,
            parent_path,
            name,
            slot: Some(slot),
        })
    }

    /// Notes that `path` has been made at `place`.
    pub fn record(&mut self, path: &TreePath, kind: Kind, place: &Place, written: Written) {
        self.order += 1;
        let order = self.order;
        self.written.entries += written.entries;
        self.written.bytes += written.bytes;
        let parent = path.parent().unwrap_or_default();
        if place.slot.is_some() {
            // The rename to come will change its parent's time; a new parent has been noted with the one it was given.
            if let Ok(time) = staging::mtime(&self.rootfs, &parent) {
                self.times.entry(parent).or_insert(time);
            }
        } else if let Some((root, _)) = self.atomic_of(&parent)
            && let Some(item) = self.items.get_mut(&root)
        {
            // The exchange comes after what was written before it.
            item.order = order;
        }
        let old = self.items.insert(
            path.clone(),
            Item {
                kind,
                slot: place.slot,
                order,
            },
        );
        if let Some(slot) = old.and_then(|item| item.slot) {
            // Written anew. What stays behind vanishes with the staging directory.
            let _ = fs::remove_file(self.staging.path(slot));
        }
    }

    /// Lets the file `path` be put in place before everything else but the directories that it lies in. In an atomic
    /// directory, where it has no step of its own, that changes nothing.
    pub fn bring_forward(&mut self, path: &TreePath) {
        let parents = upwards(path).skip(1).filter_map(|parent| self.items.get(&parent));
        // Of equal steps the outer path comes first.
        let order = parents.map(|item| item.order).max().unwrap_or(0);
        if let Some(item) = self.items.get_mut(path) {
            item.order = order;
        }
    }

    pub fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        const ACTION: &str = "create the directory";
        match self.found(path)? {
            Found::Directory => return Ok(()),
            Found::Nothing => {}
            Found::Leaf => return conflict(ACTION, path, "there is a file or a symlink"),
            Found::Other(what) => return conflict(ACTION, path, format!("there is {what}")),
        }
        if let Some(parent) = path.parent()
            && self.found(&parent)? == Found::Nothing
        {
            let implied = Meta {
                mode: 0o755,
                mtime: meta.mtime,
                ..Meta::default()
            };
            self.directory(&parent, &implied)?;
        }
        let place = self.place(path, Kind::Directory)?;
        object::create_directory(&place.spot(path), meta)?;
        self.record(path, Kind::Directory, &place, Written { entries: 1, bytes: 0 });
        self.note_time(path, meta.mtime);
        if self.announced.remove(path) {
            return self.atomic_directory(path);
        }
        Ok(())
    }

    /// Notes the time that the new directory `path` is to have at the end.
    fn note_time(&mut self, path: &TreePath, mtime: Timestamp) {
        match self.atomic_of(path).map(|(root, _)| root) {
            Some(root) => {
                if let Some(atomic) = self.atomics.get_mut(&root) {
                    atomic.times.insert(path.clone(), mtime);
                }
            }
            None => {
                self.times.insert(path.clone(), mtime);
            }
        }
    }

    pub fn tree_opened(&mut self, root: &TreePath, place: &Place) {
        self.open_trees += 1;
        self.record(root, Kind::Tree, place, Written::default());
    }

    pub fn tree_finished(&mut self, root: &TreePath, written: Written) {
        self.open_trees -= 1;
        self.order += 1;
        if let Some(item) = self.items.get_mut(root) {
            item.order = self.order;
        }
        self.written.entries += written.entries;
        self.written.bytes += written.bytes;
    }

    /// Ends the staging and says what a commit has to do.
    pub fn journal(&mut self) -> Result<(Journal, Written), SinkError> {
        if self.open_trees > 0 {
            let what = "cannot commit: a subtree has been begun and not finished".to_owned();
            return Err(SinkError::Target { what, source: None });
        }
        for (root, atomic) in &self.atomics {
            if atomic.exists {
                self.carry_over(root, root)?;
            }
            for (path, time) in &atomic.times {
                let staged = self.staged_path(root, path);
                object::set_time(rustix::fs::CWD, staged.as_os_str().as_bytes(), *time, path)?;
            }
        }
        let mut steps = Vec::new();
        for (path, item) in &self.items {
            let Some(slot) = item.slot else { continue };
            let replaced = item.kind != Kind::Leaf && look(&self.rootfs, path)? == Found::Directory;
            let to = path.clone();
            let step = if replaced {
                let staged = fs::symlink_metadata(self.staging.path(slot))
                    .map_err(|error| failed("look at", path, error))?;
                self.check_moves(slot, path)?;
                Step::Exchange {
                    slot,
                    inode: staged.ino(),
                    to,
                }
            } else {
                Step::Place { slot, to }
            };
            steps.push((item.order, step));
        }
        steps.sort_by_key(|(order, _)| *order);
        let steps = steps.into_iter().map(|(_, step)| step).collect();
        let times = self
            .times
            .iter()
            .map(|(path, time)| (path.clone(), *time))
            .collect();
        Ok((
            Journal {
                areas: self.staging.places(),
                steps,
                times,
            },
            self.written,
        ))
    }

    /// Asks whether the directory that is to be replaced moves at all, while nothing has changed yet. It is renamed to
    /// the staging directory of `slot`, which fails in any case, since that holds something: but otherwise where the
    /// file system does not move it.
    fn check_moves(&self, slot: Slot, path: &TreePath) -> Result<(), SinkError> {
        let (_, area, _) = self.staging.place(slot);
        match fs::rename(self.rootfs.host_path(path), area) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => does_not_move(path),
            _ => Ok(()),
        }
    }

    pub fn sync(&self) -> Result<(), SinkError> {
        self.staging.sync()
    }

    /// Leaves the staging to the journal.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Takes the staging back from a journal that is withdrawn.
    pub fn take_back(&mut self) {
        self.kept = false;
    }

    /// Removes the staging, unless it is the journal's.
    pub fn discard(&mut self) -> Result<(), SinkError> {
        if std::mem::replace(&mut self.kept, true) {
            return Ok(());
        }
        let places = self.staging.places();
        staging::remove(&self.rootfs, &places)?;
        for place in &places {
            if let Some(time) = self.times.get(place) {
                let path = self.rootfs.host_path(place);
                object::set_time(rustix::fs::CWD, path.as_os_str().as_bytes(), *time, place)?;
            }
        }
        Ok(())
    }
}
