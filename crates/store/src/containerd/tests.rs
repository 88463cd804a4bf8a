//! The databases as whole trees.

use vcontainer_image::{ChainId, DiffId, Digest, Timestamp};

use super::metadata::{Metadata, Target, config_labels, index_labels, layer_labels, manifest_labels};
use super::snapshots::{Snapshots, Usage};
use crate::bolt::{self, Bucket, Item};

const EPOCH: Timestamp = Timestamp {
    seconds: 0,
    nanoseconds: 0,
};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn target(text: &str) -> Target {
    Target {
        digest: digest(text),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: 300,
    }
}

/// A tree as text, one line a record, as in storage descriptions: `a/b: value`.
fn dump(bucket: &Bucket) -> Vec<String> {
    fn walk(path: &str, bucket: &Bucket, lines: &mut Vec<String>) {
        if bucket.sequence != 0 {
            lines.push(format!("{path}# {}", bucket.sequence));
        }
        for (key, item) in bucket.iter() {
            let path = format!("{path}{}", key.escape_ascii());
            match item {
                Item::Value(value) => lines.push(format!("{path}: {}", value.escape_ascii())),
                Item::Bucket(inner) => walk(&format!("{path}/"), inner, lines),
            }
        }
    }
    let mut lines = Vec::new();
    walk("", bucket, &mut lines);
    lines
}

const TIMES: &str = r"\x01\x00\x00\x00\x0ew\x91\xf7\x00\x00\x00\x00\x00\xff\xff";

#[test]
fn the_records_of_an_image_are_those_that_containerd_writes() {
    let layers = [DiffId(digest("base")), DiffId(digest("top"))];
    let [base, top] = ChainId::chain(&layers)[..] else {
        panic!()
    };
    let mut metadata = Metadata::new(Bucket::default(), EPOCH).unwrap();
    let mut snapshots = Snapshots::new(Bucket::default(), EPOCH, 0).unwrap();
    let mut below: Option<(ChainId, String, u64)> = None;
    for chain in [base, top] {
        let parent = below.as_ref().map(|(chain, ..)| *chain);
        let name = metadata.add_snapshot(chain, parent).unwrap();
        let id = snapshots.next_id().unwrap();
        let parent = below.as_ref().map(|(_, name, id)| (name.as_str(), *id));
        snapshots
            .add(&name, id, parent, Usage { inodes: 3, bytes: 64 })
            .unwrap();
        assert_eq!(metadata.snapshot(chain), Some(name.as_str()));
        assert_eq!(snapshots.get(&name).unwrap().id, id);
        below = Some((chain, name, id));
    }
    metadata
        .add_blob(digest("layer"), 200, &layer_labels(digest("base")))
        .unwrap();
    metadata
        .add_blob(digest("config"), 100, &config_labels(Some(top)))
        .unwrap();
    metadata
        .add_blob(
            digest("manifest"),
            300,
            &manifest_labels(digest("config"), [digest("layer")]),
        )
        .unwrap();
    metadata
        .add_blob(
            digest("index"),
            400,
            &index_labels([digest("manifest"), digest("other")]),
        )
        .unwrap();
    metadata
        .set_image("docker.io/library/app:1", &target("manifest"))
        .unwrap();

    let [config, manifest, index, layer, other] =
        ["config", "manifest", "index", "layer", "other"].map(digest);
    let mut blobs: Vec<(Digest, Vec<String>)> = vec![
        (
            config,
            vec![
                format!("labels/containerd.io/gc.ref.snapshot.overlayfs: {}", top.0),
                r"size: \xc8\x01".to_owned(),
            ],
        ),
        (
            manifest,
            vec![
                format!("labels/containerd.io/gc.ref.content.config: {config}"),
                format!("labels/containerd.io/gc.ref.content.l.0: {layer}"),
                r"size: \xd8\x04".to_owned(),
            ],
        ),
        (
            index,
            vec![
                format!("labels/containerd.io/gc.ref.content.m.0: {manifest}"),
                format!("labels/containerd.io/gc.ref.content.m.1: {other}"),
                r"size: \xa0\x06".to_owned(),
            ],
        ),
        (
            layer,
            vec![
                format!("labels/containerd.io/uncompressed: {}", base.0),
                r"size: \x90\x03".to_owned(),
            ],
        ),
    ];
    blobs.sort();
    let mut expected = Vec::new();
    for (blob, lines) in blobs {
        let path = format!("v1/moby/content/blob/{blob}");
        expected.push(format!("{path}/createdat: {TIMES}"));
        expected.extend(lines.iter().map(|line| format!("{path}/{line}")));
        expected.push(format!("{path}/updatedat: {TIMES}"));
    }
    let image = "v1/moby/images/docker.io/library/app:1";
    expected.extend([
        format!("{image}/createdat: {TIMES}"),
        format!("{image}/target/digest: {manifest}"),
        format!("{image}/target/mediatype: application/vnd.oci.image.manifest.v1+json"),
        format!(r"{image}/target/size: \xd8\x04"),
        format!("{image}/updatedat: {TIMES}"),
    ]);
    let place = "v1/moby/snapshots/overlayfs/";
    expected.push(format!("{place}# 2"));
    let mut chains = [
        (
            base.0,
            vec![
                format!("children/{}: ", top.0),
                format!("createdat: {TIMES}"),
                format!("name: moby/1/{}", base.0),
            ],
        ),
        (
            top.0,
            vec![
                format!("createdat: {TIMES}"),
                format!("name: moby/2/{}", top.0),
                format!("parent: {}", base.0),
            ],
        ),
    ];
    chains.sort();
    for (chain, lines) in chains {
        expected.extend(lines.iter().map(|line| format!("{place}{chain}/{line}")));
        expected.push(format!("{place}{chain}/updatedat: {TIMES}"));
    }
    expected.push(r"v1/version: \x08".to_owned());
    assert_eq!(dump(metadata.root()), expected);

    let mut expected = vec![
        format!(r"v1/parents/\x01\x00\x02: moby/2/{}", top.0),
        "v1/snapshots/# 2".to_owned(),
    ];
    for (number, chain, parent) in [(1, base, None), (2, top, Some(base))] {
        let path = format!("v1/snapshots/moby/{number}/{}", chain.0);
        expected.push(format!("{path}/createdat: {TIMES}"));
        expected.push(format!(r"{path}/id: \x0{number}"));
        expected.push(format!(r"{path}/inodes: \x06"));
        expected.push(format!(r"{path}/kind: \x03"));
        expected.extend(parent.map(|parent| format!("{path}/parent: moby/1/{}", parent.0)));
        expected.push(format!(r"{path}/size: \x80\x01"));
        expected.push(format!("{path}/updatedat: {TIMES}"));
    }
    assert_eq!(dump(snapshots.root()), expected);
}

