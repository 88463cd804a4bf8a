//! bbolt database files, in which containerd keeps its metadata.
//!
//! A database is a tree of buckets. This module turns such a tree into the bytes of a file and back; there is no editing
//! in place: a store is read, extended in memory and written as a whole, so the same content always gives the same
//! bytes. All numbers in the file are little-endian, as on every Linux machine that these engines run on (bbolt itself
//! writes the byte order of its host).
//!
//! Source of the format: bbolt, `internal/common/page.go`, `meta.go`, `bucket.go`, `inode.go`; `node.go` for what a
//! database must fulfil before bbolt itself changes it.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod read;
mod write;

use std::collections::BTreeMap;

pub use read::read;
pub use write::write;

/// Marks a bbolt file (`Magic`).
const MAGIC: u32 = 0xED0C_DAED;
/// Version of the file format (`Version`); unchanged since boltdb.
const VERSION: u32 = 2;
/// The page header: id u64, flags u16, count u16, overflow u32.
const PAGE_HEADER: usize = 16;
/// A leaf element (flags, pos, ksize, vsize: u32 each) and a branch element (pos, ksize: u32, page id: u64).
const ELEMENT: usize = 16;
/// What stands before the page of an inline bucket and is all of any other bucket's value: root page id u64, sequence u64.
const BUCKET_HEADER: usize = 16;
/// Bytes of a meta record that its checksum covers.
const META_CHECKED: usize = 56;
/// Flags of a page.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREELIST: u16 = 0x10;
/// Flag of a leaf element whose value is a bucket.
const IS_BUCKET: u32 = 1;
/// The longest key that bbolt accepts (`MaxKeySize`).
const MAX_KEY: usize = 32768;

/// A bucket: an ordered map from keys to values and further buckets, with a counter of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's counter (`NextSequence` gives this plus one).
    pub sequence: u64,
    entries: BTreeMap<Vec<u8>, Item>,
}

/// What a key of a bucket leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Plain bytes.
    Value(Vec<u8>),
    /// A bucket inside the bucket.
    Bucket(Bucket),
}

impl Bucket {
    /// Everything in the bucket, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Item)> {
        self.entries.iter().map(|(key, item)| (key.as_slice(), item))
    }

    /// The bucket's sub-buckets, in key order.
    pub fn buckets(&self) -> impl Iterator<Item = (&[u8], &Bucket)> {
        self.iter().filter_map(|(key, item)| match item {
            Item::Bucket(bucket) => Some((key, bucket)),
            Item::Value(_) => None,
        })
    }

    /// The value at `key`; `None` also if there is a bucket.
    #[must_use]
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        match self.entries.get(key)? {
            Item::Value(value) => Some(value),
            Item::Bucket(_) => None,
        }
    }

    /// The bucket at `key`; `None` also if there is a value.
    #[must_use]
    pub fn bucket(&self, key: &[u8]) -> Option<&Bucket> {
        match self.entries.get(key)? {
            Item::Bucket(bucket) => Some(bucket),
            Item::Value(_) => None,
        }
    }

    /// The bucket reached by going down through `path`.
    #[must_use]
    pub fn at(&self, path: &[&[u8]]) -> Option<&Bucket> {
        path.iter().try_fold(self, |bucket, key| bucket.bucket(key))
    }

    /// The bucket reached by going down through `path`, made where it does not exist.
    ///
    /// # Errors
    /// There is a value where a bucket should be.
    pub fn make(&mut self, path: &[&[u8]]) -> Result<&mut Bucket, NotABucket> {
        let mut bucket = self;
        for key in path {
            let item = bucket.entries.entry(key.to_vec());
            bucket = match item.or_insert_with(|| Item::Bucket(Bucket::default())) {
                Item::Bucket(bucket) => bucket,
                Item::Value(_) => return Err(NotABucket(key.escape_ascii().to_string())),
            };
        }
        Ok(bucket)
    }

    /// Sets the value at `key`, replacing what is there.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.entries.insert(key.into(), Item::Value(value.into()));
    }

    /// Sets the bucket at `key`, replacing what is there.
    pub fn put_bucket(&mut self, key: impl Into<Vec<u8>>, bucket: Bucket) {
        self.entries.insert(key.into(), Item::Bucket(bucket));
    }

    /// Takes out what is at `key`.
    pub fn remove(&mut self, key: &[u8]) -> Option<Item> {
        self.entries.remove(key)
    }
}

/// A database has a value where its format has a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record `{0}` of the database is a value where there should be a bucket")]
pub struct NotABucket(String);

/// The checksum of a meta record: 64-bit FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
