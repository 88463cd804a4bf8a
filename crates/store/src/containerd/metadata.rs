//! `meta.db`, containerd's own records: blobs, images and snapshots, each in a namespace.
//!
//! Only what is added here is understood; every other record of an existing database (other namespaces, containers, leases,
//! other snapshotters) is kept as it is.
//!
//! Source: containerd, `core/metadata/buckets.go` (the tree of buckets), `content.go`, `images.go`, `snapshot.go`, `gc.go`
//! (labels that keep the garbage collector away); moby, `daemon/containerd/image_tag.go` and `soft_delete.go` (what becomes of
//! an image whose name moves to another one).

use vcontainer_image::{ChainId, Digest, Timestamp};

use super::value;
use crate::bolt::{Bucket, Item, NotABucket};

/// The schema; also the outermost bucket of the snapshotter's database.
pub(super) const SCHEMA: &[u8] = b"v1";
/// dockerd's namespace.
const NAMESPACE: &[u8] = b"moby";
/// dockerd's snapshotter.
pub(super) const SNAPSHOTTER: &str = "overlayfs";
/// Version of the schema's additions: that of containerd 2.0 and later. 1.6 and 1.7, at 3, accept it: they only look for
/// migrations to versions above the database's.
const VERSION: i64 = 4;
/// Name of an image that has lost its name.
const DANGLING: &str = "moby-dangling@";

/// What an image's name leads to: a manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub digest: Digest,
    pub media_type: String,
    pub size: u64,
}

/// `meta.db` as a tree of buckets.
pub(super) struct Metadata {
    root: Bucket,
    /// Stands in for the time of every new record.
    epoch: Timestamp,
}

impl Metadata {
    /// Starts from an existing database, or from an empty tree.
    pub fn new(mut root: Bucket, epoch: Timestamp) -> Result<Self, NotABucket> {
        let schema = root.make(&[SCHEMA])?;
        // An existing database keeps its version: containerd migrates the rest of its records by it.
        if schema.value(b"version").is_none() {
            schema.put("version", value::varint(VERSION));
        }
        Ok(Self { root, epoch })
    }

    /// The whole tree.
    pub fn root(&self) -> &Bucket {
        &self.root
    }

    /// Whether there is a record of the blob.
    pub fn has_blob(&self, digest: Digest) -> bool {
        let key = digest.to_string();
        self.root
            .at(&[SCHEMA, NAMESPACE, b"content", b"blob", key.as_bytes()])
            .is_some()
    }

    /// Records a blob of `size` bytes; a known blob only gets the labels that it lacks.
    pub fn add_blob(
        &mut self,
        digest: Digest,
        size: u64,
        labels: &[(String, String)],
    ) -> Result<(), NotABucket> {
        let known = self.has_blob(digest);
        let epoch = self.epoch;
        let blob = self.root.make(&[
            SCHEMA,
            NAMESPACE,
            b"content",
            b"blob",
            digest.to_string().as_bytes(),
        ])?;
        if !known {
            put_times(blob, epoch);
            blob.put("size", size_value(size));
        }
        if !labels.is_empty() {
            let bucket = blob.make(&[b"labels"])?;
            for (key, text) in labels {
                bucket.put(key.as_str(), text.as_str());
            }
        }
        Ok(())
    }

    /// Lets `name` (canonical, with its tag or digest) lead to `target`. As with `docker tag`, an image that loses its last
    /// name this way stays, without a name.
    pub fn set_image(&mut self, name: &str, target: &Target) -> Result<(), NotABucket> {
        let epoch = self.epoch;
        let images = self.root.make(&[SCHEMA, NAMESPACE, b"images"])?;
        let new = target.digest.to_string();
        if let Some(old) = images.bucket(name.as_bytes()) {
            let old_digest = target_digest(old).map(<[u8]>::to_vec);
            if old_digest.as_deref() == Some(new.as_bytes()) {
                return Ok(());
            }
            let holders = images
                .buckets()
                .filter(|(_, image)| target_digest(image) == old_digest.as_deref())
                .count();
            if let (Some(digest), 1) = (old_digest, holders) {
                let mut dangling = old.clone();
                if let Some(Item::Bucket(mut labels)) = dangling.remove(b"labels") {
                    labels.remove(b"io.containerd.image.name");
                    labels.remove(b"org.opencontainers.image.ref.name");
                    if labels.iter().next().is_some() {
                        dangling.put_bucket("labels", labels);
                    }
                }
                images.put_bucket([DANGLING.as_bytes(), &digest].concat(), dangling);
            }
        }
        images.remove(format!("{DANGLING}{new}").as_bytes());
        images.put_bucket(name, image_record(target, epoch)?);
        Ok(())
    }

    /// Records an image without a name, unless it has one already.
    pub fn add_unnamed(&mut self, target: &Target) -> Result<(), NotABucket> {
        if self.images().all(|(_, digest)| digest != target.digest) {
            self.set_image(&format!("{DANGLING}{}", target.digest), target)?;
        }
        Ok(())
    }

