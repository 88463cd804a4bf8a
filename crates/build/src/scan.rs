//! Reads a directory of the host as a file system: owners and extended attributes as fakeroot and pseudo show them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, lgetxattr, llistxattr, lstat, major, minor, stat};
use rustix::io::Errno;
use vcontainer_image::{Meta, Timestamp, TreePath, Xattr};

use crate::error::{Error, OnPath as _};
use crate::tree::{Content, Kind, Link, Node, Stamp, Tree};

/// Attributes that belong to the host and not to the file: SELinux labels, overlayfs' own marks.
const OF_THE_HOST: [&[u8]; 3] = [b"security.selinux", b"trusted.overlay.", b"user.overlay."];

/// Reads a directory (or where a link leads) with all that is in it, other file systems too.
///
/// # Errors
/// It is none, or something in it cannot be read.
pub fn directory(root: &Path) -> Result<Tree, Error> {
    directory_of(root, None)
}

/// As [`directory`]; what belongs to `builder`, an ordinary user and group, belongs to root: who builds an image means
/// nothing in it.
///
/// # Errors
/// As [`directory`].
pub fn directory_of(root: &Path, builder: Option<(u32, u32)>) -> Result<Tree, Error> {
    let mut tree = as_seen(root)?;
    if let Some((user, group)) = builder {
        for node in tree.nodes_mut() {
            if node.meta.uid == user {
                node.meta.uid = 0;
            }
            if node.meta.gid == group {
                node.meta.gid = 0;
            }
        }
    }
    Ok(tree)
}

fn as_seen(root: &Path) -> Result<Tree, Error> {
    let found = stat(root).at("reading", root)?;
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return Err(Error::NotADirectory { path: root.into() });
    }
    let mut scanner = Scanner::default();
    scanner.object(root.to_owned(), TreePath::root(), &found)?;
    Ok(scanner.finish())
}

/// Reads objects of the host into one file system. Names of one file are found among all that one scanner reads.
//
// Not by the standard library's metadata, which comes by statx: older versions of fakeroot do not know that one.
#[derive(Default)]
pub struct Scanner {
    tree: Tree,
    /// Files that have several names, by device and inode.
    linked: BTreeMap<(u64, u64), Link>,
}

impl Scanner {
    /// Reads one object, with all that is in it if it is a directory, as if it lay at `place`. Sockets are left out: they
    /// mean nothing without the process that listens.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn add(&mut self, path: &Path, place: &TreePath) -> Result<(), Error> {
        let found = lstat(path).at("reading", path)?;
        self.tree.insert_parents(place);
        self.object(path.to_owned(), place.clone(), &found)
    }

    /// All that was read.
    #[must_use]
    pub fn finish(self) -> Tree {
        self.tree
    }

    fn object(&mut self, path: PathBuf, place: TreePath, found: &Stat) -> Result<(), Error> {
        let Some(kind) = self.kind(&path, found)? else {
            return Ok(());
        };
        let is_directory = matches!(kind, Kind::Directory);
        let node = Node {
            meta: meta(&path, found)?,
            kind,
        };
        self.tree.insert(place.clone(), node);
        if !is_directory {
            return Ok(());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).at("reading", &path)? {
            names.push(entry.at("reading", &path)?.file_name());
        }
        // Numbers of links must not depend on the order in the directory.
        names.sort();
        for name in names {
            let path = path.join(&name);
            let found = lstat(&path).at("reading", &path)?;
            self.object(path, place.join(name.as_bytes()), &found)?;
        }
        Ok(())
    }

    fn kind(&mut self, path: &Path, found: &Stat) -> Result<Option<Kind>, Error> {
        let device = (major(found.st_rdev), minor(found.st_rdev));
        Ok(Some(match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                let target = fs::read_link(path).at("reading the link", path)?;
                Kind::Symlink(target.into_os_string().into_vec())
            }
            FileType::RegularFile => {
                let next = Link(self.linked.len() as u64);
                let link = (found.st_nlink > 1)
                    .then(|| *self.linked.entry((found.st_dev, found.st_ino)).or_insert(next));
                Kind::File {
                    content: Content::Host {
                        path: path.to_owned(),
                        stamp: Stamp::new(found),
                    },
                    link,
                }
            }
            FileType::CharacterDevice => Kind::Char(device.0, device.1),
            FileType::BlockDevice => Kind::Block(device.0, device.1),
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        }))
    }
}

fn meta(path: &Path, found: &Stat) -> Result<Meta, Error> {
    Ok(Meta {
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        mtime: Timestamp {
            seconds: found.st_mtime,
            nanoseconds: 0,
        },
        xattrs: xattrs(path).at("reading the extended attributes of", path)?,
    })
}

fn xattrs(path: &Path) -> io::Result<Vec<Xattr>> {
    let names = match growing(|buffer| llistxattr(path, buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if OF_THE_HOST.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let value = match growing(|buffer| lgetxattr(path, OsStr::from_bytes(name), buffer)) {
            Ok(value) => value,
            // Listed by the kernel, and not for us to see.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        };
        found.push(Xattr {
            name: name.to_vec(),
            value,
        });
    }
    found.sort();
    Ok(found)
}

/// Calls with a buffer that grows until the result fits.
fn growing(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // Linux allows 64 KiB.
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}
