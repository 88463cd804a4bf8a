//! Creates one file system object with all its metadata, always a new one, always through libc.
//!
//! fakeroot and pseudo pretend root by interposing libc functions. rustix calls libc too (feature `use-libc`), but for
//! `fchmod`, `fchmodat` and `fchown`, where it makes the system call itself: for these the standard library is used,
//! which does call libc.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;
use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath, Xattr};

use crate::sink::SinkError;

/// A name in a staging directory that does not exist yet, and what it will be called on the target.
pub(super) struct Spot<'a> {
    /// The open directory that holds the name.
    pub parent: BorrowedFd<'a>,
    /// The same directory by its path on the host, for the calls that have no form with a descriptor.
    pub parent_path: &'a Path,
    /// One component.
    pub name: &'a [u8],
    /// The path on the target, for messages.
    pub shown: &'a TreePath,
}

impl Spot<'_> {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name)
    }

    fn host_path(&self) -> PathBuf {
        self.parent_path.join(self.name())
    }
}

/// Turns an error of a file system call into one that names the path on the target.
pub(super) fn failed(action: &'static str, path: &TreePath, error: impl Into<io::Error>) -> SinkError {
    let source = error.into();
    let path = path.clone();
    // EPERM is what chown, mknod and setxattr say to those who are not root; a directory without write permission says
    // EACCES.
    if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) {
        SinkError::Privilege { action, path, source }
    } else {
        SinkError::Io { action, path, source }
    }
}

/// An owner could not be set. EINVAL is what chown says of a number that the user namespace of this process does not
/// have, as in a rootless container (user_namespaces(7)).
fn owner_failed(path: &TreePath, source: io::Error) -> SinkError {
    let action = "set the owner of";
    if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
        let path = path.clone();
        return SinkError::Privilege { action, path, source };
    }
    failed(action, path, source)
}

/// Times for a file: the access time is left to the kernel.
pub(super) fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanoseconds),
        },
    }
}

/// Creates a regular file of `size` bytes; returns nothing, as all is said.
pub(super) fn create_file(
    spot: &Spot<'_>,
    meta: &Meta,
    size: u64,
    content: &mut dyn BufRead,
) -> Result<(), SinkError> {
    const ACTION: &str = "write the file";
    let at = |error: io::Error| failed(ACTION, spot.shown, error);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = rustix::fs::openat(spot.parent, spot.name(), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| at(error.into()))?
        .into();
    copy(&mut file, size, content, spot.shown)?;
    set_metadata(&file, meta, spot.shown)?;
    rustix::fs::futimens(&file, &times(meta.mtime))
        .map_err(|error| failed("set the time of", spot.shown, error))
}

fn copy(file: &mut File, size: u64, content: &mut dyn BufRead, shown: &TreePath) -> Result<(), SinkError> {
    let broken = |source| SinkError::Content {
        path: shown.clone(),
        source,
    };
    let mut left = size;
    while left > 0 {
        let chunk = match content.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        if chunk.is_empty() {
            return Err(SinkError::ends_early(shown, size - left, size));
        }
        let take = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        file.write_all(&chunk[..take])
            .map_err(|error| failed("write the file", shown, error))?;
        content.consume(take);
        left -= take as u64;
    }
    Ok(())
}

/// Creates a directory and opens it. Its time is set later, when its children are there.
pub(super) fn create_directory(spot: &Spot<'_>, meta: &Meta) -> Result<File, SinkError> {
    rustix::fs::mkdirat(spot.parent, spot.name(), Mode::RWXU)
        .map_err(|error| failed("create the directory", spot.shown, error))?;
    let directory = open_directory(spot.parent, spot.name())
        .map_err(|error| failed("open the directory", spot.shown, error))?;
    set_metadata(&directory, meta, spot.shown)?;
    Ok(directory)
}

/// Opens a directory that is really one; its name may have several components.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// Owner, mode and extended attributes of an open file or directory. chown comes first: it clears setuid and setgid,
/// and removes `security.capability`.
pub(super) fn set_metadata(file: &File, meta: &Meta, shown: &TreePath) -> Result<(), SinkError> {
    fchown(file, Some(meta.uid), Some(meta.gid)).map_err(|error| owner_failed(shown, error))?;
    file.set_permissions(Permissions::from_mode(meta.mode))
        .map_err(|error| failed("set the mode of", shown, error))?;
    for xattr in &meta.xattrs {
        let name = OsStr::from_bytes(&xattr.name);
        rustix::fs::fsetxattr(file, name, &xattr.value, XattrFlags::empty())
            .map_err(|error| xattr_failed(xattr, shown, error))?;
    }
    Ok(())
}

