//! Manifests, indexes, configurations and the list of a `docker save` archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_image::{
    ChainId, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, ImageConfig, ManifestOrIndex, OCI_INDEX, OCI_MANIFEST,
    parse_manifest_or_index, parse_saved_images,
};

fuzz_target!(|data: &[u8]| {
    let unnamed = parse_manifest_or_index(data, "");
    for named in [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST] {
        let Ok(parsed) = parse_manifest_or_index(data, named) else {
            continue;
        };
        // No document is read as a manifest by one and as an index by another (CVE-2021-41190).
        let is_index = matches!(parsed, ManifestOrIndex::Index(_));
        assert_eq!(is_index, matches!(named, OCI_INDEX | DOCKER_MANIFEST_LIST));
        if let Ok(unnamed) = &unnamed {
            assert!(matches!(unnamed, ManifestOrIndex::Index(_)) == is_index || is_empty(unnamed));
        }
        if let ManifestOrIndex::Index(index) = parsed {
            for descriptor in &index.manifests {
                let _ = (descriptor.platform(), descriptor.is_no_image());
            }
        }
    }
    if let Ok(config) = ImageConfig::parse(data) {
        let platform = config.platform();
        assert_eq!(platform.rank(&platform), Some(0));
        assert_eq!(
            ChainId::chain(&config.rootfs.diff_ids).len(),
            config.rootfs.diff_ids.len()
        );
    }
    let _ = parse_saved_images(data);
});

/// A document without any field of either kind can be both.
fn is_empty(document: &ManifestOrIndex) -> bool {
    matches!(document, ManifestOrIndex::Index(index) if index.manifests.is_empty())
}
