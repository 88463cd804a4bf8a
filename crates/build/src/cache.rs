//! The layer cache: one directory for each layer, `<key16>-<layer>/`, with the finished blob, what is known of it in
//! `.oci-layer-cache`, and the package manager's state after this layer.
//!
//! Several programs may use one cache at once: an entry becomes visible in one step and is never changed afterwards.
//! An entry has no path, user or clock in what makes it valid, so it could be fetched from another machine, too.
//!
//! Source of the layout: user's document, "Layer Caching".

mod care;
mod entry;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vcontainer_image::{Digest, HashingReader};

use crate::error::{Error, OnPath as _};
use crate::key::Key;
use crate::layout::{create, write};
use crate::staging::Staging;
pub use care::{Found, Health};
pub use entry::Entry;
use entry::MARKER;

/// The blob in an entry.
const BLOB: &str = "layer";
/// The package manager's state in an entry.
const STATE: &str = "state";
/// The longest state that is read, in bytes: ten times that of a whole Debian desktop.
const MAX_STATE: u64 = 64 << 20;

/// A cache of layers.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    limit: Option<u64>,
}

/// A layer out of the cache.
#[derive(Debug, Clone)]
pub struct Hit {
    /// What is known of it.
    pub entry: Entry,
    /// The package manager's state after this layer, as it was given when the layer was saved.
    pub state: Option<Vec<u8>>,
    directory: PathBuf,
}

impl Hit {
    /// Where the state lies, for other programs.
    #[must_use]
    pub fn state_file(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|_| self.directory.join(STATE))
    }

    /// The blob. Its digest has not been compared yet.
    #[must_use]
    pub fn blob(&self) -> PathBuf {
        self.directory.join(BLOB)
    }
}

/// A directory that goes with this value; after a crash the next user of the cache removes it.
#[derive(Debug)]
pub struct Scratch(Staging);

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entry `{}` is damaged: {fault}", directory.display())]
pub struct Damage {
    /// The entry.
    pub directory: PathBuf,
    /// What is wrong with it.
    pub fault: String,
}

