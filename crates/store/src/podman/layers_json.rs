//! `overlay-layers/layers.json`: the layers of a containers/storage store, parents before children.
//!
//! Source: containers/storage `layers.go`, `type Layer` (fields and their order); containers/image
//! `storage/storage_dest.go`, `layerID`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vcontainer_image::{Compression, DiffId, Digest, Timestamp};

use super::records::Record;
use crate::time::to_rfc3339;

/// The IDs of layers with these diff IDs, base first.
///
/// `id(1) = hex(diff(1))`, `id(n) = hex(sha256(id(n-1) + "+" + hex(diff(n))))`: not the OCI chain ID. With these IDs a
/// later pull finds the layers.
pub(crate) fn layer_ids(diff_ids: &[DiffId]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let diff = diff_id.0.hex();
        let id = match ids.last() {
            None => diff,
            Some(parent) => Digest::of(format!("{parent}+{diff}").as_bytes()).hex(),
        };
        ids.push(id);
    }
    ids
}

/// What `layers.json` says about a layer.
#[derive(Debug)]
pub(crate) struct LayerFields<'a> {
    /// See [`layer_ids`].
    pub id: &'a str,
    /// The ID of the layer below.
    pub parent: Option<&'a str>,
    /// When the store got the layer.
    pub created: Timestamp,
    /// Digest of the blob as the manifest names it.
    pub blob: Digest,
    /// Bytes of that blob.
    pub blob_size: u64,
    /// How that blob is compressed.
    pub compression: Compression,
    /// Digest of the uncompressed tar stream.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar stream.
    pub diff_size: u64,
    /// Owners that occur in the layer, without those of whiteouts.
    pub uids: &'a BTreeSet<u32>,
    /// Groups that occur in the layer, without those of whiteouts.
    pub gids: &'a BTreeSet<u32>,
}

impl LayerFields<'_> {
    /// The record, with the fields in the order in which containers/storage writes them.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::new();
        let mut set = |field: &str, value: Value| record.insert(field.to_owned(), value);
        set("id", json!(self.id));
        if let Some(parent) = self.parent {
            set("parent", json!(parent));
        }
        set("created", json!(to_rfc3339(self.created)));
        set("compressed-diff-digest", json!(self.blob));
        set("compressed-size", json!(self.blob_size));
        set("diff-digest", json!(self.diff_id));
        set("diff-size", json!(self.diff_size));
        // containers/storage `pkg/archive`: 0 uncompressed (omitted), 1 bzip2, 2 gzip, 3 xz, 4 zstd.
        match self.compression {
            Compression::None => {}
            Compression::Gzip => drop(set("compression", json!(2))),
            Compression::Zstd => drop(set("compression", json!(4))),
        }
        if !self.uids.is_empty() {
            set("uidset", json!(self.uids));
        }
        if !self.gids.is_empty() {
            set("gidset", json!(self.gids));
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_containers_image() {
        let (a, b) = (DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")));
        let ids = layer_ids(&[a, b]);
        assert_eq!(ids[0], a.0.hex());
        assert_eq!(
            ids[1],
            Digest::of(format!("{}+{}", a.0.hex(), b.0.hex()).as_bytes()).hex()
        );
        assert_ne!(layer_ids(&[a, a])[0], layer_ids(&[a, a])[1]);
    }

    #[test]
    fn records_are_written_as_podman_writes_them() {
        let fields = LayerFields {
            id: "child",
            parent: Some("base"),
            created: Timestamp::default(),
            blob: Digest::of(b"blob"),
            blob_size: 10,
            compression: Compression::Gzip,
            diff_id: DiffId(Digest::of(b"diff")),
            diff_size: 2048,
            uids: &BTreeSet::from([1000, 0]),
            gids: &BTreeSet::new(),
        };
        let wanted = format!(
            "{{\"id\":\"child\",\"parent\":\"base\",\"created\":\"1970-01-01T00:00:00Z\",\
             \"compressed-diff-digest\":\"{}\",\"compressed-size\":10,\"diff-digest\":\"{}\",\"diff-size\":2048,\
             \"compression\":2,\"uidset\":[0,1000]}}",
            Digest::of(b"blob"),
            Digest::of(b"diff")
        );
        assert_eq!(Value::Object(fields.record()).to_string(), wanted);
    }
}
