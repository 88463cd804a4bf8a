//! A containerd store that is there already, as data.

use std::path::{Path, PathBuf};

use vcontainer_image::{ChainId, Digest, Timestamp};

use super::metadata::Metadata;
use super::snapshots::Snapshots;
use super::{META_DB, SNAPSHOTS_DB, blob_name, content_name, snapshots_name};
use crate::StoreError;
use crate::bolt::{self, Bucket};
use crate::store_dir::StoreDir;

/// The largest database that is read. On a device with a hundred images and containers it has less than 1 MiB; bbolt never
/// shrinks a file.
const MAX_DATABASE: u64 = 256 << 20;

/// The two databases of a store and the directories that they speak of.
pub(super) struct Existing {
    dir: Option<StoreDir>,
    pub metadata: Metadata,
    pub snapshots: Snapshots,
}

/// A layer that the store has unpacked already.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    /// The snapshotter's name of it.
    pub name: String,
    /// The number of its directory.
    pub id: u64,
    /// Where its content is on this machine.
    pub path: PathBuf,
}

impl Existing {
    /// Reads the store in the directory `root`; without one, or where a database has never been made, starts with nothing.
    /// New records get the time `epoch`.
    ///
    /// # Errors
    /// Databases that cannot be read or that contradict their format.
    pub fn open(root: Option<&Path>, epoch: Timestamp) -> Result<Self, StoreError> {
        let dir = root.map(StoreDir::new);
        let used = match &dir {
            Some(dir) => dir
                .list(&snapshots_name())?
                .iter()
                .filter_map(|name| name.parse().ok())
                .max()
                .unwrap_or(0),
            None => 0,
        };
        Ok(Self {
            metadata: database(dir.as_ref(), META_DB, |tree| Metadata::new(tree, epoch))?,
            snapshots: database(dir.as_ref(), SNAPSHOTS_DB, |tree| {
                Snapshots::new(tree, epoch, used)
            })?,
            dir,
        })
    }

    /// The unpacked layer of a chain, if all of it is there: both records and the directory.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn layer(&self, chain: ChainId) -> Result<Option<Unpacked>, StoreError> {
        let (Some(dir), Some(name)) = (&self.dir, self.metadata.snapshot(chain)) else {
            return Ok(None);
        };
        let Some(snapshot) = self.snapshots.get(name).filter(|snapshot| snapshot.committed) else {
            return Ok(None);
        };
        let content = content_name(snapshot.id);
        Ok(dir.is_dir(&content)?.then(|| Unpacked {
            name: name.to_owned(),
            id: snapshot.id,
            path: dir.path(&content),
        }))
    }

    /// Whether the store has a blob: its record, and its file with the right size.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn blob(&self, digest: Digest, size: u64) -> Result<bool, StoreError> {
        let Some(dir) = self.dir.as_ref().filter(|_| self.metadata.has_blob(digest)) else {
            return Ok(false);
        };
        let file = dir.metadata(&blob_name(digest))?;
        Ok(file.is_some_and(|file| file.is_file() && file.len() == size))
    }

    /// The content of a small blob (manifest, index, configuration), if the store has it and it is intact.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn document(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        Ok(dir
            .read(&blob_name(digest))?
            .filter(|bytes| Digest::of(bytes) == digest))
    }
}

fn database<T>(
    dir: Option<&StoreDir>,
    name: &str,
    open: impl FnOnce(Bucket) -> Result<T, bolt::NotABucket>,
) -> Result<T, StoreError> {
    let broken = |what: String| StoreError::Existing {
        path: dir.map(|dir| dir.path(name)).unwrap_or_default(),
        what,
    };
    let bytes = match dir {
        Some(dir) => dir.read_up_to(name, MAX_DATABASE)?,
        None => None,
    };
    let tree = match bytes {
        Some(bytes) => bolt::read(&bytes).map_err(|error| broken(error.to_string()))?,
        None => Bucket::default(),
    };
    open(tree).map_err(|error| broken(error.to_string()))
}
