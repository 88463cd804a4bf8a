//! File systems that are full, and root filesystems that consist of several.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use vcontainer_store::{DirectoryOptions, DirectorySink, Recovery, Rootfs, Sink};

use crate::odd_tree::{list, meta, path};
use crate::{assert_same, checked, is_root, skip};

/// A file system of its own, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Self {
        checked(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(at),
        );
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_changes_nothing() {
    if !is_root() {
        return skip(
            "a_full_disk_is_a_clear_error_and_changes_nothing",
            "needs root to mount a small file system",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let _mount = Mount::tmpfs(dir.path(), "size=1m");
    fs::create_dir_all(dir.path().join("var/lib")).unwrap();
    fs::write(dir.path().join("var/lib/old"), "old").unwrap();
    let before = list(dir.path());
    let sink = DirectorySink::open(&Rootfs::open(dir.path()).unwrap(), DirectoryOptions::default()).unwrap();
    let mut tree = sink.tree(&path(b"var/lib/new"), &meta(0o755, 0, 0)).unwrap();
    let size = 4 << 20;
    let error = tree
        .file(
            &path(b"big"),
            &meta(0o644, 0, 0),
            size,
            &mut std::io::BufReader::new(std::io::repeat(1)),
        )
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), "cannot write the file `/var/lib/new/big`");
    assert!(source.contains("No space left on device"), "{source}");
    drop(tree);
    drop(sink);
    assert_same(&list(dir.path()), &before);
}

#[test]
fn a_store_on_another_file_system_is_staged_there() {
    if !is_root() {
        return skip(
            "a_store_on_another_file_system_is_staged_there",
            "needs root to mount file systems",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, bound) = (dir.path().join("data"), dir.path().join("bound"));
    for directory in [&data, &bound] {
        fs::create_dir(directory).unwrap();
    }
    let _tmpfs = Mount::tmpfs(&data, "size=10m");
    // The same file system, and yet no way for a rename.
    let within = dir.path().join("within");
    fs::create_dir(&within).unwrap();
    checked(Command::new("mount").arg("--bind").arg(&within).arg(&bound));
    let _bound = Mount(bound.clone());
    // A process that dies leaves three staging directories, which the next one finds.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "file_systems::elsewhere_child", "--ignored"])
        .env("VCONTAINER_TEST_ROOT", dir.path());
    assert_eq!(child.output().unwrap().status.code(), Some(77));
    let staging = [data.as_path(), &bound, dir.path()].map(|place| place.join(".vcontainer-staging"));
    assert!(staging.iter().all(|staging| staging.exists()));
    let rootfs = Rootfs::open(dir.path()).unwrap();
    let sink = DirectorySink::open(&rootfs, DirectoryOptions::default()).unwrap();
    assert_eq!(sink.recovery(), Recovery::Discarded);
    assert_eq!(
        staging.each_ref().map(|staging| staging.exists()),
        [false, false, true]
    );
    write_elsewhere(&sink);
    Box::new(sink).commit().unwrap();
    assert!(staging.iter().all(|staging| !staging.exists()));
    for place in [data.clone(), within, dir.path().join("plain")] {
        assert_eq!(fs::read(place.join("store/diff/f")).unwrap(), b"f");
    }
}

fn write_elsewhere(sink: &dyn Sink) {
    for place in [&b"data"[..], b"bound", b"plain"] {
        let at = path(place).join(b"store");
        sink.directory(&at, &meta(0o700, 0, 0)).unwrap();
        let mut tree = sink.tree(&at.join(b"diff"), &meta(0o755, 0, 0)).unwrap();
        tree.file(&path(b"f"), &meta(0o644, 0, 0), 1, &mut Cursor::new(b"f"))
            .unwrap();
        tree.finish().unwrap();
    }
}

#[test]
fn a_directory_that_overlayfs_does_not_move_is_refused_before_anything_changes() {
    if !is_root() {
        return skip(
            "a_directory_that_overlayfs_does_not_move_is_refused_before_anything_changes",
            "needs root to mount file systems",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let _tmpfs = Mount::tmpfs(dir.path(), "size=10m");
    for directory in ["lower/store/index", "upper", "work", "root"] {
        fs::create_dir_all(dir.path().join(directory)).unwrap();
    }
    let root = dir.path().join("root");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let layers = format!(
        "redirect_dir=off,lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    checked(
        Command::new("mount")
            .args(["-t", "overlay", "-o", &layers, "overlay"])
            .arg(&root),
    );
    let _overlay = Mount(root.clone());
    let before = list(&root);
    let open = || DirectorySink::open(&Rootfs::open(&root).unwrap(), DirectoryOptions::default()).unwrap();
    let sink = open();
    let file = |name: &[u8]| sink.file(&path(name), &meta(0o644, 0, 0), b"new").unwrap();
    file(b"store/first");
    sink.atomic_directory(&path(b"store/index")).unwrap();
    file(b"store/index/second");
    let error = Box::new(sink).commit().unwrap_err().to_string();
    assert!(error.contains("overlayfs"), "{error}");
    assert_same(&list(&root), &before);
    assert_eq!(open().recovery(), Recovery::Nothing);
}

#[test]
#[ignore = "only a helper of another test, which runs it"]
fn elsewhere_child() {
    let Some(root) = std::env::var_os("VCONTAINER_TEST_ROOT") else {
        return;
    };
    let sink = DirectorySink::open(
        &Rootfs::open(Path::new(&root)).unwrap(),
        DirectoryOptions::default(),
    )
    .unwrap();
    write_elsewhere(&sink);
    std::process::exit(77);
}
