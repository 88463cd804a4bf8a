//! Directories in which something is made before it is renamed to its place. Those of killed programs are removed by the
//! next one: whoever works in one holds a lock on it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::error::{Error, OnPath as _};

/// Names of ours before they have their place.
const PREFIX: &str = ".vcontainer-new-";
/// What had a place that something else has now.
const OLD: &str = ".vcontainer-old-";

/// A directory in the making.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: TempDir,
    _lock: File,
}

impl Staging {
    /// Makes one in `parent`, which is made if need be; removes those that nobody works in any more.
    pub(crate) fn new(parent: &Path) -> Result<Self, Error> {
        Self::named(parent, PREFIX)
    }

    fn named(parent: &Path, prefix: &str) -> Result<Self, Error> {
        fs::create_dir_all(parent).at("making the directory", parent)?;
        remove_abandoned(parent);
        loop {
            let directory = tempfile::Builder::new()
                .prefix(prefix)
                .tempdir_in(parent)
                .at("making a directory in", parent)?;
            // Somebody may take it for an abandoned one before it is locked.
            let lock = match File::open(directory.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.at("opening", directory.path())?,
            };
            flock(&lock, FlockOperation::LockExclusive).at("locking", directory.path())?;
            if is_at(&lock, directory.path()) {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts it to `target`. What was there goes.
    pub(crate) fn publish(self, target: &Path) -> Result<(), Error> {
        let from = self.directory.path();
        loop {
            let moved = fs::rename(from, target);
            let Err(error) = moved else { break };
            // A directory with something in it, or something that is no directory.
            let is_taken = matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory
            );
            if !is_taken {
                return Err(error).at("putting it to", target);
            }
            // Plain renames: pseudo and old fakeroots know no others.
            let old = Self::named(folder_of(target), OLD)?;
            let aside = old.path().join(target.file_name().unwrap_or_default());
            match fs::rename(target, &aside) {
                // Somebody else puts something there at the same time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.at("moving away", target)?,
            }
            match fs::rename(from, target) {
                Err(error) if is_there(target) => drop(error),
                Err(error) => {
                    // The old one is better than none.
                    let _ = fs::rename(&aside, target).ok();
                    return Err(error).at("putting it to", target);
                }
                Ok(()) => break,
            }
        }
        // There is nothing left to remove.
        let _ = self.directory.keep();
        Ok(())
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether the open file is the one that has this name: somebody else may have renamed or removed it before it was locked.
#[must_use]
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => identity(one) == identity(other),
        _ => false,
    }
}

/// What cannot be removed stays: it harms nobody.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) || name.starts_with(OLD) {
            let _ = remove_if_abandoned(&entry.path()).ok();
        }
    }
}

fn remove_if_abandoned(path: &PathBuf) -> io::Result<()> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    if !is_at(&directory, path) {
        return Ok(());
    }
    if path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(OLD))
    {
        // Killed between the two renames: what was there before goes back.
        for entry in fs::read_dir(path)?.flatten() {
            let place = folder_of(path).join(entry.file_name());
            if !is_there(&place) {
                fs::rename(entry.path(), place)?;
            }
        }
    }
    fs::remove_dir_all(path)
}

/// The directory that a path lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_programs_left_is_mended() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        // One that works, one that was killed while it worked, one that was killed between its two renames.
        let working = Staging::new(parent.path()).unwrap();
        fs::create_dir(path(".vcontainer-new-killed")).unwrap();
        fs::create_dir_all(path(".vcontainer-old-killed/image/blobs")).unwrap();
        fs::create_dir_all(path(".vcontainer-old-done/there/old")).unwrap();
        fs::create_dir_all(path("there/new")).unwrap();
        let next = Staging::new(parent.path()).unwrap();
        assert!(working.path().exists() && next.path().exists());
        assert!(path("image/blobs").exists() && path("there/new").exists() && !path("there/old").exists());
        drop(next);
        // A link is replaced, and what it leads to stays.
        std::os::unix::fs::symlink("image", path("link")).unwrap();
        Staging::new(parent.path())
            .unwrap()
            .publish(&path("link"))
            .unwrap();
        assert!(path("link").symlink_metadata().unwrap().is_dir() && path("image/blobs").exists());
        fs::remove_dir(path("link")).unwrap();
        working.publish(&path("there")).unwrap();
        assert!(!path("there/new").exists());
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["image", "there"]);
    }
}
