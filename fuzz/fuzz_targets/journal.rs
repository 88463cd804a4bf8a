//! A root filesystem with a hostile journal and staging directory: mending it never touches anything outside.
#![no_main]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::{folder, parts};
use vcontainer_store::{DirectoryOptions, DirectorySink, Recovery, Rootfs};

fuzz_target!(|data: &[u8]| {
    let folder = folder();
    let base = folder.path();
    let (root, outside) = (base.join("root"), base.join("outside"));
    fs::create_dir_all(outside.join("dir/.vcontainer-staging")).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    fs::write(outside.join("dir/.vcontainer-staging/0"), "outside").unwrap();
    make_root(&root, &outside, &parts(data));
    let before = listing(base, &root);
    let rootfs = Rootfs::open(&root).unwrap();
    let mut recovered = false;
    for _ in 0..3 {
        match DirectorySink::open(&rootfs, DirectoryOptions::default()) {
            Ok(sink) => recovered = sink.recovery() == Recovery::Nothing,
            // What cannot be followed is left to a person.
            Err(_) => {
                recovered = true;
                break;
            }
        }
    }
    assert!(recovered, "mending does not come to an end");
    assert_eq!(listing(base, &root), before);
});

fn make_root(root: &Path, outside: &Path, parts: &[&[u8]]) {
    let staging = root.join(".vcontainer-staging");
    for directory in ["a/.vcontainer-staging", "a/b", "full/x"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::create_dir_all(staging.join("1/new")).unwrap();
    fs::write(root.join("file"), "old").unwrap();
    fs::write(root.join("a/.vcontainer-staging/0"), "new").unwrap();
    fs::write(staging.join("0"), "new").unwrap();
    symlink(outside, staging.join("2")).unwrap();
    symlink(outside, root.join("abs")).unwrap();
    symlink("../outside", root.join("rel")).unwrap();
    symlink("../../outside/dir", root.join("a/up")).unwrap();
    // An odd first byte: the staging directory of `a` is a link to one outside.
    if let Some([first, ..]) = parts.get(2)
        && first & 1 == 1
    {
        fs::remove_dir_all(root.join("a")).unwrap();
        symlink(outside.join("dir"), root.join("a")).unwrap();
    }
    if let Some(areas) = parts.get(1) {
        fs::write(staging.join("areas"), areas).unwrap();
    }
    if !parts[0].is_empty() {
        fs::write(root.join(".vcontainer-journal"), parts[0]).unwrap();
    }
}

/// Everything below `base` but not in `root`: names, inodes, sizes, modes and times.
fn listing(base: &Path, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![base.to_owned()];
    while let Some(directory) = open.pop() {
        let mut paths: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path != root) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            found.push(format!(
                "{} {} {} {:o} {}.{}",
                path.display(),
                metadata.ino(),
                metadata.len(),
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec()
            ));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found
}
