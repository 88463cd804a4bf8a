//! Into a directory, as root and as an ordinary user who pretends.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use vcontainer_store::{DirectoryOptions, DirectorySink, Rootfs, Sink};

use crate::odd_tree::{EXPECTED, Without, list, meta, path, write};
use crate::{assert_same, checked, has, is_root, skip};

fn write_directory(root: &Path) {
    let sink = DirectorySink::open(&Rootfs::open(root).unwrap(), DirectoryOptions::default()).unwrap();
    if let Err(error) = write(&sink, Without::default()) {
        panic!("{error:?}: {error}");
    }
    Box::new(sink).commit().unwrap();
}

/// A second bundle, which replaces the first one's directory in one step and keeps what is in it.
fn extend(root: &Path) {
    let sink = DirectorySink::open(&Rootfs::open(root).unwrap(), DirectoryOptions { sync: true }).unwrap();
    sink.atomic_directory(&path(b"var/lib/store")).unwrap();
    sink.file(&path(b"var/lib/store/lower"), &meta(0o644, 0, 0), b"l/A")
        .unwrap();
    Box::new(sink).commit().unwrap();
}

#[test]
fn a_directory_written_as_root() {
    if !is_root() {
        return skip("a_directory_written_as_root", "needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    write_directory(dir.path());
    assert_same(&list(&dir.path().join("var/lib/store")), EXPECTED);
    extend(dir.path());
    assert_same(&list(&dir.path().join("var/lib/store")), EXPECTED);
}

/// Runs under fakeroot or pseudo in [`pretend`].
#[test]
#[ignore = "only a helper of other tests, which run it"]
fn pretend_child() {
    let Some(root) = std::env::var_os("VCONTAINER_TEST_ROOT") else {
        return;
    };
    write_directory(Path::new(&root));
    extend(Path::new(&root));
    // In the same session: outside of it everything belongs to the user.
    fs::write(
        Path::new(&root).join("list"),
        list(&Path::new(&root).join("var/lib/store")),
    )
    .unwrap();
}

/// Runs [`pretend_child`] as an ordinary user under `wrapper`, and gives what it saw; or the program's failure.
fn pretend(wrapper: &[&str]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let (root, program, database) = (
        dir.path().join("root"),
        dir.path().join("test"),
        dir.path().join("pseudo"),
    );
    fs::create_dir(&root).unwrap();
    fs::create_dir(&database).unwrap();
    // Where the tests were built, that user may have no business. Copied by another process: a descriptor that is open
    // for writing here would be inherited by what other tests start meanwhile, and the program be "busy".
    checked(
        Command::new("cp")
            .arg(std::env::current_exe().unwrap())
            .arg(&program),
    );
    let mut words: Vec<&OsStr> = Vec::new();
    if is_root() {
        for path in [dir.path(), &root, &database] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let setpriv = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ];
        words.extend(setpriv.map(OsStr::new));
    }
    words.extend(wrapper.iter().map(OsStr::new));
    words.push(program.as_os_str());
    words.extend(["--exact", "directory::pretend_child", "--ignored"].map(OsStr::new));
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .current_dir(dir.path())
        .env("VCONTAINER_TEST_ROOT", &root);
    command.env("HOME", dir.path()).env("TMPDIR", dir.path());
    // Debian's pseudo keeps its database where these say.
    command
        .env("PSEUDO_PREFIX", "/usr")
        .env("PSEUDO_LOCALSTATEDIR", &database);
    let output = command.output().unwrap();
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(String::from_utf8_lossy(&text).into_owned());
    }
    Ok(fs::read_to_string(root.join("list")).unwrap())
}

const NOBODY: u32 = 65_534;

#[test]
fn a_directory_written_under_fakeroot() {
    if !has("fakeroot") {
        return skip("a_directory_written_under_fakeroot", "fakeroot is not installed");
    }
    assert_same(&pretend(&["fakeroot"]).unwrap(), EXPECTED);
}

#[test]
fn a_directory_written_under_pseudo() {
    if !has("pseudo") {
        return skip("a_directory_written_under_pseudo", "pseudo is not installed");
    }
    assert_same(&pretend(&["pseudo", "-t", "1"]).unwrap(), EXPECTED);
}

#[test]
fn an_ordinary_user_is_told_what_to_do() {
    let error = pretend(&["env"]).unwrap_err();
    assert!(error.contains("Privilege"), "{error}");
}
