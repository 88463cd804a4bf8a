//! Crashes, conflicts and what is left of them. What needs root or a pretended one is in the integration tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use vcontainer_image::Timestamp;

use super::journal::Step;
use super::*;

/// How many points are passed before the process dies; negative: it does not.
static POINTS_LEFT: AtomicI64 = AtomicI64::new(-1);
static NO_EXCHANGE: AtomicBool = AtomicBool::new(false);

pub(super) fn point() {
    if POINTS_LEFT.load(Ordering::Relaxed) < 0 {
        return;
    }
    if POINTS_LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

pub(super) fn exchange_is_unknown() -> bool {
    NO_EXCHANGE.load(Ordering::Relaxed)
}

fn path(text: &str) -> TreePath {
    TreePath::clean(text.as_bytes()).unwrap()
}

/// Metadata of the user who runs the test, so that no privilege is needed.
fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp {
            seconds: 1_700_000_000,
            nanoseconds: 5,
        },
        xattrs: Vec::new(),
    }
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = object::times(Timestamp {
        seconds,
        nanoseconds: 7,
    });
    rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &time,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
}

/// A root filesystem with a store that a bundle extends.
fn old_root(root: &Path) {
    for directory in [
        "etc",
        "var/lib/store/meta/layers/old",
        "var/lib/store/data/old",
        "usr/lib/systemd/system",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/store/meta/index.json"), "old index").unwrap();
    fs::write(root.join("var/lib/store/meta/layers/old/size"), "1").unwrap();
    fs::hard_link(
        root.join("var/lib/store/meta/layers/old/size"),
        root.join("var/lib/store/meta/layers/old/same"),
    )
    .unwrap();
    fs::write(root.join("var/lib/store/data/old/f"), "old layer").unwrap();
    symlink("somewhere", root.join("var/lib/store/meta/link")).unwrap();
    fs::write(root.join("usr/lib/systemd/system/a.service"), "old unit").unwrap();
    fs::set_permissions(root.join("var/lib/store/meta"), fs::Permissions::from_mode(0o700)).unwrap();
    let directories = "etc var var/lib var/lib/store var/lib/store/meta var/lib/store/meta/layers \
                       var/lib/store/meta/layers/old var/lib/store/data var/lib/store/data/old usr usr/lib \
                       usr/lib/systemd usr/lib/systemd/system";
    for (number, directory) in directories.split_whitespace().chain([""]).enumerate() {
        set_mtime(
            &root.join(directory),
            1_600_000_000 + i64::try_from(number).unwrap(),
        );
    }
}

/// What a bundle does, up to the commit.
fn write(sink: &DirectorySink) {
    let store = path("var/lib/store");
    sink.atomic_directory(&store.join(b"meta")).unwrap();
    sink.directory(&path("var/lib/store/data/new"), &meta(0o710))
        .unwrap();
    let mut tree = sink
        .tree(&path("var/lib/store/data/new/diff"), &meta(0o755))
        .unwrap();
    tree.directory(&path("a"), &meta(0o1777)).unwrap();
    tree.file(
        &path("a/f"),
        &meta(0o4755),
        7,
        &mut Cursor::new(b"content and more"),
    )
    .unwrap();
    tree.hardlink(&path("a/g"), &path("a/f")).unwrap();
    tree.symlink(&path("a/s"), &meta(0o777), b"../../../../../etc")
        .unwrap();
    tree.finish().unwrap();
    // An old subtree is replaced as a whole.
    let mut tree = sink.tree(&path("var/lib/store/data/old"), &meta(0o700)).unwrap();
    tree.file(&path("g"), &meta(0o600), 3, &mut Cursor::new(b"new"))
        .unwrap();
    tree.finish().unwrap();
    sink.file(&path("var/lib/store/data/new/link"), &meta(0o644), b"LINK")
        .unwrap();
    sink.directory(&path("var/lib/store/meta/layers/new"), &meta(0o700))
        .unwrap();
    sink.file(&path("var/lib/store/meta/layers/new/size"), &meta(0o644), b"2")
        .unwrap();
    sink.file(&path("var/lib/store/meta/index.json"), &meta(0o600), b"first try")
        .unwrap();
    sink.file(&path("var/lib/store/meta/index.json"), &meta(0o600), b"new index")
        .unwrap();
    sink.file(
        &path("usr/lib/systemd/system/a.service"),
        &meta(0o644),
        b"first try",
    )
    .unwrap();
    sink.file(
        &path("usr/lib/systemd/system/a.service"),
        &meta(0o644),
        b"new unit",
    )
    .unwrap();
    sink.directory(&path("etc/systemd/system/multi-user.target.wants"), &meta(0o755))
        .unwrap();
    sink.symlink(
        &path("etc/systemd/system/multi-user.target.wants/a.service"),
        &meta(0o777),
        b"/usr/lib/systemd/system/a.service",
    )
    .unwrap();
}

/// Everything below `root`: type and mode, owner, time, content. `with_root`: its own time, too.
fn snapshot(root: &Path, with_root: bool) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(here) = todo.pop() {
        let metadata = fs::symlink_metadata(&here).unwrap();
        let name = here.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let content = if metadata.is_dir() {
            todo.extend(fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&here).unwrap().to_string_lossy().into_owned()
        } else {
            format!("{} links, {:?}", metadata.nlink(), fs::read(&here).unwrap())
        };
        let time = if name.is_empty() && !with_root {
            String::new()
        } else if metadata.is_dir() || name.starts_with("var/lib/store/data/new") {
            format!("{}.{}", metadata.mtime(), metadata.mtime_nsec())
        } else {
            String::new()
        };
        seen.insert(
            name,
            format!("{:o} {} {time} {content}", metadata.mode(), metadata.uid()),
        );
    }
    seen
}

