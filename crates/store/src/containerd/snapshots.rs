//! `metadata.db` of the overlayfs snapshotter: which directory under `snapshots/` belongs to which snapshot.
//!
//! Source: containerd, `core/snapshots/storage/bolt.go`.

use vcontainer_image::Timestamp;

use super::metadata::SCHEMA;
use super::value;
use crate::bolt::{Bucket, NotABucket};

/// `KindCommitted` of containerd's `snapshots.Kind`: may have children, and is never written to.
const COMMITTED: u8 = 3;

/// What a snapshot takes on disk, as the engine adds it up for its lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub inodes: u64,
    pub bytes: u64,
}

/// What is known of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Its directory is `snapshots/<id>`.
    pub id: u64,
    /// Whether it is a finished layer.
    pub committed: bool,
    pub usage: Usage,
}

/// `metadata.db` as a tree of buckets.
pub(super) struct Snapshots {
    root: Bucket,
    epoch: Timestamp,
}

impl Snapshots {
    /// Starts from an existing database, or from an empty tree. `used` is the highest number of any directory there.
    pub fn new(mut root: Bucket, epoch: Timestamp, used: u64) -> Result<Self, NotABucket> {
        root.make(&[SCHEMA, b"parents"])?;
        let snapshots = root.make(&[SCHEMA, b"snapshots"])?;
        let recorded = snapshots.buckets().filter_map(|(_, record)| id(record)).max();
        snapshots.sequence = snapshots.sequence.max(recorded.unwrap_or(0)).max(used);
        Ok(Self { root, epoch })
    }

    /// The whole tree.
    pub fn root(&self) -> &Bucket {
        &self.root
    }

    /// The snapshot with the name that `meta.db` has for it.
    pub fn get(&self, name: &str) -> Option<Snapshot> {
        let record = self.root.at(&[SCHEMA, b"snapshots", name.as_bytes()])?;
        let count = |key: &[u8]| {
            record
                .value(key)
                .and_then(value::read_varint)
                .and_then(|number| u64::try_from(number).ok())
        };
        Some(Snapshot {
            id: id(record)?,
            committed: record.value(b"kind") == Some(&[COMMITTED]),
            usage: Usage {
                inodes: count(b"inodes").unwrap_or(0),
                bytes: count(b"size").unwrap_or(0),
            },
        })
    }

    /// A number for a new snapshot's directory.
    pub fn next_id(&mut self) -> Result<u64, NotABucket> {
        let snapshots = self.root.make(&[SCHEMA, b"snapshots"])?;
        // A counter at its end, which only a damaged database has, must not overflow: the sink refuses the second directory
        // of one number.
        snapshots.sequence = snapshots.sequence.saturating_add(1);
        Ok(snapshots.sequence)
    }

    /// Records a finished layer in the directory `id`, on top of the snapshot `parent` (its name and its directory).
    pub fn add(
        &mut self,
        name: &str,
        id: u64,
        parent: Option<(&str, u64)>,
        usage: Usage,
    ) -> Result<(), NotABucket> {
        let epoch = self.epoch;
        let mut record = Bucket::default();
        record.put("id", value::uvarint(id));
        record.put("kind", [COMMITTED]);
        for key in ["createdat", "updatedat"] {
            record.put(key, value::time(epoch));
        }
        for (key, number) in [("inodes", usage.inodes), ("size", usage.bytes)] {
            record.put(key, value::varint(i64::try_from(number).unwrap_or(i64::MAX)));
        }
        if let Some((parent, parent_id)) = parent {
            record.put("parent", parent);
            self.root
                .make(&[SCHEMA, b"parents"])?
                .put(value::parent_key(parent_id, id), name);
        }
        self.root.make(&[SCHEMA, b"snapshots"])?.put_bucket(name, record);
        Ok(())
    }
}

fn id(record: &Bucket) -> Option<u64> {
    value::read_uvarint(record.value(b"id")?)
}
