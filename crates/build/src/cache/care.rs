//! Looking after a cache: what is in it, whether it is whole, how large it may be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{BLOB, Cache, Damage, Entry, MARKER, STATE, digest_of, read_marker, read_state};
use crate::error::{Error, OnPath as _};
use crate::key::Key;

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is.
    pub directory: PathBuf,
    /// When it was used for the last time.
    pub used: SystemTime,
    /// What it takes, in bytes.
    pub size: u64,
    /// What it is.
    pub health: Health,
}

/// Whether an entry can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can, as far as was looked.
    Whole(Entry),
    /// It cannot.
    Damaged(Damage),
}

impl Cache {
    /// All entries, the one that was used last first. Only with `verify` their layers and states are read.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn list(&self, verify: bool) -> Result<Vec<Found>, Error> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory).at("listing", &self.directory)? {
            let entry = entry.at("listing", &self.directory)?;
            // Those that begin with a dot are in the making.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let directory = entry.path();
            // Every save looks through all entries: what lies in them is only read when it is asked for.
            let health = match read_marker(&directory) {
                Ok(None) => continue,
                Ok(Some(entry)) if verify => whole(&directory, entry),
                Ok(Some(entry)) => Health::Whole(entry),
                Err(damage) => Health::Damaged(damage),
            };
            let size = |name| fs::metadata(directory.join(name)).map_or(0, |metadata| metadata.len());
            all.push(Found {
                used: fs::metadata(directory.join(MARKER))
                    .and_then(|metadata| metadata.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                size: [BLOB, STATE, MARKER].into_iter().map(size).sum(),
                directory,
                health,
            });
        }
        all.sort_by(|one, other| (other.used, &other.directory).cmp(&(one.used, &one.directory)));
        Ok(all)
    }

    /// Removes the entries that were not used for the longest time, until the others take at most `limit` bytes. Damaged
    /// ones go first. Returns what has gone.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn prune(&self, limit: u64) -> Result<Vec<Found>, Error> {
        self.shrink(limit, None)
    }

    /// As [`Cache::prune`]; one entry stays in any case.
    pub(super) fn shrink(&self, limit: u64, keep: Option<&Key>) -> Result<Vec<Found>, Error> {
        let mut gone = Vec::new();
        let mut size = 0;
        for found in self.list(false)? {
            let is_kept = match &found.health {
                Health::Damaged(_) => false,
                Health::Whole(entry) => {
                    size += found.size;
                    size <= limit || keep.is_some_and(|key| key.full() == entry.key)
                }
            };
            if !is_kept && self.remove(&found.directory) {
                gone.push(found);
            }
        }
        Ok(gone)
    }
}

fn whole(directory: &Path, entry: Entry) -> Health {
    if let Err(damage) = read_state(directory, &entry) {
        return Health::Damaged(damage);
    }
    let fault = match digest_of(&directory.join(BLOB)) {
        Ok(found) if found == (entry.digest, entry.size) => return Health::Whole(entry),
        Ok((digest, _)) => format!("the digest of its layer is {digest}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it has no layer".into(),
        Err(error) => format!("its layer cannot be read: {error}"),
    };
    Health::Damaged(Damage {
        directory: directory.into(),
        fault,
    })
}
