//! The same odd tree through every sink, with nothing pretended but what fakeroot and pseudo pretend: into a directory
//! as root, under fakeroot and under pseudo as an ordinary user; into a tar stream that GNU tar, mksquashfs and
//! tar2sqfs read.
//!
//! A test that lacks a program or a privilege says so on standard error (`SKIP name: reason`) and passes.

#![allow(clippy::unwrap_used, clippy::panic)] // as in any test; the helpers here are outside of #[test] functions

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath, Xattr};
use vcontainer_store::{
    DirectoryOptions, DirectorySink, Recovery, Rootfs, Sink, SinkError, TarCompression, TarSink,
};

fn path(text: &[u8]) -> TreePath {
    TreePath::clean(text).unwrap()
}

fn meta(mode: u32, uid: u32, gid: u32) -> Meta {
    Meta {
        mode,
        uid,
        gid,
        mtime: Timestamp {
            seconds: 1_600_000_000,
            nanoseconds: 0,
        },
        xattrs: Vec::new(),
    }
}

fn with(meta: Meta, name: &str, value: &[u8]) -> Meta {
    let xattrs = vec![Xattr {
        name: name.as_bytes().to_vec(),
        value: value.to_vec(),
    }];
    Meta { xattrs, ..meta }
}

/// `cap_sys_rawio,cap_sys_ptrace=ep` in the form of linux/capability.h, revision 2: it has a line feed in it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Which odd things are left out, because the reader of the moment cannot have them.
#[derive(Clone, Copy, Default)]
struct Without {
    negative_times: bool,
    /// Metadata that a directory gets after something was written into it.
    second_thoughts: bool,
}

/// Writes one of everything.
fn write(sink: &dyn Sink, without: Without) -> Result<(), SinkError> {
    sink.directory(&path(b"var/lib/store"), &meta(0o710, 0, 0))?;
    let mut tree = sink.tree(&path(b"var/lib/store/diff"), &meta(0o755, 0, 0))?;
    let last = meta(0o3770, 6, 7);
    tree.directory(
        &path(b"d"),
        &if without.second_thoughts {
            last.clone()
        } else {
            meta(0o2775, 5, 6)
        },
    )?;
    tree.directory(&path(b"sticky"), &meta(0o1777, 0, 0))?;
    tree.directory(&path(b"closed"), &meta(0, 1000, 1000))?;
    let mut content = Cursor::new(b"content".repeat(1000));
    tree.file(&path(b"d/setuid"), &meta(0o6755, 1000, 1001), 7000, &mut content)?;
    tree.file(
        &path(b"d/none"),
        &meta(0, 4_000_000_000, 3_000_000),
        0,
        &mut Cursor::new(b""),
    )?;
    let capable = with(meta(0o755, 0, 0), "security.capability", &CAPABILITY);
    tree.file(&path(b"closed/capable"), &capable, 3, &mut Cursor::new(b"cap"))?;
    let odd: Vec<u8> = (0..=255).chain(*b"\n20 path=evil\n").collect();
    tree.file(
        &path(b"xattr"),
        &with(meta(0o644, 7, 8), "user.odd", &odd),
        1,
        &mut Cursor::new(b"x"),
    )?;
    tree.directory(&path(b"xdir"), &with(meta(0o750, 7, 8), "user.dir", b"v"))?;
    let fraction = Timestamp {
        seconds: 1_500_000_000,
        nanoseconds: 123_456_789,
    };
    tree.file(
        &path(b"fraction"),
        &Meta {
            mtime: fraction,
            ..meta(0o644, 0, 0)
        },
        0,
        &mut Cursor::new(b""),
    )?;
    if !without.negative_times {
        let negative = Timestamp {
            seconds: -2,
            nanoseconds: 500_000_000,
        };
        tree.file(
            &path(b"negative"),
            &Meta {
                mtime: negative,
                ..meta(0o644, 0, 0)
            },
            0,
            &mut Cursor::new(b""),
        )?;
    }
    let long = [&b"l".repeat(120)[..], b"/", &b"m".repeat(120)[..]].concat();
    tree.directory(&path(&b"l".repeat(120)), &meta(0o755, 0, 0))?;
    tree.file(&path(&long), &meta(0o644, 0, 0), 2, &mut Cursor::new(b"lm"))?;
    tree.hardlink(&path(b"long-link"), &path(&long))?;
    tree.file(
        &path(b"latin1-\xe9"),
        &meta(0o644, 0, 0),
        0,
        &mut Cursor::new(b""),
    )?;
    tree.file(
        &path(&[&b"\xff".repeat(130)[..], b"x"].concat()),
        &meta(0o644, 0, 0),
        0,
        &mut Cursor::new(b""),
    )?;
    tree.file(
        &path("grün".as_bytes()),
        &meta(0o644, 0, 0),
        0,
        &mut Cursor::new(b""),
    )?;
    tree.symlink(&path(b"s"), &meta(0o777, 12, 13), b"../../../../etc/passwd")?;
    tree.symlink(&path(b"long-s"), &meta(0o777, 0, 0), &b"t/".repeat(100))?;
    tree.hardlink(&path(b"s-link"), &path(b"s"))?;
    tree.hardlink(&path(b"setuid-link"), &path(b"d/setuid"))?;
    tree.node(
        &path(b"whiteout"),
        &meta(0, 0, 0),
        &EntryKind::Char { major: 0, minor: 0 },
    )?;
    tree.node(
        &path(b"null"),
        &meta(0o666, 0, 5),
        &EntryKind::Char { major: 1, minor: 3 },
    )?;
    tree.node(
        &path(b"disk"),
        &meta(0o660, 0, 6),
        &EntryKind::Block {
            major: 259,
            minor: 70_000,
        },
    )?;
    tree.node(&path(b"fifo"), &meta(0o620, 9, 9), &EntryKind::Fifo)?;
    // Named before as a parent, and again with what its own entry says.
    tree.directory(&path(b"d"), &last)?;
    tree.finish()?;
    sink.file(&path(b"var/lib/store/lower"), &meta(0o644, 0, 0), b"l/A")?;
    sink.symlink(&path(b"var/lib/store/l"), &meta(0o777, 0, 0), b"diff")
}

