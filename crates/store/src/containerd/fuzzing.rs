//! Properties of containerd's records.

use vcontainer_image::{ChainId, Digest, Timestamp};

use super::metadata::{Metadata, Target};
use super::snapshots::{Snapshots, Usage};
use crate::bolt::Bucket;

/// Takes `root` for both databases and records an image of two layers in each. The trees afterwards.
pub(crate) fn extend(root: Bucket) -> Vec<Bucket> {
    let epoch = Timestamp::default();
    let mut trees = Vec::new();
    if let Ok(mut metadata) = Metadata::new(root.clone(), epoch)
        && records(&mut metadata).is_ok()
    {
        trees.push(metadata.root().clone());
    }
    if let Ok(mut snapshots) = Snapshots::new(root, epoch, 0) {
        let ids = [snapshots.next_id(), snapshots.next_id()];
        if let [Ok(base), Ok(top)] = ids {
            assert!(base < top);
            let usage = Usage {
                inodes: 1,
                bytes: u64::MAX,
            };
            let added = snapshots
                .add("base", base, None, usage)
                .and_then(|()| snapshots.add("top", top, Some(("base", base)), usage));
            if added.is_ok() {
                assert_eq!(snapshots.get("top").map(|snapshot| snapshot.id), Some(top));
                trees.push(snapshots.root().clone());
            }
        }
    }
    trees
}

fn records(metadata: &mut Metadata) -> Result<(), Box<dyn std::error::Error>> {
    let (base, top) = (ChainId(Digest::of(b"base")), ChainId(Digest::of(b"top")));
    let digest = Digest::of(b"manifest");
    let before: Vec<_> = metadata
        .images()
        .filter(|(name, _)| name != "docker.io/library/app:latest")
        .collect();
    metadata.add_blob(digest, 7, &[("label".to_owned(), "text".to_owned())])?;
    assert!(metadata.has_blob(digest));
    let target = Target {
        digest,
        media_type: "type".to_owned(),
        size: u64::MAX,
    };
    for _ in 0..2 {
        metadata.set_image("docker.io/library/app:latest", &target)?;
    }
    let after: Vec<_> = metadata.images().collect();
    assert!(after.contains(&("docker.io/library/app:latest".to_owned(), digest)));
    // Names of other images stay; one without a name may have got this one.
    let lost = before.iter().find(|image| !after.contains(image));
    assert!(lost.is_none_or(|(_, lost)| *lost == digest), "{lost:?}");
    if metadata.snapshot(base).is_none() && metadata.snapshot(top).is_none() {
        let first = metadata.add_snapshot(base, None)?;
        let second = metadata.add_snapshot(top, Some(base))?;
        assert_ne!(first, second);
        assert_eq!(metadata.snapshot(top), Some(second.as_str()));
    }
    Ok(())
}
