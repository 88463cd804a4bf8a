//! Where only a layout will do, and where its files are looked at one by one.

use std::io::Read as _;

use vcontainer_image::{Digest, RawLayout, list, list_layout, list_whole_layout};

use crate::fixture::{Layout, file, folder, named, on, options, rootfs, saved, saved_tar, told};

#[test]
fn other_sources_are_no_layouts() {
    let platform = options("linux/arm64");
    let (entry, files) = saved("linux/arm64", &["a:1"], &["x"]);
    for (bytes, part) in [
        (saved_tar(&[entry], &files), "`docker save`"),
        (rootfs(183), "root filesystem"),
    ] {
        let (_folder, path) = file(&bytes);
        assert_eq!(list(&path, &platform).unwrap().len(), 1);
        let error = told(&list_layout(&path, &platform).unwrap_err());
        assert!(
            error.contains("is no OCI layout") && error.contains(part),
            "{error}"
        );
        assert!(RawLayout::open(&path, &platform).is_err());
    }
}

#[test]
fn a_manifest_that_is_not_there_is_left_out_unless_all_is_asked_for() {
    let mut layout = Layout::default();
    let here = on("linux/arm64", layout.image("linux/arm64", &["a"]));
    let gone = on("linux/amd64", layout.image("linux/amd64", &["b"]));
    let digest: Digest = gone["digest"].as_str().unwrap().parse().unwrap();
    layout.blobs.remove(&digest);
    let folder = folder(&layout.entry(here).entry(gone));
    let platform = options("linux/arm64");
    assert_eq!(list_layout(folder.path(), &platform).unwrap().len(), 1);
    let error = told(&list_whole_layout(folder.path(), &platform).unwrap_err());
    assert!(
        error.contains(&digest.to_string()) && error.contains("missing"),
        "{error}"
    );
}

#[test]
fn images_have_all_tags_and_names_as_they_are_written() {
    let mut layout = Layout::default();
    let image = layout.image("linux/arm64", &["a"]);
    let layout = ["2.0", "docker.io/library/app:1", "1.0", "1.0"]
        .iter()
        .fold(layout, |layout, name| layout.entry(named(name, image.clone())));
    let folder = folder(&layout);
    let images = list_layout(folder.path(), &options("linux/arm64")).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].tags, ["1.0", "2.0", "docker.io/library/app:1"]);
    assert_eq!(images[0].names.len(), 1);
}

#[test]
fn the_files_of_a_layout_are_the_same_in_an_archive() {
    let mut layout = Layout::default();
    let image = layout.image("linux/arm64", &["a", "b"]);
    let layout = layout.entry(image);
    let platform = options("linux/arm64");
    let directory = folder(&layout);
    let (_folder, archive) = file(&layout.tar());
    for path in [directory.path(), &archive] {
        let raw = RawLayout::open(path, &platform).unwrap();
        let names: Vec<Vec<u8>> = layout
            .blobs
            .keys()
            .map(|digest| digest.hex().into_bytes())
            .collect();
        assert_eq!(raw.blob_names().unwrap().into_iter().collect::<Vec<_>>(), names);
        for (digest, bytes) in &layout.blobs {
            let found = raw.blob(*digest).unwrap().unwrap();
            let mut read = Vec::new();
            found.open().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!((found.size(), &read), (bytes.len() as u64, bytes));
            assert_eq!(found.start(4).unwrap(), bytes[..4]);
        }
        assert!(raw.blob(Digest::of(b"another")).unwrap().is_none());
        assert!(raw.file("oci-layout").unwrap().is_some());
        // No name leads out of it.
        assert!(raw.file("../image").is_err() && raw.file("nothing").unwrap().is_none());
    }
}
