//! Reads a directory of the host as a file system: owners and extended attributes as fakeroot and pseudo show them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use vcontainer_image::{Meta, Timestamp, TreePath, Xattr};

use crate::error::{Error, OnPath as _};
use crate::tree::{Content, Kind, Link, Node, Stamp, Tree};

/// Attributes that belong to the host and not to the file: SELinux labels, overlayfs' own marks.
const OF_THE_HOST: [&[u8]; 3] = [b"security.selinux", b"trusted.overlay.", b"user.overlay."];

/// Reads a directory with all that is in it, other file systems too.
///
/// # Errors
/// Something cannot be read, or is a socket's or another kind of object that no layer holds.
pub fn directory(root: &Path) -> Result<Tree, Error> {
    let metadata = fs::symlink_metadata(root).at("reading", root)?;
    if !metadata.is_dir() {
        return Err(Error::NotADirectory { path: root.into() });
    }
    let mut scan = Scan::default();
    scan.object(root.to_owned(), TreePath::root(), &metadata)?;
    Ok(scan.tree)
}

/// Reads one object of the host, with all that is in it if it is a directory, as if it lay at `place`.
///
/// # Errors
/// As [`directory`].
pub fn object(path: &Path, place: &TreePath) -> Result<Tree, Error> {
    let metadata = fs::symlink_metadata(path).at("reading", path)?;
    let mut scan = Scan::default();
    scan.object(path.to_owned(), place.clone(), &metadata)?;
    Ok(scan.tree)
}

#[derive(Default)]
struct Scan {
    tree: Tree,
    /// Files that have several names, by device and inode.
    linked: BTreeMap<(u64, u64), Link>,
}

impl Scan {
    fn object(&mut self, path: PathBuf, place: TreePath, metadata: &Metadata) -> Result<(), Error> {
        let kind = match self.kind(&path, metadata)? {
            Some(kind) => kind,
            None => return Ok(()),
        };
        let is_directory = matches!(kind, Kind::Directory);
        let node = Node {
            meta: meta(&path, metadata)?,
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
            let metadata = fs::symlink_metadata(&path).at("reading", &path)?;
            self.object(path, place.join(name.as_bytes()), &metadata)?;
        }
        Ok(())
    }

    fn kind(&mut self, path: &Path, metadata: &Metadata) -> Result<Option<Kind>, Error> {
        let file_type = metadata.file_type();
        let device = (major(metadata.rdev()), minor(metadata.rdev()));
        Ok(Some(if file_type.is_dir() {
            Kind::Directory
        } else if file_type.is_symlink() {
            let target = fs::read_link(path).at("reading the link", path)?;
            Kind::Symlink(target.into_os_string().into_vec())
        } else if file_type.is_file() {
            let next = Link(self.linked.len() as u64);
            let link = (metadata.nlink() > 1).then(|| {
                *self
                    .linked
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert(next)
            });
            Kind::File {
                content: Content::Host {
                    path: path.to_owned(),
                    stamp: Stamp::new(metadata),
                },
                link,
            }
        } else if file_type.is_char_device() {
            Kind::Char(device.0, device.1)
        } else if file_type.is_block_device() {
            Kind::Block(device.0, device.1)
        } else if file_type.is_fifo() {
            Kind::Fifo
        } else {
            // A socket means nothing without the process that listens on it.
            return Ok(None);
        }))
    }
}

fn meta(path: &Path, metadata: &Metadata) -> Result<Meta, Error> {
    Ok(Meta {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Timestamp {
            seconds: metadata.mtime(),
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