    /// The name by which the snapshotter knows the snapshot of a chain of layers, if there is one.
    pub fn snapshot(&self, chain: ChainId) -> Option<&str> {
        let snapshots = self
            .root
            .at(&[SCHEMA, NAMESPACE, b"snapshots", SNAPSHOTTER.as_bytes()])?;
        let name = snapshots.bucket(chain.0.to_string().as_bytes())?.value(b"name")?;
        std::str::from_utf8(name).ok()
    }

    /// Records a snapshot for a chain of layers on top of `parent`'s, and returns its name for the snapshotter.
    pub fn add_snapshot(&mut self, chain: ChainId, parent: Option<ChainId>) -> Result<String, NotABucket> {
        let epoch = self.epoch;
        let snapshots = self
            .root
            .make(&[SCHEMA, NAMESPACE, b"snapshots", SNAPSHOTTER.as_bytes()])?;
        // A counter at its end, which only a damaged database has, must not overflow; names differ by their chain, too.
        snapshots.sequence = snapshots.sequence.saturating_add(1);
        let key = chain.0.to_string();
        let name = format!(
            "{}/{}/{key}",
            String::from_utf8_lossy(NAMESPACE),
            snapshots.sequence
        );
        let snapshot = snapshots.make(&[key.as_bytes()])?;
        put_times(snapshot, epoch);
        snapshot.put("name", name.as_str());
        if let Some(parent) = parent {
            let parent = parent.0.to_string();
            snapshot.put("parent", parent.as_str());
            snapshots.make(&[parent.as_bytes(), b"children"])?.put(key, "");
        }
        Ok(name)
    }

    /// All unpacked layers: the chain as it is written there, and the snapshotter's name.
    pub fn snapshots(&self) -> impl Iterator<Item = (String, String)> {
        let snapshots = self
            .root
            .at(&[SCHEMA, NAMESPACE, b"snapshots", SNAPSHOTTER.as_bytes()]);
        snapshots
            .into_iter()
            .flat_map(Bucket::buckets)
            .filter_map(|(chain, snapshot)| {
                let name = snapshot.value(b"name")?.to_vec();
                Some((
                    String::from_utf8_lossy(chain).into_owned(),
                    String::from_utf8(name).ok()?,
                ))
            })
    }

    /// dockerd's images, by name.
    pub fn images(&self) -> impl Iterator<Item = (String, Digest)> {
        let images = self.root.at(&[SCHEMA, NAMESPACE, b"images"]);
        images
            .into_iter()
            .flat_map(Bucket::buckets)
            .filter_map(|(name, image)| {
                let digest = std::str::from_utf8(target_digest(image)?).ok()?.parse().ok()?;
                Some((String::from_utf8_lossy(name).into_owned(), digest))
            })
    }
}

/// Whether this is the name of an image that has lost its name.
pub(super) fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

fn image_record(target: &Target, epoch: Timestamp) -> Result<Bucket, NotABucket> {
    let mut image = Bucket::default();
    put_times(&mut image, epoch);
    let descriptor = image.make(&[b"target"])?;
    descriptor.put("digest", target.digest.to_string());
    descriptor.put("mediatype", target.media_type.as_str());
    descriptor.put("size", size_value(target.size));
    Ok(image)
}

fn target_digest(image: &Bucket) -> Option<&[u8]> {
    image.bucket(b"target")?.value(b"digest")
}

fn put_times(bucket: &mut Bucket, epoch: Timestamp) {
    bucket.put("createdat", value::time(epoch));
    bucket.put("updatedat", value::time(epoch));
}

fn size_value(size: u64) -> Vec<u8> {
    value::varint(i64::try_from(size).unwrap_or(i64::MAX))
}

/// Labels of a manifest blob: they keep the config and the layers alive as long as the manifest.
pub(super) fn manifest_labels(
    config: Digest,
    layers: impl IntoIterator<Item = Digest>,
) -> Vec<(String, String)> {
    let mut labels = vec![(
        "containerd.io/gc.ref.content.config".to_owned(),
        config.to_string(),
    )];
    for (index, layer) in layers.into_iter().enumerate() {
        labels.push((
            format!("containerd.io/gc.ref.content.l.{index}"),
            layer.to_string(),
        ));
    }
    labels
}

/// Labels of an index blob. As after a pull they name all its manifests, of which most are not there: the collector passes over
/// those.
pub(super) fn index_labels(manifests: impl IntoIterator<Item = Digest>) -> Vec<(String, String)> {
    let label = |(index, manifest): (usize, Digest)| {
        (
            format!("containerd.io/gc.ref.content.m.{index}"),
            manifest.to_string(),
        )
    };
    manifests.into_iter().enumerate().map(label).collect()
}

/// Label of a config blob: it keeps the unpacked layers alive.
pub(super) fn config_labels(top: Option<ChainId>) -> Vec<(String, String)> {
    let label = |chain: ChainId| {
        (
            format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"),
            chain.0.to_string(),
        )
    };
    top.map(label).into_iter().collect()
}

/// Label of a layer blob: the digest of the tar stream inside, which spares containerd to compute it for a push or an export.
pub(super) fn layer_labels(diff: Digest) -> Vec<(String, String)> {
    vec![("containerd.io/uncompressed".to_owned(), diff.to_string())]
}
