//! Writes one subtree into a staging directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use vcontainer_image::{EntryKind, Meta, Timestamp, TreePath, Xattr};

use super::DirectorySink;
use super::object::{self, Spot, failed};
use crate::sink::{SinkError, TreeWriter, Written};

/// A subtree in the making. The directory it is in was made by this process for this subtree alone, with nobody else
/// allowed in, so that no symlink but the layer's own can be there. These are never followed: a path is used only when
/// its parent is among the directories that this writer made, and a directory never gives way to something else.
pub(super) struct DirectoryTree<'s> {
    sink: &'s DirectorySink,
    /// Where the subtree comes to lie on the target.
    target: TreePath,
    /// The staged directory.
    root: File,
    host_path: PathBuf,
    /// The directory used last (the layer lists a directory's children together).
    current: Option<(TreePath, File)>,
    /// Times and extended attributes of the directories; the times are set when nothing changes them any more.
    directories: BTreeMap<TreePath, (Timestamp, Vec<Xattr>)>,
    written: Written,
}

impl<'s> DirectoryTree<'s> {
    /// Writes into the directory `root` at `host_path`, freshly made with `meta`, meant for `target`.
    pub fn new(
        sink: &'s DirectorySink,
        target: TreePath,
        root: File,
        host_path: PathBuf,
        meta: &Meta,
    ) -> Self {
        let directories = BTreeMap::from([(TreePath::root(), (meta.mtime, meta.xattrs.clone()))]);
        let written = Written { entries: 1, bytes: 0 };
        Self {
            sink,
            target,
            root,
            host_path,
            current: None,
            directories,
            written,
        }
    }

    /// The path on the target, for messages.
    fn shown(&self, path: &TreePath) -> TreePath {
        path.components()
            .fold(self.target.clone(), |shown, name| shown.join(name))
    }

    /// Opens the directory `path`, if it is not the one that is open already.
    fn enter(&mut self, path: &TreePath) -> Result<&File, SinkError> {
        if path.is_root() {
            return Ok(&self.root);
        }
        self.check_made(path)?;
        let current = match self.current.take() {
            Some(current) if current.0 == *path => current,
            _ => {
                let file = object::open_directory(self.root.as_fd(), OsStr::from_bytes(path.as_bytes()))
                    .map_err(|error| failed("open the directory", &self.shown(path), error))?;
                (path.clone(), file)
            }
        };
        Ok(&self.current.insert(current).1)
    }

    fn check_made(&self, path: &TreePath) -> Result<(), SinkError> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        let why = "it is not a directory that was made before what is below it".to_owned();
        Err(SinkError::Conflict {
            action: "write below",
            path: self.shown(path),
            why,
        })
    }

    /// Calls `create` with the place where `path` is to be made.
    fn at<T>(
        &mut self,
        path: &TreePath,
        create: impl FnOnce(&Spot<'_>) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            let why = "it is the root of its subtree, which is a directory".to_owned();
            return Err(SinkError::Conflict {
                action: "write",
                path: self.target.clone(),
                why,
            });
        };
        let shown = self.shown(path);
        let parent_path = self.host_path.join(OsStr::from_bytes(parent.as_bytes()));
        let directory = self.enter(&parent)?;
        let made = create(&Spot {
            parent: directory.as_fd(),
            parent_path: &parent_path,
            name,
            shown: &shown,
        })?;
        self.written.entries += 1;
        Ok(made)
    }
}

impl TreeWriter for DirectoryTree<'_> {
    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        let state = (meta.mtime, meta.xattrs.clone());
        if let Some((_, old_xattrs)) = self.directories.insert(path.clone(), state) {
            let shown = self.shown(path);
            let directory = self.enter(path)?;
            object::remove_xattrs(directory, &old_xattrs, &meta.xattrs, &shown)?;
            return object::set_metadata(directory, meta, &shown);
        }
        let directory = self.at(path, |spot| object::create_directory(spot, meta))?;
        // Its children come next.
        self.current = Some((path.clone(), directory));
        Ok(())
    }

    fn file(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.at(path, |spot| object::create_file(spot, meta, size, content))?;
        self.written.bytes += size;
        Ok(())
    }

    fn symlink(&mut self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.at(path, |spot| object::create_symlink(spot, meta, target))
    }

    fn hardlink(&mut self, path: &TreePath, existing: &TreePath) -> Result<(), SinkError> {
        if let Some(parent) = existing.parent() {
            self.check_made(&parent)?;
        }
        let root = self
            .root
            .try_clone()
            .map_err(|error| failed("open the directory", &self.target, error))?;
        self.at(path, |spot| object::create_link(spot, &root, existing.as_bytes()))
    }

    fn node(&mut self, path: &TreePath, meta: &Meta, kind: &EntryKind) -> Result<(), SinkError> {
        self.at(path, |spot| object::create_node(spot, meta, kind))
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.current = None;
        for (path, (mtime, _)) in &self.directories {
            let name: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
            object::set_time(self.root.as_fd(), name, *mtime, &self.shown(path))?;
        }
        self.sink.tree_finished(&self.target, self.written);
        Ok(())
    }
}