/// What [`write`] makes, in the words of [`list`].
const EXPECTED: &str = include_str!("sinks/expected.txt");

fn expected(without: Without) -> String {
    let unwanted = |line: &&str| without.negative_times && line.starts_with("diff/negative");
    EXPECTED
        .lines()
        .filter(|line| !unwanted(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Keeps the lines short.
fn shorten(text: &str) -> String {
    if text.len() < 100 {
        text.to_owned()
    } else {
        format!("{}…{} ({})", &text[..20], &text[text.len() - 8..], text.len())
    }
}

/// Everything below `root`, one line each: name, type and mode, owner, device number, time, links, content, xattrs.
/// Through libc, so that fakeroot and pseudo answer.
fn list(root: &Path) -> String {
    let mut lines = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(here) = todo.pop() {
        let stat = rustix::fs::lstat(&here).unwrap();
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let name = shorten(
            &here
                .strip_prefix(root)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .escape_ascii()
                .to_string(),
        );
        let mut line = format!("{:o} {}:{}", stat.st_mode, stat.st_uid, stat.st_gid);
        write!(line, " {}.{}", stat.st_mtime, stat.st_mtime_nsec).unwrap();
        if kind.is_dir() {
            todo.extend(fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            write!(line, " links {}", stat.st_nlink).unwrap();
        }
        if kind.is_file() {
            let content = fs::read(&here).unwrap();
            let shown = &content[..content.len().min(10)];
            write!(line, " {} bytes {}", content.len(), shown.escape_ascii()).unwrap();
        } else if kind.is_symlink() {
            let target = fs::read_link(&here).unwrap();
            write!(
                line,
                " -> {}",
                shorten(&target.as_os_str().as_bytes().escape_ascii().to_string())
            )
            .unwrap();
        } else if kind.is_char_device() || kind.is_block_device() {
            write!(
                line,
                " device {}:{}",
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev)
            )
            .unwrap();
        }
        if kind.is_file() || kind.is_dir() {
            let mut buffer = vec![0; 4096];
            let length = rustix::fs::llistxattr(&here, &mut buffer[..]).unwrap_or(0);
            for xattr in buffer[..length]
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty())
            {
                let mut value = vec![0; 4096];
                let length = rustix::fs::lgetxattr(&here, OsStr::from_bytes(xattr), &mut value[..]).unwrap();
                let value = value[..length].escape_ascii();
                write!(line, " {}={value}", xattr.escape_ascii()).unwrap();
            }
        }
        lines.insert(name, line);
    }
    lines.into_iter().fold(String::new(), |text, (name, line)| {
        text + &name + " " + &line + "\n"
    })
}

/// Compares line by line and shows what differs.
fn assert_same(got: &str, want: &str) {
    let (got, want): (Vec<_>, Vec<_>) = (got.lines().collect(), want.lines().collect());
    let more: Vec<_> = got.iter().filter(|line| !want.contains(line)).collect();
    let less: Vec<_> = want.iter().filter(|line| !got.contains(line)).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "got {more:#?} instead of {less:#?}"
    );
    assert_eq!(got.len(), want.len());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    found || Path::new("/usr/sbin").join(program).is_file()
}

fn skip(test: &str, reason: &str) {
    eprintln!("SKIP {test}: {reason}");
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

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
    words.extend(["--exact", "pretend_child", "--ignored"].map(OsStr::new));
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

/// The tree as a tar file in `dir`.
fn write_tar(dir: &Path, compression: TarCompression, without: Without) -> PathBuf {
    let file = dir.join("store.tar");
    let sink = TarSink::create(&file, compression).unwrap();
    write(&sink, without).unwrap();
    Box::new(sink).commit().unwrap();
    file
}

#[test]
fn gnu_tar_reads_the_stream() {
    if !is_root() {
        return skip("gnu_tar_reads_the_stream", "needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write_tar(dir.path(), TarCompression::None, Without::default());
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let options = [
        "--numeric-owner",
        "--delay-directory-restore",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
    ];
    let output = checked(
        Command::new("tar")
            .args(options)
            .arg(&file)
            .arg("-C")
            .arg(&root)
            .env("LC_ALL", "C"),
    );
    // What it says of times before 1970, and of long names that are not ASCII.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.lines()
            .all(|line| line.contains("implausibly old time stamp") || line.contains("'hdrcharset'")),
        "{said}"
    );
    assert_same(&list(&root.join("var/lib/store")), EXPECTED);
    assert_eq!(
        fs::metadata(root.join("var/lib")).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    fs::set_permissions(
        root.join("var/lib/store/diff/closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
}

#[test]
fn bsdtar_reads_the_stream() {
    if !is_root() || !has("bsdtar") {
        return skip("bsdtar_reads_the_stream", "needs root and bsdtar");
    }
    let dir = tempfile::tempdir().unwrap();
    // libarchive reads -1.5 as -1 + 0.5.
    let without = Without {
        negative_times: true,
        ..Without::default()
    };
    let file = write_tar(dir.path(), TarCompression::None, without);
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    checked(
        Command::new("bsdtar")
            .args(["--numeric-owner", "--xattrs", "-xpf"])
            .arg(&file)
            .arg("-C")
            .arg(&root),
    );
    assert_same(&list(&root.join("var/lib/store")), &expected(without));
}

/// squashfs has 32-bit times from 1970 on, in whole seconds. Of a directory that comes twice, mksquashfs takes the
/// first entry and tar2sqfs none at all.
#[test]
fn squashfs_tools_read_the_stream() {
    let without = Without {
        negative_times: true,
        second_thoughts: true,
    };
    if !is_root() || !has("mksquashfs") || !has("tar2sqfs") {
        return skip(
            "squashfs_tools_read_the_stream",
            "needs root, squashfs-tools and squashfs-tools-ng",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write_tar(dir.path(), TarCompression::None, without);
    for maker in ["mksquashfs", "tar2sqfs"] {
        let image = dir.path().join(maker);
        let mut command = Command::new(maker);
        match maker {
            "mksquashfs" => command.args(["-", image.to_str().unwrap(), "-tar", "-quiet", "-no-progress"]),
            _ => command.args(["--quiet", image.to_str().unwrap()]),
        };
        checked(command.stdin(fs::File::open(&file).unwrap()));
        let root = dir.path().join(format!("{maker}.root"));
        checked(
            Command::new("unsquashfs")
                .args(["-quiet", "-no-progress", "-d"])
                .arg(&root)
                .arg(&image),
        );
        let got = list(&root.join("var/lib/store")).replace(".123456789", ".0");
        assert_same(&got, &expected(without).replace(".123456789", ".0"));
    }
}

#[test]
fn the_stream_is_the_same_every_time_and_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let once = fs::read(write_tar(dir.path(), TarCompression::None, Without::default())).unwrap();
    let again = fs::read(write_tar(dir.path(), TarCompression::None, Without::default())).unwrap();
    assert!(once == again);
    // Some jobs of zstd's.
    let noise: Vec<u8> = (0..4_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .collect();
    let compressed = |threads, chunk| {
        let mut out = Vec::new();
        let sink = TarSink::new(&mut out, TarCompression::Zstd { level: 3, threads }).unwrap();
        write(&sink, Without::default()).unwrap();
        let mut content = std::io::BufReader::with_capacity(chunk, &noise[..]);
        sink.stream(
            &path(b"noise"),
            &meta(0o644, 0, 0),
            noise.len() as u64,
            &mut content,
        )
        .unwrap();
        Box::new(sink).commit().unwrap();
        out
    };
    let one = compressed(1, 8192);
    assert!(one == compressed(3, 100_000) && one == compressed(0, 4096));
    let plain = zstd::decode_all(&one[..]).unwrap();
    assert!(plain.starts_with(&once[..once.len() - 1024]));
}

/// Takes `left` bytes, then nobody reads any more.
struct Pipe {
    left: usize,
}

impl std::io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_a_clear_error() {
    for compression in [
        TarCompression::None,
        TarCompression::Zstd { level: 1, threads: 1 },
    ] {
        let sink = TarSink::new(Pipe { left: 0 }, compression).unwrap();
        let written = write(&sink, Without::default());
        let error = written
            .and_then(|()| Box::new(sink).commit().map(|_| ()))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "cannot write the tar stream: the program that read it has ended"
        );
    }
}

#[test]
fn a_tar_file_appears_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.tar");
    fs::write(&file, "old").unwrap();
    let sink = TarSink::create(&file, TarCompression::None).unwrap();
    write(&sink, Without::default()).unwrap();
    drop(sink);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    // Nor when content was short, after which nothing more is written.
    let sink = TarSink::create(&file, TarCompression::None).unwrap();
    let short = sink
        .stream(&path(b"f"), &meta(0o644, 0, 0), 5, &mut Cursor::new(b"abc"))
        .unwrap_err();
    assert!(matches!(short, SinkError::Content { .. }));
    assert!(sink.file(&path(b"g"), &meta(0o644, 0, 0), b"").is_err());
    assert!(Box::new(sink).commit().is_err());
    assert_eq!(fs::read(&file).unwrap(), b"old");
    let link = dir.path().join("link.tar");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let sink = TarSink::create(&link, TarCompression::None).unwrap();
    Box::new(sink).commit().unwrap();
    assert_eq!(fs::read(&file).unwrap(), [0; 1024]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "only the file and the link"
    );
    assert!(TarSink::create(dir.path(), TarCompression::None).is_err());
}

#[test]
fn a_stream_refuses_what_it_cannot_take_back() {
    let sink = TarSink::new(std::io::sink(), TarCompression::None).unwrap();
    let m = meta(0o755, 0, 0);
    sink.file(&path(b"f"), &m, b"").unwrap();
    let said = |result: Result<(), SinkError>| result.unwrap_err().to_string();
    assert!(said(sink.file(&path(b"f"), &m, b"")).contains("written already"));
    assert!(said(sink.file(&path(b"f/g"), &m, b"")).contains("`/f` is a file"));
    assert!(said(sink.file(&path(b"d/g"), &m, b"")).contains("has not been made"));
    sink.tree(&path(b"t"), &m).unwrap().finish().unwrap();
    assert!(said(sink.file(&path(b"t/g"), &m, b"")).contains("belongs to the subtree"));
    let tree = sink.tree(&path(b"u"), &m).unwrap();
    drop(tree);
    assert!(
        Box::new(sink)
            .commit()
            .unwrap_err()
            .to_string()
            .contains("not finished")
    );
}

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
        .args(["--exact", "elsewhere_child", "--ignored"])
        .env("VCONTAINER_TEST_ROOT", dir.path());
    assert_eq!(child.status().unwrap().code(), Some(77));
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
