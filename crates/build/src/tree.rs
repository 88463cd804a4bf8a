//! A file system in memory: names, owners, kinds. Content stays where it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Stat, fstat};
use vcontainer_image::{Meta, TreePath};

use crate::diff::place;

/// A file system, sorted by path; every parent is there and comes before what is in it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
    /// Directories that are only there because something lies in them: nobody has said what they are like.
    implied: BTreeSet<TreePath>,
}

/// One object of a [`Tree`].
#[derive(Debug, Clone)]
pub struct Node {
    /// Owner, mode, time, extended attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

impl Node {
    /// A directory of root's that everyone may read.
    #[must_use]
    pub fn directory() -> Self {
        Self {
            meta: Meta {
                mode: 0o755,
                ..Meta::default()
            },
            kind: Kind::Directory,
        }
    }
}

/// What an object of a [`Tree`] is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its content.
        content: Content,
        /// Which names are names of one file: those with the same number. `None` for one with a single name.
        link: Option<Link>,
    },
    /// A symbolic link and its target as written.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    Char(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The number of a file that has several names, within its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// Where the content of a file lies.
#[derive(Debug, Clone)]
pub enum Content {
    /// In a file of the host, which must not change meanwhile.
    Host {
        /// The file.
        path: PathBuf,
        /// What it was like when it was found.
        stamp: Stamp,
    },
    /// In a part of a file that nobody else has.
    Spool {
        /// The file.
        file: Arc<File>,
        /// Where in it.
        offset: u64,
        /// How many bytes.
        size: u64,
    },
}

/// What tells that a file is another one or has been written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The stamp of what was looked at.
    #[must_use]
    pub fn new(found: &Stat) -> Self {
        Self {
            size: u64::try_from(found.st_size).unwrap_or_default(),
            inode: found.st_ino,
            modified: (found.st_mtime, found.st_mtime_nsec),
        }
    }
}

impl Content {
    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Host { stamp, .. } => stamp.size,
            Self::Spool { size, .. } => *size,
        }
    }

    /// Gives the content in pieces.
    ///
    /// # Errors
    /// It cannot be read, or is not what it was when it was found.
    pub fn copy(&self, buffer: &mut [u8], mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Host { path, stamp } => {
                let mut file = File::open(path)?;
                let mut left = stamp.size;
                while left > 0 {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let count = file.read(buffer.get_mut(..wanted).unwrap_or_default())?;
                    if count == 0 {
                        return Err(changed());
                    }
                    write(buffer.get(..count).unwrap_or_default())?;
                    left -= count as u64;
                }
                match Stamp::new(&fstat(&file)?) == *stamp {
                    true => Ok(()),
                    false => Err(changed()),
                }
            }
            Self::Spool { file, offset, size } => {
                let (mut offset, mut left) = (*offset, *size);
                while left > 0 {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let piece = buffer.get_mut(..wanted).unwrap_or_default();
                    file.read_exact_at(piece, offset)?;
                    write(piece)?;
                    offset += wanted as u64;
                    left -= wanted as u64;
                }
                Ok(())
            }
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("it has changed while it was read")
}

impl Tree {
    /// What lies at a path.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// What lies at a path, to change it.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Puts an object at a path, in place of what was there.
    pub fn insert(&mut self, path: TreePath, node: Node) {
        self.implied.remove(&path);
        self.nodes.insert(path, node);
    }

    /// Whether a directory is only there because something lies in it.
    #[must_use]
    pub fn is_implied(&self, path: &TreePath) -> bool {
        self.implied.contains(path)
    }

    /// Takes back what was said about a directory: whatever lies below this file system is right.
    pub(crate) fn imply(&mut self, path: TreePath) {
        self.implied.insert(path);
    }

    /// Makes the directories that a path lies in and nobody has described: root's, for everyone to read.
    pub fn insert_parents(&mut self, path: &TreePath) {
        let mut parent = path.parent();
        while let Some(path) = parent {
            if self.nodes.contains_key(&path) {
                return;
            }
            parent = path.parent();
            self.implied.insert(path.clone());
            self.nodes.insert(path, Node::directory());
        }
    }

    /// Puts another file system over this one, as engines do with layers: directories are merged, everything else takes
    /// the place of what was there. What lies below a link goes where the link leads.
    pub fn lay_over(&mut self, layer: &Self) {
        let is_directory = |node: &Node| matches!(node.kind, Kind::Directory);
        for (path, node) in layer.iter().filter(|(path, _)| !layer.is_implied(path)) {
            // Where links lead in a circle nothing can lie.
            let Some(path) = place(self, path) else { continue };
            if !(is_directory(node) && self.get(&path).is_some_and(is_directory)) {
                self.remove(&path);
            }
            self.insert_parents(&path);
            self.insert(path, node.clone());
        }
    }

    /// All objects, to change them.
    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut()
    }

    /// All objects, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes out what lies at a path, with all below it.
    pub fn remove(&mut self, path: &TreePath) {
        let below: Vec<TreePath> = self.below(path).cloned().collect();
        for path in std::iter::once(path).chain(&below) {
            self.nodes.remove(path);
            self.implied.remove(path);
        }
    }

    /// The paths of all that lies below a directory.
    pub fn below<'a>(&'a self, path: &'a TreePath) -> impl Iterator<Item = &'a TreePath> {
        // What sorts between the directory and its content (`a-b` between `a` and `a/b`) is not below it.
        self.nodes
            .range((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded))
            .map(|(found, _)| found)
            .take_while(move |found| found.as_bytes().starts_with(path.as_bytes()))
            .filter(move |found| path.is_root() || found.as_bytes().get(path.as_bytes().len()) == Some(&b'/'))
    }
}