#[test]
fn records_of_others_survive_and_numbers_go_on_above_them() {
    let mut root = Bucket::default();
    root.make(&[b"v1"]).unwrap().put("version", [6]);
    root.make(&[b"v1", b"k8s.io", b"leases", b"x"])
        .unwrap()
        .put("createdat", "t");
    let theirs = root.make(&[b"v1", b"moby", b"snapshots", b"overlayfs"]).unwrap();
    theirs.sequence = 41;
    theirs
        .make(&[b"sha256:abc"])
        .unwrap()
        .put("name", "moby/41/sha256:abc");
    root.make(&[b"v1", b"moby", b"snapshots", b"native", b"sha256:abc"])
        .unwrap()
        .put("name", "moby/1/x");
    let before = dump(&root);
    let mut metadata = Metadata::new(bolt::read(&bolt::write(&root).unwrap()).unwrap(), EPOCH).unwrap();
    let chain = ChainId(digest("new"));
    assert_eq!(
        metadata.add_snapshot(chain, None).unwrap(),
        format!("moby/42/{}", chain.0)
    );
    let after = dump(metadata.root());
    for line in before.iter().filter(|line| !line.contains("# 41")) {
        assert!(after.contains(line), "{line} is gone");
    }

    let mut root = Bucket::default();
    root.make(&[b"v1", b"snapshots", b"k8s.io/9/y"])
        .unwrap()
        .put("id", [17]);
    let mut snapshots = Snapshots::new(root.clone(), EPOCH, 0).unwrap();
    assert_eq!(snapshots.next_id().unwrap(), 18, "above the highest record");
    let mut snapshots = Snapshots::new(root, EPOCH, 20).unwrap();
    assert_eq!(snapshots.next_id().unwrap(), 21, "above the highest directory");
}

#[test]
fn a_name_that_moves_leaves_its_last_image_without_a_name() {
    let mut metadata = Metadata::new(Bucket::default(), EPOCH).unwrap();
    let images = |metadata: &Metadata| metadata.images().collect::<Vec<_>>();
    let [old, new] = ["old", "new"].map(digest);
    for (name, to) in [("a:1", "old"), ("b:1", "old"), ("a:1", "new")] {
        metadata.set_image(name, &target(to)).unwrap();
    }
    let named = |name: &str, image: Digest| (name.to_owned(), image);
    assert_eq!(images(&metadata), [named("a:1", new), named("b:1", old)]);
    metadata.set_image("b:1", &target("new")).unwrap();
    let dangling = format!("moby-dangling@{old}");
    assert_eq!(
        images(&metadata),
        [named("a:1", new), named("b:1", new), named(&dangling, old)]
    );
    let before = dump(metadata.root());
    metadata.set_image("b:1", &target("new")).unwrap();
    assert_eq!(
        dump(metadata.root()),
        before,
        "nothing changes when nothing moves"
    );
    metadata.set_image("c:1", &target("old")).unwrap();
    assert_eq!(
        images(&metadata),
        [named("a:1", new), named("b:1", new), named("c:1", old)]
    );
}

#[test]
fn counters_at_their_end_do_no_harm() {
    let mut root = Bucket::default();
    root.make(&[b"v1", b"snapshots"]).unwrap().sequence = u64::MAX;
    let mut snapshots = Snapshots::new(root, EPOCH, 0).unwrap();
    assert_eq!(snapshots.next_id().unwrap(), u64::MAX);
    let mut root = Bucket::default();
    root.make(&[b"v1", b"moby", b"snapshots", b"overlayfs"])
        .unwrap()
        .sequence = u64::MAX;
    let mut metadata = Metadata::new(root, EPOCH).unwrap();
    assert!(metadata.add_snapshot(ChainId(digest("a")), None).is_ok());
}

#[test]
fn a_value_in_place_of_a_bucket_is_an_error_and_not_overwritten() {
    let mut root = Bucket::default();
    root.put("v1", "x");
    assert!(Metadata::new(root, EPOCH).is_err());
}
