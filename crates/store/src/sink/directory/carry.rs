//! Carries what a directory holds over into the directory that will take its place.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath, Xattr};

use super::object::{self, Spot, failed};
use crate::sink::SinkError;

/// Owner, mode, time and extended attributes of what lies at `path` (a symlink itself, not its target).
pub(super) fn read_meta(path: &Path, shown: &TreePath) -> Result<Meta, SinkError> {
    // Not by the standard library, which prefers statx: older versions of fakeroot do not know that one.
    let stat = rustix::fs::lstat(path).map_err(|error| failed("look at", shown, error))?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let mtime = Timestamp {
        seconds: stat.st_mtime,
        nanoseconds,
    };
    let xattrs =
        read_xattrs(path).map_err(|error| failed("read the extended attributes of", shown, error))?;
    Ok(Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime,
        xattrs,
    })
}

fn read_xattrs(path: &Path) -> Result<Vec<Xattr>, Errno> {
    let names = match read_growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = read_growing(|buffer| rustix::fs::lgetxattr(path, OsStr::from_bytes(name), buffer))?;
        xattrs.push(Xattr {
            name: name.to_vec(),
            value,
        });
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Reads what a call gives whose result may be up to 64 KiB, the kernel's limit for lists and values (xattr(7)).
fn read_growing(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match read(&mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The names in a directory on the host, sorted.
pub(super) fn names(path: &Path, shown: &TreePath) -> Result<Vec<Vec<u8>>, SinkError> {
    let list = || -> io::Result<Vec<Vec<u8>>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().into_vec()))
            .collect()
    };
    let mut names = list().map_err(|error| failed("list", shown, error))?;
    names.sort_unstable();
    Ok(names)
}

/// Gives the non-directory at `old` another name at `spot`, or copies it where it cannot have one.
pub(super) fn link_or_copy(old: &Path, spot: &Spot<'_>) -> Result<(), SinkError> {
    let linked = rustix::fs::linkat(
        rustix::fs::CWD,
        old,
        spot.parent,
        OsStr::from_bytes(spot.name),
        AtFlags::empty(),
    );
    match linked {
        Ok(()) => Ok(()),
        // Too many links, another mount, a file system without links, a file of another owner (proc(5),
        // protected_hardlinks).
        Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => copy(old, spot),
        Err(error) => Err(failed("link", spot.shown, error)),
    }
}

fn copy(old: &Path, spot: &Spot<'_>) -> Result<(), SinkError> {
    let at = |error: io::Error| failed("copy", spot.shown, error);
    let meta = read_meta(old, spot.shown)?;
    let stat = rustix::fs::lstat(old).map_err(|error| at(error.into()))?;
    let metadata = fs::symlink_metadata(old).map_err(at)?;
    let kind = metadata.file_type();
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if kind.is_symlink() {
        let target = fs::read_link(old).map_err(at)?;
        object::create_symlink(spot, &meta, target.as_os_str().as_bytes())
    } else if kind.is_file() {
        let mut content = BufReader::new(File::open(old).map_err(at)?);
        object::create_file(spot, &meta, metadata.len(), &mut content)
    } else if kind.is_char_device() {
        object::create_node(spot, &meta, &EntryKind::Char { major, minor })
    } else if kind.is_block_device() {
        object::create_node(spot, &meta, &EntryKind::Block { major, minor })
    } else if kind.is_fifo() {
        object::create_node(spot, &meta, &EntryKind::Fifo)
    } else {
        Ok(()) // a socket: without the process that listened it is nothing
    }
}

/// Makes a new directory at `spot` with the metadata of the directory at `old`, which is returned.
pub(super) fn mirror_directory(old: &Path, spot: &Spot<'_>) -> Result<Meta, SinkError> {
    let meta = read_meta(old, spot.shown)?;
    object::create_directory(spot, &meta)?;
    Ok(meta)
}

/// Carries the whole directory `old` over to `spot`.
pub(super) fn carry_directory(old: &Path, spot: &Spot<'_>) -> Result<(), SinkError> {
    let meta = mirror_directory(old, spot)?;
    let path = spot.parent_path.join(OsStr::from_bytes(spot.name));
    let directory = object::open_directory(spot.parent, OsStr::from_bytes(spot.name))
        .map_err(|error| failed("open the directory", spot.shown, error))?;
    for name in names(old, spot.shown)? {
        let shown = spot.shown.join(&name);
        let below = Spot {
            parent: directory.as_fd(),
            parent_path: &path,
            name: &name,
            shown: &shown,
        };
        carry(&old.join(OsStr::from_bytes(&name)), &below)?;
    }
    object::set_time(directory.as_fd(), b".", meta.mtime, spot.shown)
}

/// Carries anything over to `spot`.
pub(super) fn carry(old: &Path, spot: &Spot<'_>) -> Result<(), SinkError> {
    let metadata = fs::symlink_metadata(old).map_err(|error| failed("look at", spot.shown, error))?;
    if metadata.is_dir() {
        carry_directory(old, spot)
    } else {
        link_or_copy(old, spot)
    }
}