fn open(root: &Path) -> DirectorySink {
    DirectorySink::open(&Rootfs::open(root).unwrap(), DirectoryOptions::default()).unwrap()
}

fn temporary_root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    old_root(dir.path());
    dir
}

#[test]
fn commit_puts_everything_in_place_and_touches_nothing_else() {
    let dir = temporary_root();
    let root = dir.path();
    let old = snapshot(root, true);
    let sink = Box::new(open(root));
    assert_eq!(sink.recovery(), Recovery::Nothing);
    write(&sink);
    // Nothing to be seen before the commit but the staging directory.
    let mut staged = snapshot(root, false);
    staged.retain(|name, _| !name.contains(".vcontainer"));
    assert!(
        old.iter()
            .all(|(name, value)| name.is_empty() || staged.get(name) == Some(value))
    );
    assert_eq!(staged.len(), old.len());
    let written = sink.commit().unwrap();
    assert_eq!(written.bytes, 7 + 3 + 4 + 1 + 9 + 9 + 9 + 8);

    let new = snapshot(root, true);
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert_eq!(read("var/lib/store/meta/index.json"), "new index");
    assert_eq!(read("var/lib/store/meta/layers/old/same"), "1");
    assert_eq!(read("var/lib/store/meta/layers/new/size"), "2");
    assert_eq!(read("usr/lib/systemd/system/a.service"), "new unit");
    assert_eq!(read("var/lib/store/data/new/diff/a/g"), "content");
    assert_eq!(read("var/lib/store/data/old/g"), "new");
    assert!(!root.join("var/lib/store/data/old/f").exists());
    assert_eq!(
        fs::metadata(root.join("var/lib/store/data/new/diff/a/f"))
            .unwrap()
            .mode(),
        0o104_755
    );
    assert!(new.keys().all(|name| !name.contains(".vcontainer")), "{new:?}");
    // Directories that were there are as they were.
    for name in [
        "",
        "etc",
        "var",
        "var/lib",
        "var/lib/store",
        "var/lib/store/meta",
        "var/lib/store/meta/layers",
    ] {
        assert_eq!(new[name], old[name], "{name}");
    }
    let time = |name: &str| fs::metadata(root.join(name)).unwrap().mtime();
    for name in [
        "var/lib/store/data/new",
        "var/lib/store/data/new/diff/a",
        "etc/systemd/system",
        "etc/systemd",
    ] {
        assert_eq!(time(name), 1_700_000_000, "{name}");
    }
    let wants = fs::metadata(root.join("etc/systemd")).unwrap();
    assert_eq!(wants.mode() & 0o7777, 0o755);
}

#[test]
fn a_sink_dropped_without_commit_leaves_nothing() {
    let dir = temporary_root();
    let old = snapshot(dir.path(), true);
    let sink = open(dir.path());
    write(&sink);
    drop(sink);
    assert_eq!(snapshot(dir.path(), true), old);
    // Neither does one whose subtree was not finished.
    let sink = Box::new(open(dir.path()));
    drop(sink.tree(&path("var/tree"), &meta(0o755)).unwrap());
    assert!(sink.commit().unwrap_err().to_string().contains("not finished"));
    assert_eq!(snapshot(dir.path(), true), old);
}

