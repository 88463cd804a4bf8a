//! Imports of tiny images, looked at as lists of files: no engine, no privilege.

mod additive;
mod containerd_files;
mod docker_files;
mod memory_sink;
mod order;
mod podman_files;
mod tiny_image;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vcontainer_image::{Image, Reference, Timestamp, TreePath};

use self::memory_sink::MemorySink;
use crate::{ImportOptions, ImportReport, Limits, StoreError, StoreImage, StoreKind, StoreTarget, import};

/// Images with their names, as the bundle asks for them.
fn named<'a>(images: &[(&'a Image, &str)]) -> Vec<StoreImage<'a>> {
    images
        .iter()
        .map(|(image, names)| StoreImage {
            image,
            names: names
                .split_whitespace()
                .map(|name| Reference::parse(name).unwrap())
                .collect(),
        })
        .collect()
}

/// Imports into the store at `var/lib/store` of the root filesystem directory `root`, and puts the result there.
fn bundle(kind: StoreKind, root: &Path, images: &[(&Image, &str)]) -> (ImportReport, MemorySink) {
    let sink = MemorySink::new(4);
    let report = try_bundle(kind, root, images, &sink).unwrap();
    sink.put_into(root);
    (report, sink)
}

fn try_bundle(
    kind: StoreKind,
    root: &Path,
    images: &[(&Image, &str)],
    sink: &MemorySink,
) -> Result<ImportReport, StoreError> {
    let store = root.join("var/lib/store");
    let target = StoreTarget {
        kind,
        root: TreePath::clean(b"var/lib/store").unwrap(),
        existing: store.exists().then_some(store),
        netavark: true,
    };
    import(&target, &named(images), sink, &options(4), &())
}

fn options(jobs: usize) -> ImportOptions {
    ImportOptions {
        epoch: Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        },
        limits: Limits::default(),
        scratch: std::env::temp_dir(),
        jobs,
    }
}

/// The files of the store with names in the place of digests, sorted.
fn named_listing(sink: &MemorySink, image: &Image, report: &ImportReport) -> String {
    let mut listing = sink.listing("var/lib/store");
    let manifest = STANDARD.encode(format!("manifest-{}", image.manifest.digest));
    let config = STANDARD.encode(image.config.digest.to_string());
    listing = listing
        .replace(&manifest, "BASE64-MANIFEST")
        .replace(&config, "BASE64-CONFIG");
    listing = listing.replace(&image.config.digest.hex(), "CONFIG");
    for (number, layer) in report.layers.iter().enumerate() {
        listing = listing.replace(&layer.diff_id.0.hex(), &format!("DIFF{number}"));
        listing = listing.replace(&layer.chain.0.hex(), &format!("CHAIN{number}"));
        listing = listing.replace(&layer.blob.hex(), &format!("BLOB{number}"));
    }
    let mut lines: Vec<&str> = listing.lines().collect();
    lines.sort_by_key(|line| line.split(' ').nth(3));
    lines.join("\n") + "\n"
}