/// Removes the extended attributes that `old` had and `new` does not have.
pub(super) fn remove_xattrs(
    file: &File,
    old: &[Xattr],
    new: &[Xattr],
    shown: &TreePath,
) -> Result<(), SinkError> {
    for xattr in old
        .iter()
        .filter(|xattr| new.iter().all(|other| other.name != xattr.name))
    {
        rustix::fs::fremovexattr(file, OsStr::from_bytes(&xattr.name))
            .map_err(|error| xattr_failed(xattr, shown, error))?;
    }
    Ok(())
}

fn xattr_failed(xattr: &Xattr, shown: &TreePath, error: Errno) -> SinkError {
    if error == Errno::NOTSUP {
        let why = format!(
            "its file system has no room for the extended attribute `{}`; use one that has, or write a tar stream",
            xattr.name.escape_ascii()
        );
        return SinkError::Conflict {
            action: "write",
            path: shown.clone(),
            why,
        };
    }
    failed("set an extended attribute of", shown, error)
}

/// Creates a symbolic link.
pub(super) fn create_symlink(spot: &Spot<'_>, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
    rustix::fs::symlinkat(OsStr::from_bytes(target), spot.parent, spot.name())
        .map_err(|error| failed("create the symlink", spot.shown, error))?;
    set_owner(spot, meta)?;
    finish_special(spot, meta)
}

/// Creates a device or a named pipe.
pub(super) fn create_node(spot: &Spot<'_>, meta: &Meta, kind: &EntryKind) -> Result<(), SinkError> {
    let (kind, major, minor) = match *kind {
        EntryKind::Char { major, minor } => (FileType::CharacterDevice, major, minor),
        EntryKind::Block { major, minor } => (FileType::BlockDevice, major, minor),
        EntryKind::Fifo => (FileType::Fifo, 0, 0),
        _ => {
            let why = "it is neither a device nor a named pipe".to_owned();
            return Err(SinkError::Conflict {
                action: "create the node",
                path: spot.shown.clone(),
                why,
            });
        }
    };
    let mode = Mode::from_raw_mode(meta.mode & 0o600);
    rustix::fs::mknodat(
        spot.parent,
        spot.name(),
        kind,
        mode,
        rustix::fs::makedev(major, minor),
    )
    .map_err(|error| failed("create the device", spot.shown, error))?;
    set_owner(spot, meta)?;
    // A whiteout has mode 0, which no umask can change. By path, for want of a libc `fchmodat` (see above); the node
    // was made just now in a directory of ours, so that it is no symlink.
    if meta.mode != 0 {
        std::fs::set_permissions(spot.host_path(), Permissions::from_mode(meta.mode))
            .map_err(|error| failed("set the mode of", spot.shown, error))?;
    }
    finish_special(spot, meta)
}

fn set_owner(spot: &Spot<'_>, meta: &Meta) -> Result<(), SinkError> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(
        spot.parent,
        spot.name(),
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|error| owner_failed(spot.shown, error.into()))
}

/// Extended attributes and time of an object that must not be opened.
fn finish_special(spot: &Spot<'_>, meta: &Meta) -> Result<(), SinkError> {
    for xattr in &meta.xattrs {
        let name = OsStr::from_bytes(&xattr.name);
        match rustix::fs::lsetxattr(spot.host_path(), name, &xattr.value, XattrFlags::empty()) {
            Ok(()) => {}
            // xattr(7): user.* exists on regular files and directories only. No engine keeps it either.
            Err(Errno::PERM | Errno::NOTSUP) if xattr.name.starts_with(b"user.") => {}
            Err(error) => return Err(xattr_failed(xattr, spot.shown, error)),
        }
    }
    set_time(spot.parent, spot.name, meta.mtime, spot.shown)
}

/// Sets the modification time of a name, not following a symlink.
pub(super) fn set_time(
    parent: BorrowedFd<'_>,
    name: &[u8],
    mtime: Timestamp,
    shown: &TreePath,
) -> Result<(), SinkError> {
    rustix::fs::utimensat(
        parent,
        OsStr::from_bytes(name),
        &times(mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|error| failed("set the time of", shown, error))
}

/// Creates another name for `existing`, which is relative to `base`.
pub(super) fn create_link(spot: &Spot<'_>, base: &File, existing: &[u8]) -> Result<(), SinkError> {
    let existing = OsStr::from_bytes(existing);
    rustix::fs::linkat(base.as_fd(), existing, spot.parent, spot.name(), AtFlags::empty())
        .map_err(|error| failed("create the hard link", spot.shown, error))
}