/// The process that dies in [`kill_at_any_point_leaves_the_old_or_the_new_state`].
#[test]
#[ignore = "only a helper of another test, which runs it"]
fn crash_child() {
    let Some(root) = std::env::var_os("VCONTAINER_TEST_ROOT") else {
        return;
    };
    let points = std::env::var("VCONTAINER_TEST_POINTS").unwrap().parse().unwrap();
    NO_EXCHANGE.store(
        std::env::var_os("VCONTAINER_TEST_NO_EXCHANGE").is_some(),
        Ordering::Relaxed,
    );
    if std::env::var_os("VCONTAINER_TEST_RECOVER").is_some() {
        POINTS_LEFT.store(points, Ordering::Relaxed);
        drop(open(Path::new(&root)));
        return;
    }
    let sink = Box::new(open(Path::new(&root)));
    write(&sink);
    POINTS_LEFT.store(points, Ordering::Relaxed);
    sink.commit().unwrap();
}

/// Runs [`crash_child`]; whether it died.
fn crash(root: &Path, points: u32, exchange: bool, recover: bool) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "sink::directory::tests::crash_child", "--ignored"]);
    child
        .env("VCONTAINER_TEST_ROOT", root)
        .env("VCONTAINER_TEST_POINTS", points.to_string());
    if !exchange {
        child.env("VCONTAINER_TEST_NO_EXCHANGE", "1");
    }
    if recover {
        child.env("VCONTAINER_TEST_RECOVER", "1");
    }
    let output = child.output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(
        killed || output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    killed
}

/// What an engine may see between a crash and the next run.
fn check_between(root: &Path, exchange: bool) {
    let meta = root.join("var/lib/store/meta");
    if !exchange && !meta.exists() {
        return; // the moment that the fallback has
    }
    let new_layer = meta.join("layers/new/size").exists();
    let index = fs::read_to_string(meta.join("index.json")).unwrap();
    assert_eq!(index, if new_layer { "new index" } else { "old index" });
    assert!(meta.join("layers/old/same").exists());
    if new_layer {
        // It was written after the layer's data.
        assert!(root.join("var/lib/store/data/new/diff/a/g").exists());
    }
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/a.service")).unwrap();
    assert!(unit == "old unit" || unit == "new unit" && new_layer, "{unit}");
}

#[test]
fn kill_at_any_point_leaves_the_old_or_the_new_state() {
    let reference = temporary_root();
    let old = snapshot(reference.path(), true);
    let sink = Box::new(open(reference.path()));
    write(&sink);
    sink.commit().unwrap();
    let new = snapshot(reference.path(), true);

    for exchange in [true, false] {
        let (mut olds, mut news) = (0, 0);
        for points in 0.. {
            let dir = temporary_root();
            let root = dir.path();
            let died = crash(root, points, exchange, false);
            check_between(root, exchange);
            // The run that mends it may die as well.
            for points in [1, 4, 2] {
                if crash(root, points, exchange, true) {
                    check_between(root, exchange);
                }
            }
            drop(open(root));
            let now = snapshot(root, true);
            if now == old {
                olds += 1;
            } else {
                assert_eq!(now, new, "after {points} points");
                news += 1;
            }
            if !died {
                break;
            }
        }
        assert!(olds >= 3 && news >= 15, "{olds} old, {news} new");
    }
}

#[test]
fn a_bundle_at_work_keeps_another_out() {
    let dir = temporary_root();
    let sink = open(dir.path());
    // Another process.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "sink::directory::tests::crash_child",
        "--ignored",
        "--nocapture",
    ]);
    child
        .env("VCONTAINER_TEST_ROOT", dir.path())
        .env("VCONTAINER_TEST_POINTS", "1000");
    let output = child.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(said.contains("another vcontainer bundle is at work in"), "{said}");
    drop(sink);
    assert!(child.output().unwrap().status.success());
}

#[test]
fn what_is_in_the_way_is_an_error_that_names_it() {
    let dir = temporary_root();
    let root = dir.path();
    symlink("/etc", root.join("var/lib/store/escape")).unwrap();
    symlink("../../../../outside", root.join("var/lib/store/out")).unwrap();
    let sink = open(root);
    let m = meta(0o755);
    let said = |result: Result<(), SinkError>| result.unwrap_err().to_string();
    assert!(
        said(sink.directory(&path("var/lib/store/escape/x"), &m))
            .contains("`/var/lib/store/escape` is a symlink")
    );
    assert!(said(sink.file(&path("var/lib/store/out/x"), &m, b"")).contains("is a symlink, not a directory"));
    assert!(said(sink.file(&path("var/lib/store"), &m, b"")).contains("there is a directory"));
    assert!(said(sink.file(&path("var/none/f"), &m, b"")).contains("is not there"));
    assert!(
        said(
            sink.tree(&path("usr/lib/systemd/system/a.service"), &m)
                .map(|_| ())
        )
        .contains("there is a file")
    );
    assert!(said(sink.directory(&path("usr/lib/systemd/system/a.service"), &m)).contains("there is a file"));
    let tree = sink.tree(&path("var/t"), &m).unwrap();
    assert!(said(sink.file(&path("var/t/f"), &m, b"")).contains("belongs to the subtree `/var/t`"));
    tree.finish().unwrap();
    assert!(said(sink.tree(&path("var/t"), &m).map(|_| ())).contains("written already"));
    sink.file(&path("var/f"), &m, b"").unwrap();
    assert!(said(sink.directory(&path("var/f/g"), &m)).contains("`/var/f` is a file"));
    assert!(said(sink.atomic_directory(&path("var"))).contains("written below it already"));
}

