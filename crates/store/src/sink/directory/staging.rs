//! Staging directories: where things are made before a commit puts them in place, on the file system where that place
//! is. One lies in the root; a place that cannot be reached from there by rename(2) gets one of its own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::CWD;
use rustix::io::Errno;
use vcontainer_image::{Timestamp, TreePath};

use super::journal::{Slot, decode_path, encode_path};
use super::object::{failed, open_directory, set_time};
use crate::rootfs::{Rootfs, describe};
use crate::sink::SinkError;

/// The name of every staging directory.
pub(super) const STAGING: &[u8] = b".vcontainer-staging";
/// The file in the root's staging directory that lists the places of the others.
const AREAS: &str = "areas";

/// What lies at a physical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    /// A regular file or a symlink: what a rename may replace.
    Leaf,
    /// Anything else, in words.
    Other(&'static str),
}

/// Looks at `path` without following any symlink.
///
/// # Errors
/// One of its parents is there and is no directory.
pub(super) fn look(rootfs: &Rootfs, path: &TreePath) -> Result<Found, SinkError> {
    let mut here = TreePath::root();
    for name in path.components() {
        here = here.join(name);
        let kind = match fs::symlink_metadata(rootfs.host_path(&here)) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(failed("look at", &here, error)),
        };
        if kind.is_dir() {
            continue;
        }
        if here == *path {
            let leaf = kind.is_file() || kind.is_symlink();
            return Ok(if leaf {
                Found::Leaf
            } else {
                Found::Other(describe(kind))
            });
        }
        let why = format!("`{here}` is {}, not a directory", describe(kind));
        return Err(SinkError::Conflict {
            action: "reach",
            path: path.clone(),
            why,
        });
    }
    Ok(Found::Directory)
}

/// The modification time of what lies at a physical path.
pub(super) fn mtime(rootfs: &Rootfs, path: &TreePath) -> Result<Timestamp, SinkError> {
    let metadata =
        fs::symlink_metadata(rootfs.host_path(path)).map_err(|error| failed("look at", path, error))?;
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Ok(Timestamp {
        seconds: metadata.mtime(),
        nanoseconds,
    })
}

/// One staging directory.
struct Area {
    at: TreePath,
    directory: Arc<File>,
    path: PathBuf,
    device: u64,
}

/// All staging directories of one sink.
pub(super) struct Staging {
    rootfs: Rootfs,
    areas: Vec<Area>,
    next: u64,
}

impl Staging {
    /// Makes the staging directory in the root.
    pub fn create(rootfs: &Rootfs) -> Result<Self, SinkError> {
        let mut staging = Self {
            rootfs: rootfs.clone(),
            areas: Vec::new(),
            next: 0,
        };
        staging.add(TreePath::root())?;
        Ok(staging)
    }

