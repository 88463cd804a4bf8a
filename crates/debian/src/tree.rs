//! The merged tree of many packages: names in memory, content in one temporary file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::tar::{Entry, EntryKind, Writer};

/// Directories of the root that are links into `/usr` (Debian's usrmerge, Policy 9.1).
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// A file system in the making. Paths are bytes without a leading slash; those in `/bin`, `/sbin` and `/lib*` are taken
/// as those in `/usr`.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    spool: File,
    end: u64,
}

/// One object of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content was changed, in seconds since 1970. 0 for what no package has.
    pub mtime: u64,
    /// What it is.
    pub kind: Kind,
}

/// What an object of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    Character(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Where the content of a file lies in the temporary file of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    offset: u64,
    size: u64,
}

impl Content {
    /// Where it begins.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// In bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }
}

impl Node {
    /// A directory of root's that everyone may read.
    pub const DIRECTORY: Self = Self {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        kind: Kind::Directory,
    };
}

impl Tree {
    /// An empty tree whose content is kept in a nameless file in `directory`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            nodes: BTreeMap::new(),
            spool: tempfile::tempfile_in(directory)?,
            end: 0,
        })
    }

    /// The path where `path` really lies: `bin/sh` in `usr/bin/sh`.
    #[must_use]
    pub fn real(path: &[u8]) -> Vec<u8> {
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        if MERGED.iter().any(|name| name.as_bytes() == first) {
            return [b"usr/", path].concat();
        }
        path.to_vec()
    }

    /// What lies at a path.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(&Self::real(path))
    }

    /// Puts an object at a path, in place of what was there. Missing parents become directories of root's.
    pub fn insert(&mut self, path: &[u8], node: Node) {
        let path = Self::real(path);
        for (at, byte) in path.iter().enumerate() {
            if let (b'/', Some(parent)) = (*byte, path.get(..at))
                && !self.nodes.contains_key(parent)
            {
                self.nodes.insert(parent.to_vec(), Node::DIRECTORY);
            }
        }
        self.nodes.insert(path, node);
    }

    /// Takes out what lies at a path, with all below it.
    pub fn remove(&mut self, path: &[u8]) {
        let path = Self::real(path);
        let below = [&path, &b"/"[..]].concat();
        self.nodes
            .retain(|name, _| name != &path && !name.starts_with(&below));
    }

    /// Keeps content for a file of this tree, from a stream read in pieces; `next` fills a buffer and says how far,
    /// 0 at the end.
    ///
    /// # Errors
    /// The source or the temporary file fails.
    pub fn store<E>(
        &mut self,
        mut next: impl FnMut(&mut [u8]) -> Result<usize, E>,
        failed: impl Fn(io::Error) -> E,
    ) -> Result<Content, E> {
        let offset = self.end;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = next(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(Content {
                    offset,
                    size: self.end - offset,
                });
            };
            self.spool.write_all_at(bytes, self.end).map_err(&failed)?;
            self.end += read as u64;
        }
    }

    /// Keeps content that is at hand.
    ///
    /// # Errors
    /// The temporary file fails.
    pub fn store_bytes(&mut self, bytes: &[u8]) -> io::Result<Content> {
        let offset = self.end;
        self.spool.write_all_at(bytes, offset)?;
        self.end += bytes.len() as u64;
        Ok(Content {
            offset,
            size: bytes.len() as u64,
        })
    }

    /// The content of a file of this tree, whole. For small files.
    ///
    /// # Errors
    /// The temporary file fails.
    pub fn read(&self, content: Content) -> io::Result<Vec<u8>> {
        let size = usize::try_from(content.size).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        self.spool.read_exact_at(&mut bytes, content.offset)?;
        Ok(bytes)
    }

    /// The first bytes of a file of this tree, `most` of them or all.
    ///
    /// # Errors
    /// The temporary file fails.
    pub fn start(&self, content: Content, most: u64) -> io::Result<Vec<u8>> {
        self.read(Content {
            offset: content.offset,
            size: content.size.min(most),
        })
    }

    /// All objects, sorted by path; parents come before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(path, node)| (&path[..], node))
    }

    /// All objects, sorted by path, and the temporary file with the content of the files.
    pub fn into_parts(self) -> (impl Iterator<Item = (Vec<u8>, Node)>, File) {
        (self.nodes.into_iter(), self.spool)
    }

    /// Makes `/bin`, `/sbin` and `/lib*` the links into `/usr` that they are in Debian, where `/usr` has them.
    pub fn link_merged_directories(&mut self) {
        for name in MERGED {
            let target = format!("usr/{name}").into_bytes();
            if self.nodes.contains_key(&target) {
                let link = Node {
                    mode: 0o777,
                    uid: 0,
                    gid: 0,
                    mtime: 0,
                    kind: Kind::Symlink(target),
                };
                self.nodes.insert(name.as_bytes().to_vec(), link);
            }
        }
    }

    /// Writes everything as a tar stream, sorted by path; every time is `time`, in seconds since 1970.
    ///
    /// # Errors
    /// The stream or the temporary file fails.
    pub fn write_tar<W: Write>(&self, output: W, time: u64) -> io::Result<W> {
        let mut writer = Writer::new(output, time);
        let mut buffer = vec![0; 1 << 17];
        for (path, node) in &self.nodes {
            let kind = match &node.kind {
                Kind::Directory => EntryKind::Directory,
                Kind::File(content) => EntryKind::File(content.size),
                Kind::Symlink(target) => EntryKind::Symlink(target.clone()),
                Kind::Character(major, minor) => EntryKind::Character(*major, *minor),
                Kind::Block(major, minor) => EntryKind::Block(*major, *minor),
                Kind::Fifo => EntryKind::Fifo,
            };
            writer.entry(&Entry {
                path: path.clone(),
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                mtime: node.mtime,
                kind,
            })?;
            if let Kind::File(content) = node.kind {
                self.copy(content, &mut buffer, |bytes| writer.content(bytes))?;
            }
        }
        writer.finish()
    }

    /// Gives a file's content to `write` in pieces of at most the buffer's size.
    fn copy(
        &self,
        content: Content,
        buffer: &mut [u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut offset, mut left) = (content.offset, content.size);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            self.spool.read_exact_at(piece, offset)?;
            write(piece)?;
            offset += wanted as u64;
            left -= wanted as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Reader;

    #[test]
    fn a_tree_is_written_sorted_with_its_parents() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(directory.path()).unwrap();
        for (path, text) in [
            ("sbin/z", "last"),
            ("usr-x/f", ""),
            ("bin/sh", "shell"),
            ("etc/a/b", "deep"),
        ] {
            let content = tree.store_bytes(text.as_bytes()).unwrap();
            tree.insert(
                path.as_bytes(),
                Node {
                    mode: 0o644,
                    uid: 1,
                    gid: 2,
                    mtime: 0,
                    kind: Kind::File(content),
                },
            );
        }
        tree.insert(b"usr/share/gone/deep", Node::DIRECTORY);
        tree.insert(b"usr/share/gone-not", Node::DIRECTORY);
        tree.remove(b"usr/share/gone");
        tree.link_merged_directories();
        let Kind::File(content) = tree.get(b"usr/bin/sh").unwrap().kind else {
            panic!("no file")
        };
        assert_eq!(tree.read(content).unwrap(), b"shell");
        let tar = tree.write_tar(Vec::new(), 0).unwrap();
        let mut reader = Reader::new(&tar[..]);
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            names.push(String::from_utf8(entry.path).unwrap());
        }
        let expected = "bin etc etc/a etc/a/b sbin usr usr-x usr-x/f usr/bin usr/bin/sh usr/sbin usr/sbin/z usr/share \
                        usr/share/gone-not";
        assert_eq!(names.join(" "), expected);
        assert_eq!(tree.get(b"bin"), tree.get(b"usr/bin"));
    }
}
