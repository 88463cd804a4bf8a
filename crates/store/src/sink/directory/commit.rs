//! Follows a journal: puts staged items in place, then tidies up. Everything may be done again from the start after an
//! interruption at any point.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use vcontainer_image::TreePath;

use super::journal::{Journal, Slot, Step};
use super::object::{failed, set_time, times};
use super::plan::does_not_move;
use super::staging::{self, Found, STAGING, look};
use super::{Recovery, point};
use crate::rootfs::Rootfs;
use crate::sink::SinkError;

/// The journal's name in the root.
const JOURNAL: &[u8] = b".vcontainer-journal";
/// Its name while it is being written.
const JOURNAL_PART: &[u8] = b".vcontainer-journal.part";
/// No journal of ours is longer (some 100 bytes a step).
const JOURNAL_LIMIT: u64 = 64 << 20;

/// Writes the journal, at first under another name. With `sync`, both it and the rename are made durable; without, a
/// power cut may lose staged data, and a journal that survives that would do harm.
pub(super) fn write_journal(rootfs: &Rootfs, journal: &Journal, sync: bool) -> Result<(), SinkError> {
    let shown = TreePath::root().join(JOURNAL);
    let part = rootfs.host_path(&TreePath::root().join(JOURNAL_PART));
    // A run that dies before the journal stands leaves the root's time as it was.
    let time = staging::mtime(rootfs, &TreePath::root())?;
    let written = (|| -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        rustix::fs::utimensat(CWD, rootfs.path(), &times(time), AtFlags::empty())?;
        point();
        file.write_all(journal.encode().as_bytes())?;
        if sync {
            file.sync_all()?;
        }
        point();
        fs::rename(&part, rootfs.host_path(&shown))?;
        if sync {
            File::open(rootfs.path())?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|error| {
        // Best effort: the next run removes the one, and finds nothing to do in the other.
        let _ = fs::remove_file(&part);
        let _ = fs::remove_file(rootfs.host_path(&shown));
        failed("write the journal", &shown, error)
    })
}

/// Whether an interrupted commit waits to be completed.
pub(super) fn is_pending(rootfs: &Rootfs) -> Result<bool, SinkError> {
    Ok(look(rootfs, &TreePath::root().join(JOURNAL))? != Found::Nothing)
}

/// Makes the renames of a commit durable.
pub(super) fn sync(rootfs: &Rootfs) -> Result<(), SinkError> {
    File::open(rootfs.path())
        .and_then(|root| Ok(rustix::fs::syncfs(root)?))
        .map_err(|error| failed("write out", &TreePath::root(), error))
}

/// Forgets a journal of which no step was done.
pub(super) fn withdraw_journal(rootfs: &Rootfs) -> Result<(), SinkError> {
    let shown = TreePath::root().join(JOURNAL);
    fs::remove_file(rootfs.host_path(&shown)).map_err(|error| failed("remove", &shown, error))
}

/// Ends what an interrupted bundle began, or removes what it left.
pub(super) fn recover(rootfs: &Rootfs) -> Result<Recovery, SinkError> {
    let part = TreePath::root().join(JOURNAL_PART);
    let unfinished = look(rootfs, &part)? != Found::Nothing;
    if unfinished {
        let root = TreePath::root();
        let time = staging::mtime(rootfs, &root)?;
        fs::remove_file(rootfs.host_path(&part)).map_err(|error| failed("remove", &part, error))?;
        set_time(CWD, rootfs.path().as_os_str().as_encoded_bytes(), time, &root)?;
    }
    let path = TreePath::root().join(JOURNAL);
    match look(rootfs, &path)? {
        Found::Nothing => {
            let places = staging::left_behind(rootfs)?;
            staging::remove(rootfs, &places)?;
            Ok(if places.is_empty() && !unfinished {
                Recovery::Nothing
            } else {
                Recovery::Discarded
            })
        }
        _ => {
            let journal = read_journal(rootfs, &path)?;
            follow(rootfs, &journal).map_err(|(_, error)| error)?;
            Ok(Recovery::Completed)
        }
    }
}

fn read_journal(rootfs: &Rootfs, path: &TreePath) -> Result<Journal, SinkError> {
    let unusable = |why: String| SinkError::Target {
        what: format!(
            "an earlier bundle into {} was interrupted while it put things in place, and its journal `{path}` cannot be \
             followed: {why}. Use the version of vcontainer that wrote it, or start from a fresh root filesystem",
            rootfs.path().display()
        ),
        source: None,
    };
    // Not through a symlink: the journal is a file that we wrote.
    let host_path = rootfs.host_path(path);
    if !fs::symlink_metadata(&host_path).is_ok_and(|metadata| metadata.is_file()) {
        return Err(unusable("it is not a regular file".to_owned()));
    }
    let text = rootfs
        .read(path, JOURNAL_LIMIT)
        .map_err(|error| unusable(error.to_string()))?
        .unwrap_or_default();
    Journal::decode(&text).map_err(|error| unusable(error.to_string()))
}

/// Does the steps of `journal`, removes staging and journal, sets times. An error comes with the number of steps that
/// were done before it.
pub(super) fn follow(rootfs: &Rootfs, journal: &Journal) -> Result<(), (usize, SinkError)> {
    for (done, step) in journal.steps.iter().enumerate() {
        point();
        follow_step(rootfs, journal, step).map_err(|error| (done, error))?;
    }
    tidy(rootfs, journal).map_err(|error| (journal.steps.len(), error))
}

fn tidy(rootfs: &Rootfs, journal: &Journal) -> Result<(), SinkError> {
    staging::remove(rootfs, &journal.areas)?;
    let (root, others): (Vec<_>, Vec<_>) = journal.times.iter().partition(|(path, _)| path.is_root());
    for (path, time) in others {
        point();
        if look(rootfs, path)? == Found::Directory {
            set_time(
                CWD,
                rootfs.host_path(path).as_os_str().as_encoded_bytes(),
                *time,
                path,
            )?;
        }
    }
    point();
    withdraw_journal(rootfs)?;
    // The root's own time comes after the last change in it: a kill just between the two leaves a new time there.
    for (path, time) in root {
        set_time(CWD, rootfs.path().as_os_str().as_encoded_bytes(), *time, path)?;
    }
    Ok(())
}

fn item_path(rootfs: &Rootfs, journal: &Journal, slot: Slot) -> PathBuf {
    rootfs.host_path(
        &journal.areas[slot.area]
            .join(STAGING)
            .join(slot.number.to_string().as_bytes()),
    )
}

/// The inode number at a path; `None` if nothing is there.
fn inode(path: &Path, shown: &TreePath) -> Result<Option<u64>, SinkError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", shown, error)),
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    #[cfg(test)]
    if super::tests::exchange_is_unknown() {
        return Err(Errno::NOSYS);
    }
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

fn follow_step(rootfs: &Rootfs, journal: &Journal, step: &Step) -> Result<(), SinkError> {
    let (Step::Place { slot, to } | Step::Exchange { slot, to, .. }) = step;
    // A journal is a foreign file like any other: no path in it may lead through a symlink.
    look(rootfs, to)?;
    if look(rootfs, &journal.areas[slot.area].join(STAGING))? != Found::Directory {
        return Ok(()); // nothing is staged there any more; a symlink would be none of ours
    }
    let from = item_path(rootfs, journal, *slot);
    let Some(staged) = inode(&from, to)? else {
        return Ok(()); // done before the interruption
    };
    let place = rootfs.host_path(to);
    let there = inode(&place, to)?;
    let rename = |from: &Path, to_path: &Path| {
        fs::rename(from, to_path).or_else(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => does_not_move(to),
            _ => Err(failed("put in place", to, error)),
        })
    };
    match (step, there) {
        (Step::Place { .. }, _) | (Step::Exchange { .. }, None) => rename(&from, &place),
        (Step::Exchange { inode, .. }, Some(_)) if *inode == staged => {
            match exchange(&from, &place) {
                Ok(()) => Ok(()),
                // Not known to this file system, this kernel, or pseudo: two steps, with a moment between them in
                // which nothing is there.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV) => {
                    let old = from.with_extension("old");
                    rename(&place, &old)?;
                    point();
                    rename(&from, &place).inspect_err(|_| {
                        // Back: a commit whose first step fails removes what is staged, and the old one is there now.
                        let _ = fs::rename(&old, &place);
                    })
                }
                Err(error) => Err(failed("put in place", to, error)),
            }
        }
        (Step::Exchange { inode, .. }, Some(there)) if *inode == there => Ok(()), // done, the old one is staged
        (Step::Exchange { .. }, Some(_)) => Err(SinkError::Conflict {
            action: "put in place",
            path: to.clone(),
            why: "the root filesystem was copied after a bundle into it had been interrupted, so that old and new cannot \
                  be told apart; run the bundle on the original, or start from a fresh root filesystem"
                .to_owned(),
        }),
    }
}
