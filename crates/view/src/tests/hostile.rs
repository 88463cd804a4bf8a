//! Layers that want to do harm: none of them panics, each is one finding.

use std::io::Write as _;

use proptest::prelude::*;
use vcontainer_image::Digest;

use super::*;
use crate::verify::Finding;

/// A layout with these plain layers, their digests all right.
fn layout(folder: &Path, layers: &[Vec<u8>]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        format!("\"digest\":\"{digest}\",\"size\":{}", bytes.len())
    };
    let listed: Vec<String> = layers
        .iter()
        .map(|tar| {
            format!(
                "{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",{}}}",
                put(tar)
            )
        })
        .collect();
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|tar| format!("\"{}\"", Digest::of(tar)))
        .collect();
    let config = put(format!("{{\"architecture\":\"arm64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}", diff_ids.join(",")).as_bytes());
    let manifest = put(format!("{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\"layers\":[{}]}}", listed.join(",")).as_bytes());
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    fs::write(folder.join("index.json"), format!("{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",{manifest}}}]}}")).unwrap();
}

/// One entry of a tar stream without content.
fn entry(name: &str, flag: u8, link: &str) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(
        100,
        b"0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        ",
    );
    put(156, &[flag]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.to_vec()
}

fn findings(layers: &[Vec<u8>], limits: Limits) -> Vec<Finding> {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path(), layers);
    verify(folder.path(), limits).unwrap().findings
}

#[track_caller]
fn one(layers: &[Vec<u8>], limits: Limits, says: &str) {
    let found = findings(layers, limits);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].fault.contains(says), "{found:?}");
}

#[test]
fn layers_that_cannot_be_applied() {
    let usual = Limits::default();
    assert_eq!(
        findings(&[entry("a", b'0', ""), entry("b", b'1', "a")], usual),
        []
    );
    one(&[entry("b", b'1', "a")], usual, "another name");
    one(
        &[entry("a", b'0', ""), entry("a/b", b'0', "")],
        usual,
        "`/a/b` would lie in `/a`",
    );
    one(&[entry("../a", b'0', "")], usual, "leaves the root");
    one(
        &[b"no tar at all, but rather long".repeat(50)],
        usual,
        "no tar header",
    );
    // What comes over a layer that cannot be read is still read.
    let found = findings(
        &[
            entry("../a", b'0', ""),
            entry("x", b'1', "y"),
            entry("../b", b'0', ""),
        ],
        usual,
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn bombs() {
    let few = Limits {
        objects: 3,
        ..Limits::default()
    };
    let many: Vec<u8> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|name| entry(name, b'0', ""))
        .collect();
    one(&[many], few, "more than 3 objects");
    one(&[entry("a/b/c/d", b'0', "")], few, "more than 3 objects");
    let small = Limits {
        unpacked: 1 << 20,
        ..Limits::default()
    };
    let zeros = vec![0; 2 << 20];
    one(std::slice::from_ref(&zeros), small, "larger than any real layer");
    let method = vcontainer_build::compress::Method::new(Compression::Gzip, None).unwrap();
    let mut packed = method.writer(Vec::new(), 1).unwrap();
    packed.write_all(&zeros).unwrap();
    one(&[packed.finish().unwrap()], small, "larger than any real layer");
}

proptest! {
    /// Any bytes as a layer, and any damage to a real one.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..1024, flip in 1u8..) {
        findings(std::slice::from_ref(&bytes), Limits::default());
        let mut real = [entry("a", b'5', ""), entry("a/b", b'2', "c"), vec![0; 1024]].concat();
        real[at] ^= flip;
        findings(&[real], Limits::default());
        // Documents that lead nowhere, too.
        let folder = tempfile::tempdir().unwrap();
        layout(folder.path(), &[]);
        let mut index = fs::read(folder.path().join("index.json")).unwrap();
        let place = at % index.len();
        index[place] ^= flip;
        fs::write(folder.path().join("index.json"), index).unwrap();
        prop_assert!(verify(folder.path(), Limits::default()).is_ok());
    }
}