impl Cache {
    /// The cache in a directory, which is made if need be. When something is saved, the entries that were not used for
    /// the longest time go until the others take at most `limit` bytes.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn open(directory: &Path, limit: Option<u64>) -> Result<Self, Error> {
        // Whoever finds out after an hour of work has lost that hour.
        Staging::new(directory).map_err(|error| Error::Cache {
            directory: directory.into(),
            source: Box::new(error),
        })?;
        Ok(Self {
            directory: directory.into(),
            limit,
        })
    }

    /// A directory in the cache for what is made on the way, which goes with the returned value.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        Staging::new(&self.directory).map(Scratch)
    }

    fn place(&self, key: &Key, name: &str) -> PathBuf {
        self.directory.join(format!("{}-{name}", key.short()))
    }

    /// The entry with this key. It counts as used now. The blob has not been read: see [`Cache::restore`].
    ///
    /// # Errors
    /// There is one, and it is damaged.
    pub fn lookup(&self, key: &Key, name: &str) -> Result<Option<Hit>, Damage> {
        let directory = self.place(key, name);
        let Some(hit) = open_entry(&directory)? else {
            return Ok(None);
        };
        // Another key may begin with the same digits.
        if hit.entry.key != key.full() || hit.entry.name != name {
            return Ok(None);
        }
        // In a cache of somebody else's the time stays as it is: then it is not the last to be removed.
        let marker = File::options().write(true).open(directory.join(MARKER));
        let _ = marker
            .and_then(|marker| marker.set_modified(SystemTime::now()))
            .ok();
        Ok(Some(hit))
    }

    /// Puts the blob of an entry to `target`, and compares its digest.
    ///
    /// # Errors
    /// The entry is damaged (the inner error), or `target` cannot be written. Nothing is at `target` then.
    pub fn restore(&self, hit: &Hit, target: &Path) -> Result<Result<(), Damage>, Error> {
        let damage = |fault: String| Damage {
            directory: hit.directory.clone(),
            fault,
        };
        match link_or_copy(&hit.blob(), target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(damage("it has no layer".into())));
            }
            result => result.at("copying a layer of the cache to", target)?,
        }
        let (digest, size) = digest_of(target).at("reading", target)?;
        if (digest, size) == (hit.entry.digest, hit.entry.size) {
            return Ok(Ok(()));
        }
        fs::remove_file(target).at("removing", target)?;
        Ok(Err(damage(format!("the digest of its layer is {digest}"))))
    }

    /// Saves a layer: the file `blob`, which is not changed any more, and the package manager's state.
    ///
    /// # Errors
    /// The cache takes no more. There is no half entry then.
    pub fn save(&self, key: &Key, entry: &Entry, blob: &Path, state: Option<&[u8]>) -> Result<(), Error> {
        let save = || {
            let staging = Staging::new(&self.directory)?;
            let file = |name: &str| staging.path().join(name);
            link_or_copy(blob, &file(BLOB)).at("copying a layer to", &file(BLOB))?;
            if let Some(state) = state {
                write(&file(STATE), state)?;
            }
            write(&file(MARKER), entry.text().as_bytes())?;
            let directory = File::open(staging.path()).at("opening", staging.path())?;
            directory.sync_all().at("writing out", staging.path())?;
            // Others may use it, whatever the umask is.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(staging.path(), mode).at("setting the mode of", staging.path())?;
            let place = self.place(key, &entry.name);
            // Somebody else was faster.
            let is_there = || matches!(open_entry(&place), Ok(Some(hit)) if hit.entry.key == entry.key);
            match is_there() {
                true => Ok(()),
                false => staging.publish(&place).or_else(|error| match is_there() {
                    true => Ok(()),
                    false => Err(error),
                }),
            }
        };
        let too_large = state.is_some_and(|state| state.len() as u64 > MAX_STATE);
        let saved = match too_large {
            true => Err(Error::definition(
                format!("layer `{}`", entry.name),
                format!(
                    "the package manager's state is larger than {} MiB",
                    MAX_STATE >> 20
                ),
            )),
            false => save(),
        };
        saved.map_err(|error| Error::Cache {
            directory: self.directory.clone(),
            source: Box::new(error),
        })?;
        match self.limit {
            Some(limit) => self.shrink(limit, Some(key)).map(drop),
            None => Ok(()),
        }
    }

    /// Removes an entry, in one step. Says whether it has gone: somebody else's may have to stay.
    pub fn remove(&self, directory: &Path) -> bool {
        let gone = Staging::new(&self.directory)
            .is_ok_and(|staging| fs::rename(directory, staging.path().join("gone")).is_ok());
        gone || fs::symlink_metadata(directory).is_err()
    }
}

/// Reads an entry. `None` if there is none.
fn open_entry(directory: &Path) -> Result<Option<Hit>, Damage> {
    let Some(entry) = read_marker(directory)? else {
        return Ok(None);
    };
    Ok(Some(Hit {
        state: read_state(directory, &entry)?,
        entry,
        directory: directory.into(),
    }))
}

/// What the marker of an entry says. `None` if there is no entry.
fn read_marker(directory: &Path) -> Result<Option<Entry>, Damage> {
    let damage = |fault: String| Damage {
        directory: directory.into(),
        fault,
    };
    let text = match fs::read_to_string(directory.join(MARKER)) {
        Ok(text) => text,
        // Without its marker a directory is no entry.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(damage(format!("its file {MARKER} cannot be read: {error}"))),
    };
    let entry = Entry::parse(&text).ok_or_else(|| damage(format!("its file {MARKER} is malformed")))?;
    Ok(Some(entry))
}

/// The state in an entry, if it has one, and it is the one that was saved.
fn read_state(directory: &Path, entry: &Entry) -> Result<Option<Vec<u8>>, Damage> {
    let damage = |fault: String| Damage {
        directory: directory.into(),
        fault,
    };
    let Some(digest) = entry.state else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    File::open(directory.join(STATE))
        .and_then(|file| file.take(MAX_STATE).read_to_end(&mut bytes))
        .map_err(|error| damage(format!("its file {STATE} cannot be read: {error}")))?;
    match Digest::of(&bytes) == digest {
        true => Ok(Some(bytes)),
        false => Err(damage(format!("its file {STATE} is another one"))),
    }
}

/// A second name if the file system gives one, else a copy. Blobs are never changed, so one file does for both.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => {
            let mut source = File::open(from)?;
            let mut target = create(to)?;
            io::copy(&mut source, &mut target)?;
            target.sync_all()
        }
        Ok(()) => Ok(()),
    }
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut reader = BufReader::with_capacity(1 << 18, HashingReader::new(File::open(path)?));
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.into_inner().finish())
}