#[test]
fn a_subtree_never_writes_through_a_symlink_of_its_own() {
    let dir = temporary_root();
    let sink = open(dir.path());
    let m = meta(0o755);
    let mut tree = sink.tree(&path("t"), &m).unwrap();
    tree.symlink(&path("s"), &m, b"/tmp").unwrap();
    tree.directory(&path("d"), &m).unwrap();
    let said = |result: Result<(), SinkError>| result.unwrap_err().to_string();
    assert!(
        said(tree.file(&path("s/f"), &m, 0, &mut Cursor::new(b""))).contains("not a directory that was made")
    );
    assert!(said(tree.hardlink(&path("h"), &path("s/f"))).contains("not a directory that was made"));
    assert!(tree.file(&path("s"), &m, 0, &mut Cursor::new(b"")).is_err());
    assert!(tree.file(&path(""), &m, 0, &mut Cursor::new(b"")).is_err());
    let short = tree
        .file(&path("d/short"), &m, 5, &mut Cursor::new(b"abc"))
        .unwrap_err();
    assert!(
        matches!(&short, SinkError::Content { source, .. } if source.to_string().contains("after 3 of 5"))
    );
}

#[test]
fn foreign_journals_and_staging_directories_are_not_trusted() {
    let dir = temporary_root();
    let root = dir.path();
    let rootfs = Rootfs::open(root).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("keep"), "").unwrap();
    symlink(outside.path(), root.join(".vcontainer-staging")).unwrap();
    assert_eq!(open(root).recovery(), Recovery::Discarded);
    assert!(outside.path().join("keep").exists());

    symlink(outside.path(), root.join("out")).unwrap();
    fs::create_dir(root.join(".vcontainer-staging")).unwrap();
    fs::write(root.join(".vcontainer-staging/1"), "").unwrap();
    for (journal, error) in [
        (
            "vcontainer journal 1\narea .\nplace 0 1 out/f\nend\n",
            "`/out` is a symlink",
        ),
        ("vcontainer journal 2\nend\n", "not a journal of this version"),
    ] {
        fs::write(root.join(".vcontainer-journal"), journal).unwrap();
        let said = DirectorySink::open(&rootfs, DirectoryOptions::default())
            .unwrap_err()
            .to_string();
        assert!(said.contains(error), "{said}");
    }
    assert!(!outside.path().join("f").exists());
    fs::remove_file(root.join(".vcontainer-journal")).unwrap();
    symlink("/etc/passwd", root.join(".vcontainer-journal")).unwrap();
    assert!(DirectorySink::open(&rootfs, DirectoryOptions::default()).is_err());
}

#[test]
fn a_file_that_comes_first_is_put_in_place_before_what_was_written_before() {
    for there in [true, false] {
        let root = temporary_root();
        if there {
            fs::create_dir_all(root.path().join("store/index")).unwrap();
        }
        let sink = open(root.path());
        sink.directory(&path("store"), &meta(0o755)).unwrap();
        sink.directory(&path("store/index"), &meta(0o755)).unwrap();
        sink.directory(&path("store/data"), &meta(0o755)).unwrap();
        sink.file(&path("store/data/x"), &meta(0o644), b"x").unwrap();
        sink.file(&path("store/last"), &meta(0o644), b"last").unwrap();
        sink.file_first(&path("store/index/first"), &meta(0o644), b"first")
            .unwrap();
        let (journal, _) = sink.plan().journal().unwrap();
        let steps: Vec<String> = journal
            .steps
            .iter()
            .map(|step| {
                let (Step::Place { to, .. } | Step::Exchange { to, .. }) = step;
                to.to_string()
            })
            .collect();
        let new = ["/store", "/store/index"];
        let wanted = [
            "/store/index/first",
            "/store/data",
            "/store/data/x",
            "/store/last",
        ];
        let wanted: Vec<&str> = if there {
            wanted.to_vec()
        } else {
            new.into_iter().chain(wanted).collect()
        };
        assert_eq!(steps, wanted);
        Box::new(sink).commit().unwrap();
        assert_eq!(fs::read(root.path().join("store/index/first")).unwrap(), b"first");
    }
}
