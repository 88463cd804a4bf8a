//! Blobs by digest, kept for the next time, and parts of blobs that have not come whole yet.
//!
//! ```text
//! DIR/blobs/sha256/HEX            a blob: whole, verified when it came, verified again when it is used
//! DIR/blobs/sha256/HEX.partial    the beginning of one; whoever appends to it holds a lock (flock) on it
//! ```
//!
//! A part is nothing to rely on: its digest is compared when it is whole. Any of these files may be removed at any time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use vcontainer_build::is_at;
use vcontainer_image::{Digest, Hasher};

use crate::error::{Error, OnPath as _};

/// A directory of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    directory: PathBuf,
    blobs: PathBuf,
}

/// A blob that is being received. Nobody else appends to it meanwhile.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Cache {
    /// The cache in a directory, which need not be there.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            blobs: directory.join("blobs/sha256"),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Whether there is a blob of this name and size. Its bytes are looked at when they are used.
    pub fn has(&self, digest: Digest, size: u64) -> Result<bool, Error> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == size),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("looking at", &path),
        }
    }

    /// Opens a blob; `None` when it isn't there.
    pub fn open(&self, digest: Digest) -> Result<Option<File>, Error> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("opening", &path),
        }
    }

    /// Reads a document. The inner error says that something else lies in its place.
    pub fn read(&self, digest: Digest, limit: u64) -> Result<Option<Result<Vec<u8>, Damaged>>, Error> {
        let Some(file) = self.open(digest)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .at("reading", &self.path(digest))?;
        if bytes.len() as u64 > limit {
            let path = self.path(digest);
            return Err(Error::NoDocument { path, limit });
        }
        let right = Digest::of(&bytes) == digest;
        Ok(Some(if right { Ok(bytes) } else { Err(Damaged) }))
    }

    /// Removes a blob.
    pub fn remove(&self, digest: Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).at("removing the damaged file", &path)
            }
            _ => Ok(()),
        }
    }

    /// Keeps a document. Somebody who keeps the same at the same time is waited for, and as good.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let digest = Digest::of(bytes);
        loop {
            if let Some(mut partial) = self.locked(digest, FlockOperation::LockExclusive)? {
                partial.clear()?;
                partial.append(bytes)?;
                return self.keep(&partial, digest);
            }
            if self.has(digest, bytes.len() as u64)? {
                return Ok(());
            }
        }
    }

    /// The part of a blob that has come so far; `None` while another process receives it.
    pub fn partial(&self, digest: Digest) -> Result<Option<Partial>, Error> {
        self.locked(digest, FlockOperation::NonBlockingLockExclusive)
    }

    /// The part, with the lock on it; `None` when somebody has it, or has made a blob of it meanwhile.
    fn locked(&self, digest: Digest, lock: FlockOperation) -> Result<Option<Partial>, Error> {
        fs::create_dir_all(&self.blobs).at("making the directory", &self.blobs)?;
        let path = self.blobs.join(format!("{}.partial", digest.hex()));
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .at("opening", &path)?;
        match rustix::io::retry_on_intr(|| flock(&file, lock)) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            result => result.at("locking", &path)?,
        }
        // Whoever had the lock before may have made a blob of it.
        if !is_at(&file, &path) {
            return Ok(None);
        }
        Ok(Some(Partial {
            path,
            file,
            hasher: Hasher::new(),
            size: 0,
        }))
    }

    /// Makes a blob of a part that is whole.
    pub fn keep(&self, partial: &Partial, digest: Digest) -> Result<(), Error> {
        let path = self.path(digest);
        finish(&partial.file).at("writing out", &partial.path)?;
        fs::rename(&partial.path, &path).at("renaming to", &path)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        let directory = File::open(&self.blobs).at("opening", &self.blobs)?;
        directory.sync_all().at("writing out", &self.blobs)
    }
}

/// There is something else than the name says.
#[derive(Debug)]
pub(crate) struct Damaged;

impl Partial {
    /// How much is there, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes what an earlier run has left, if it is not more than `most` bytes.
    pub fn resume(&mut self, most: u64) -> Result<(), Error> {
        let length = self.file.metadata().at("looking at", &self.path)?.len();
        if length > most {
            return self.clear();
        }
        self.file.seek(SeekFrom::Start(0)).at("reading", &self.path)?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match self.file.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.at("reading", &self.path)?,
            };
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(buffer.get(..count).unwrap_or_default());
            self.size += count as u64;
        }
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.file.write_all(bytes) {
            // What was half written is not in the hash.
            let _ = self.file.set_len(self.size);
            return Err(error).at("writing", &self.path);
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Begins again with nothing.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.file.set_len(0).at("emptying", &self.path)?;
        self.file.seek(SeekFrom::Start(0)).at("emptying", &self.path)?;
        self.hasher = Hasher::new();
        self.size = 0;
        Ok(())
    }

    /// The digest of what is there.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Removes it: somebody else has made the blob.
    pub fn remove(self) {
        // What stays is only a waste of space.
        let _ = fs::remove_file(&self.path);
    }
}

fn finish(file: &File) -> io::Result<()> {
    file.sync_all()?;
    file.set_permissions(Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_becomes_a_blob_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("new"));
        let digest = Digest::of(b"hello");
        assert!(!cache.has(digest, 5).unwrap() && cache.open(digest).unwrap().is_none());
        let mut partial = cache.partial(digest).unwrap().unwrap();
        partial.append(b"hel").unwrap();
        assert!(cache.partial(digest).unwrap().is_none(), "it is locked");
        drop(partial);
        let mut partial = cache.partial(digest).unwrap().unwrap();
        partial.resume(5).unwrap();
        assert_eq!(partial.size(), 3);
        partial.append(b"lo").unwrap();
        assert_eq!(partial.digest(), digest);
        cache.keep(&partial, digest).unwrap();
        assert!(cache.has(digest, 5).unwrap() && !cache.has(digest, 4).unwrap());
        assert_eq!(cache.read(digest, 5).unwrap().unwrap().unwrap(), b"hello");
        assert!(matches!(
            cache.read(digest, 4),
            Err(Error::NoDocument { limit: 4, .. })
        ));
        let mut longer = cache.partial(digest).unwrap().unwrap();
        longer.append(b"hello, world").unwrap();
        drop(longer);
        let mut partial = cache.partial(digest).unwrap().unwrap();
        partial.resume(5).unwrap();
        assert_eq!(partial.size(), 0);
    }

    #[test]
    fn whoever_keeps_the_same_document_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let digest = Digest::of(b"document");
        for is_kept in [true, false] {
            let mut partial = cache.partial(digest).unwrap().unwrap();
            partial.append(b"docu").unwrap();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| cache.write(b"document"));
                if is_kept {
                    partial.append(b"ment").unwrap();
                    cache.keep(&partial, digest).unwrap();
                }
                // With the lock goes what the other one waits for.
                drop(partial);
                other.join().unwrap().unwrap();
            });
            assert_eq!(cache.read(digest, 100).unwrap().unwrap().unwrap(), b"document");
            cache.remove(digest).unwrap();
        }
        let left = fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn damage_is_seen_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        cache.write(b"document").unwrap();
        let digest = Digest::of(b"document");
        fs::write(folder.path().join("blobs/sha256").join(digest.hex()), b"Document").unwrap();
        assert!(cache.read(digest, 100).unwrap().unwrap().is_err());
        cache.remove(digest).unwrap();
        cache.remove(digest).unwrap();
        assert!(cache.read(digest, 100).unwrap().is_none());
        let left = fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
        assert_eq!(left, 0);
    }
}
