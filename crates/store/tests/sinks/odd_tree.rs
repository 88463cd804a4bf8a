//! One of everything that a layer can hold, and what it looks like when it is there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath, Xattr};
use vcontainer_store::{Sink, SinkError};

pub fn path(text: &[u8]) -> TreePath {
    TreePath::clean(text).unwrap()
}

pub fn meta(mode: u32, uid: u32, gid: u32) -> Meta {
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

pub fn with(meta: Meta, name: &str, value: &[u8]) -> Meta {
    let xattrs = vec![Xattr {
        name: name.as_bytes().to_vec(),
        value: value.to_vec(),
    }];
    Meta { xattrs, ..meta }
}

/// `cap_sys_rawio,cap_sys_ptrace=ep` in the form of linux/capability.h, revision 2: it has a line feed in it.
pub const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Which odd things are left out, because the reader of the moment cannot have them.
#[derive(Clone, Copy, Default)]
pub struct Without {
    pub negative_times: bool,
    /// Metadata that a directory gets after something was written into it.
    pub second_thoughts: bool,
}

/// Writes one of everything.
pub fn write(sink: &dyn Sink, without: Without) -> Result<(), SinkError> {
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
pub const EXPECTED: &str = include_str!("expected.txt");

pub fn expected(without: Without) -> String {
    let unwanted = |line: &&str| without.negative_times && line.starts_with("diff/negative");
    EXPECTED
        .lines()
        .filter(|line| !unwanted(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Keeps the lines short.
pub fn shorten(text: &str) -> String {
    if text.len() < 100 {
        text.to_owned()
    } else {
        format!("{}…{} ({})", &text[..20], &text[text.len() - 8..], text.len())
    }
}

/// Everything below `root`, one line each: name, type and mode, owner, device number, time, links, content, xattrs.
/// Through libc, so that fakeroot and pseudo answer.
pub fn list(root: &Path) -> String {
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
