//! Paths of a root filesystem full of symlinks: every one leads to a place inside, by a way without symlinks.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::folder;
use vcontainer_image::TreePath;
use vcontainer_store::Rootfs;

// Lines: `name target` makes a symlink, `name` a directory; each name is also looked up afterwards.
fuzz_target!(|data: &[u8]| {
    if data.contains(&0) {
        return;
    }
    let folder = folder();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(folder.path().join("secret"), "outside").unwrap();
    let mut names = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(32) {
        let (name, target) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let Ok(path) = TreePath::clean(name) else { continue };
        names.push(path.clone());
        // Only below real directories: the root is made, not attacked.
        let real = path.parent().is_some_and(|parent| {
            let mut here = root.clone();
            parent.components().all(|part| {
                here.push(OsStr::from_bytes(part));
                here.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
            })
        });
        if real {
            let host = root.join(OsStr::from_bytes(path.as_bytes()));
            let _ = match target {
                Some(target) => symlink(OsStr::from_bytes(target), host),
                None => std::fs::create_dir(host),
            };
        }
    }
    let rootfs = Rootfs::open(&root).unwrap();
    for path in names {
        if let Ok(physical) = rootfs.resolve(&path) {
            assert_eq!(TreePath::clean(physical.as_bytes()).as_ref(), Ok(&physical));
            let mut here = root.clone();
            for part in physical.components() {
                here.push(OsStr::from_bytes(part));
                assert!(!here.is_symlink(), "{path} leads to {physical}");
            }
        }
        if let Ok(Some(content)) = rootfs.read(&path, 100) {
            assert_ne!(content, b"outside");
        }
        let _ = (
            rootfs.list(&path),
            rootfs.metadata(&path),
            rootfs.resolve_parent(&path),
        );
    }
});
