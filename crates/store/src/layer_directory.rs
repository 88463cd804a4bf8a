//! A layer that lies on disk already, as an engine or this tool wrote it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use vcontainer_image::{Meta, Timestamp, Xattr};

use crate::tree::{LayerTree, NewNode, NodeId, ROOT, TreeFault};

/// A layer on disk could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}` of an existing layer", path.display())]
pub struct LayerDirectoryError {
    /// What was being read.
    pub path: PathBuf,
    /// What went wrong.
    #[source]
    pub source: io::Error,
}

impl LayerTree {
    /// Reads the names of a layer that an engine unpacked, such as `overlay2/<id>/diff`. Character devices 0:0 are
    /// whiteouts; `trusted.overlay.opaque` and `user.overlay.opaque` are honoured as far as they can be read (without
    /// privilege the first one cannot).
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn from_directory(path: &Path) -> Result<Self, LayerDirectoryError> {
        let mut tree = Self::new();
        if is_opaque(path) {
            tree.set_opaque(ROOT);
        }
        let mut open = vec![(path.to_owned(), ROOT)];
        while let Some((path, directory)) = open.pop() {
            let fail = |source| LayerDirectoryError {
                path: path.clone(),
                source,
            };
            for item in fs::read_dir(&path).map_err(fail)? {
                let item = item.map_err(fail)?;
                let path = item.path();
                if let Some(subdirectory) = tree.read_object(&path, directory, item.file_name().as_bytes())? {
                    open.push((path, subdirectory));
                }
            }
        }
        Ok(tree)
    }

    /// Adds one object; returns its number if it is a directory.
    fn read_object(
        &mut self,
        path: &Path,
        parent: NodeId,
        name: &[u8],
    ) -> Result<Option<NodeId>, LayerDirectoryError> {
        let fail = |source| LayerDirectoryError {
            path: path.to_owned(),
            source,
        };
        let no_place = |fault: TreeFault| fail(io::Error::other(fault));
        let metadata = fs::symlink_metadata(path).map_err(fail)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let meta = Meta {
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                mtime: Timestamp {
                    seconds: metadata.mtime(),
                    nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
                },
                xattrs: xattrs(path),
            };
            let node = self
                .place(parent, name, &NewNode::Directory(&meta))
                .map_err(no_place)?;
            if is_opaque(path) {
                self.set_opaque(node);
            }
            return Ok(Some(node));
        }
        let target;
        let new = if kind.is_symlink() {
            target = fs::read_link(path).map_err(fail)?;
            NewNode::Symlink(target.as_os_str().as_bytes())
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            NewNode::Whiteout
        } else {
            NewNode::Other
        };
        self.place(parent, name, &new).map_err(no_place)?;
        Ok(None)
    }
}

/// Source: Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 1];
            matches!(lgetxattr(path, *name, &mut value), Ok(1)) && value == *b"y"
        })
}

/// The extended attributes of a directory that a directory above it should have, too: not overlayfs's own, and not
/// the label that the build host's SELinux policy gave. What cannot be read is left out.
fn xattrs(path: &Path) -> Vec<Xattr> {
    let mut names = vec![0; 65536];
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut xattrs: Vec<Xattr> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| {
            !name.is_empty()
                && !name.starts_with(b"trusted.overlay.")
                && !name.starts_with(b"user.overlay.")
                && *name != b"security.selinux"
        })
        .filter_map(|name| {
            let mut value = vec![0; 65536];
            let length = lgetxattr(path, name, &mut value[..]).ok()?;
            value.truncate(length);
            Some(Xattr {
                name: name.to_vec(),
                value,
            })
        })
        .collect();
    xattrs.sort();
    xattrs
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

    use super::*;
    use crate::testing::path;
    use crate::{LowerView, tree::NodeKind};

    #[test]
    fn a_layer_on_disk_is_read_as_the_engine_sees_it() {
        let layer = tempfile::tempdir().unwrap();
        let at = |name: &str| layer.path().join(name);
        fs::create_dir_all(at("d/sub")).unwrap();
        fs::set_permissions(at("d"), fs::Permissions::from_mode(0o1711)).unwrap();
        fs::write(at("d/file"), "x").unwrap();
        symlink("d/file", at("link")).unwrap();
        // Linux 5.8 and later let anybody make this one device.
        mknodat(CWD, at("d/gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        let has_xattrs = lsetxattr(at("d/sub"), "user.overlay.opaque", b"y", XattrFlags::empty()).is_ok()
            && lsetxattr(at("d/sub"), "user.kept", b"1", XattrFlags::empty()).is_ok();

        let tree = LayerTree::from_directory(layer.path()).unwrap();
        let directory = tree.child(ROOT, b"d").unwrap();
        let kind = |name: &[u8]| tree.child(directory, name).map(|node| tree.kind(node));
        assert_eq!(kind(b"file"), Some(NodeKind::Other));
        assert_eq!(kind(b"gone"), Some(NodeKind::Whiteout));
        assert_eq!(kind(b"sub"), Some(NodeKind::Directory));
        assert_eq!(tree.kind(tree.child(ROOT, b"link").unwrap()), NodeKind::Symlink);
        let lower = LowerView::new([&tree]);
        assert_eq!(lower.directory_meta(&path("d")).unwrap().mode, 0o1711);
        if has_xattrs {
            let sub = tree.child(directory, b"sub").unwrap();
            assert!(tree.is_opaque(sub) && !tree.is_opaque(directory));
            let kept = Xattr {
                name: b"user.kept".to_vec(),
                value: b"1".to_vec(),
            };
            assert_eq!(lower.directory_meta(&path("d/sub")).unwrap().xattrs, [kept]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = LayerTree::from_directory(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read `/nonexistent` of an existing layer"
        );
    }
}