    fn add(&mut self, at: TreePath) -> Result<usize, SinkError> {
        let shown = at.join(STAGING);
        let path = self.rootfs.host_path(&shown);
        let action = "create the staging directory";
        // The time of the directory is kept, so that a run that dies does not leave it changed.
        let time = mtime(&self.rootfs, &at)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => SinkError::Target {
                    what: format!(
                        "cannot write into the root filesystem {}: this process may not change its directory `{at}`; run \
                         as root, under the fakeroot or pseudo that made it, or write a tar stream (--tar) instead",
                        self.rootfs.path().display()
                    ),
                    source: Some(error),
                },
                _ => failed(action, &shown, error),
            })?;
        set_time(CWD, self.rootfs.host_path(&at).as_os_str().as_bytes(), time, &at)?;
        let directory =
            open_directory(CWD, path.as_os_str()).map_err(|error| failed(action, &shown, error))?;
        let device = directory
            .metadata()
            .map_err(|error| failed(action, &shown, error))?
            .dev();
        self.areas.push(Area {
            at,
            directory: Arc::new(directory),
            path,
            device,
        });
        Ok(self.areas.len() - 1)
    }

    /// A new item that a rename can move into the existing directory `directory`.
    pub fn slot(&mut self, directory: &TreePath) -> Result<Slot, SinkError> {
        let area = match self.area_reaching(directory)? {
            Some(area) => area,
            None => {
                // Listed before it is made: what a crash leaves must be found.
                let list = self.areas[0].path.join(AREAS);
                fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(list)
                    .and_then(|mut file| writeln!(file, "{}", encode_path(directory)))
                    .map_err(|error| failed("write into", &TreePath::root().join(STAGING), error))?;
                self.add(directory.clone())?
            }
        };
        let number = self.next;
        self.next += 1;
        Ok(Slot { area, number })
    }

    fn area_reaching(&self, directory: &TreePath) -> Result<Option<usize>, SinkError> {
        let at = |error: io::Error| failed("open the directory", directory, error);
        let path = self.rootfs.host_path(directory);
        let target = open_directory(CWD, path.as_os_str()).map_err(at)?;
        let device = target.metadata().map_err(at)?.dev();
        Ok(self.areas.iter().position(|area| {
            // Two mounts of one file system have one device number, and rename(2) does not cross them either. It says
            // so even when there is nothing to rename, which makes it a question without side effects.
            let question = || rustix::fs::renameat(&area.directory, "no such item", &target, "no such item");
            area.at == *directory || area.device == device && question() != Err(Errno::XDEV)
        }))
    }

    /// The open staging directory of an item, its path, and the name of the item in it.
    pub fn place(&self, slot: Slot) -> (Arc<File>, PathBuf, Vec<u8>) {
        let area = &self.areas[slot.area];
        (
            Arc::clone(&area.directory),
            area.path.clone(),
            slot.number.to_string().into_bytes(),
        )
    }

    /// Where an item is on the host.
    pub fn path(&self, slot: Slot) -> PathBuf {
        self.areas[slot.area].path.join(slot.number.to_string())
    }

    /// The directories that have a staging directory in them, the root first.
    pub fn places(&self) -> Vec<TreePath> {
        self.areas.iter().map(|area| area.at.clone()).collect()
    }

    /// Waits until everything that was staged is on stable storage.
    pub fn sync(&self) -> Result<(), SinkError> {
        for area in &self.areas {
            rustix::fs::syncfs(&area.directory).map_err(|error| failed("write out", &area.at, error))?;
        }
        Ok(())
    }
}

/// Removes the staging directories in `places`; the root's, which lists the others, last.
pub(super) fn remove(rootfs: &Rootfs, places: &[TreePath]) -> Result<(), SinkError> {
    for place in places.iter().rev() {
        let shown = place.join(STAGING);
        if look(rootfs, &shown)? == Found::Nothing {
            continue;
        }
        super::point();
        let time = mtime(rootfs, place)?;
        // Removes a symlink as such, and follows none.
        let path = rootfs.host_path(&shown);
        let removed = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(&path),
            other => other,
        };
        removed.map_err(|error| failed("remove the staging directory", &shown, error))?;
        set_time(CWD, rootfs.host_path(place).as_os_str().as_bytes(), time, place)?;
    }
    Ok(())
}

/// The places of the staging directories that an interrupted run left; none if there was none.
pub(super) fn left_behind(rootfs: &Rootfs) -> Result<Vec<TreePath>, SinkError> {
    let shown = TreePath::root().join(STAGING);
    if look(rootfs, &shown)? == Found::Nothing {
        return Ok(Vec::new());
    }
    let mut places = vec![TreePath::root()];
    let list = shown.join(AREAS.as_bytes());
    match look(rootfs, &list) {
        Ok(Found::Leaf) => {
            let content = rootfs.read(&list, 1 << 20).map_err(|error| SinkError::Target {
                what: format!("cannot read what an interrupted bundle left: {error}"),
                source: None,
            })?;
            let content = String::from_utf8_lossy(&content.unwrap_or_default()).into_owned();
            // The last line may be cut off; its directory was not made then.
            places.extend(
                content
                    .split_inclusive('\n')
                    .filter_map(|line| decode_path(line.strip_suffix('\n')?)),
            );
        }
        // Nothing listed, or not a directory of ours at all.
        Ok(_) | Err(SinkError::Conflict { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(places)
}
