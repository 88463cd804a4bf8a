//! File trees as values that can be compared: everything that a container sees of an entry.

mod archive;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

pub use archive::{below, of_layers, read_archive, read_archive_with};

/// One entry, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is: `directory`, `file SIZE SHA256`, `symlink TARGET`, `char 1:3`, `hard link to NAME` …
    pub kind: String,
    /// Permission bits with setuid, setgid, sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Modification time in seconds and nanoseconds; of directories, which change by being written into, only
    /// when asked for.
    pub mtime: Option<(i64, i64)>,
    /// Extended attributes, values in hexadecimal.
    pub xattrs: BTreeMap<String, String>,
}

impl Entry {
    /// A name that a directory lists and that doesn't exist: a whiteout which hides nothing.
    fn ghost() -> Self {
        Self {
            kind: "ghost".into(),
            mode: 0,
            owner: (0, 0),
            mtime: None,
            xattrs: BTreeMap::new(),
        }
    }
}

/// Entries by path below the root of the tree (escaped where they aren't UTF-8).
pub type Tree = BTreeMap<String, Entry>;

/// Reads a whole tree; its root is the entry `.`.
///
/// # Errors
/// Something in it cannot be read.
pub fn read(root: &Path) -> Result<Tree> {
    Reader::default().read(root)
}

/// As [`read`]; of what the reader may not read, only what stands in its directory.
///
/// # Errors
/// The system refuses something else.
pub fn read_all_that_may_be(root: &Path) -> Result<Tree> {
    let reader = Reader {
        denied: true,
        ..Reader::default()
    };
    reader.read(root)
}

/// As [`read`], with the modification times of directories too: for trees that were written in one go.
///
/// # Errors
/// Something in it cannot be read.
pub fn read_with_directory_times(root: &Path) -> Result<Tree> {
    let reader = Reader {
        directory_times: true,
        ..Reader::default()
    };
    reader.read(root)
}

/// What differs between two trees, one line each, at most 40; empty if they are equal.
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, entry) in expected {
        match found.get(path) {
            None => lines.push(format!("{path}: missing, expected {entry:?}")),
            Some(other) if other != entry => {
                lines.push(format!("{path}: expected {entry:?}\n    found {other:?}"))
            }
            Some(_) => {}
        }
    }
    let surplus = found.keys().filter(|path| !expected.contains_key(*path));
    lines.extend(surplus.map(|path| format!("{path}: not expected")));
    lines.truncate(40);
    lines
}

#[derive(Default)]
struct Reader {
    tree: Tree,
    /// First name of each file that has several.
    inodes: BTreeMap<(u64, u64), String>,
    directory_times: bool,
    /// Whether something may be denied.
    denied: bool,
}

impl Reader {
    fn read(mut self, root: &Path) -> Result<Tree> {
        self.visit(root, ".".into())?;
        Ok(self.tree)
    }

    /// What the system gave, or this where it may be denied and was.
    fn allow<T>(&self, given: io::Result<T>, instead: T) -> io::Result<T> {
        match given {
            Err(error) if self.denied && error.kind() == io::ErrorKind::PermissionDenied => Ok(instead),
            given => given,
        }
    }

    fn visit(&mut self, path: &Path, name: String) -> Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            // The kernel lists a whiteout that lies in a directory without anything below it, and denies its existence.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != "." => {
                self.tree.insert(name, Entry::ghost());
                return Ok(());
            }
            other => other.with_context(|| format!("reading {}", path.display()))?,
        };
        let entry = self
            .entry(path, &name, &metadata)
            .with_context(|| format!("reading {}", path.display()))?;
        self.tree.insert(name.clone(), entry);
        if metadata.is_dir() {
            let listed = fs::read_dir(path).and_then(|children| {
                children
                    .map(|child| child.map(|child| child.file_name()))
                    .collect()
            });
            let mut children: Vec<OsString> = self
                .allow(listed, Vec::new())
                .with_context(|| format!("listing {}", path.display()))?;
            children.sort();
            for child in children {
                let child_name = child.as_bytes().escape_ascii().to_string();
                let child_name = if name == "." {
                    child_name
                } else {
                    format!("{name}/{child_name}")
                };
                self.visit(&path.join(child), child_name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str, metadata: &Metadata) -> Result<Entry> {
        let kind = metadata.file_type();
        let device = || {
            format!(
                "{}:{}",
                rustix::fs::major(metadata.rdev()),
                rustix::fs::minor(metadata.rdev())
            )
        };
        let first = if kind.is_dir() || metadata.nlink() < 2 {
            None
        } else {
            let inode = (metadata.dev(), metadata.ino());
            let first = self.inodes.get(&inode).cloned();
            self.inodes.entry(inode).or_insert_with(|| name.to_owned());
            first
        };
        let kind = if let Some(first) = first {
            format!("hard link to {first}")
        } else if kind.is_dir() {
            "directory".into()
        } else if kind.is_symlink() {
            format!(
                "symlink {}",
                fs::read_link(path)?.as_os_str().as_bytes().escape_ascii()
            )
        } else if kind.is_file() {
            let hash = self.allow(hash(path), "unreadable".into())?;
            format!("file {} {hash}", metadata.len())
        } else if kind.is_char_device() {
            format!("char {}", device())
        } else if kind.is_block_device() {
            format!("block {}", device())
        } else if kind.is_fifo() {
            "fifo".into()
        } else {
            "socket".into()
        };
        Ok(Entry {
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (self.directory_times || !metadata.is_dir())
                .then(|| (metadata.mtime(), metadata.mtime_nsec())),
            xattrs: xattrs(path)?,
        })
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut names).context("listing extended attributes")?;
    let mut values = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value)
            .with_context(|| format!("reading the extended attribute {name}"))?;
        values.insert(name, hex(&value[..length]));
    }
    Ok(values)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_and_a_lost_link_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "content").unwrap();
        fs::hard_link(path("a"), path("b")).unwrap();
        let before = read(directory.path()).unwrap();
        assert_eq!(before["b"].kind, "hard link to a");
        assert!(differences(&before, &before).is_empty());
        fs::remove_file(path("b")).unwrap();
        fs::write(path("b"), "content").unwrap();
        let after = read(directory.path()).unwrap();
        assert!(differences(&before, &after)[0].starts_with("b: expected"));
    }
}
