//! A sink that remembers what was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;

use vcontainer_image::{EntryKind, Meta, TreePath};

use crate::{Sink, SinkError, TreeWriter, Written};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: EntryKind,
    pub meta: Meta,
    pub content: Vec<u8>,
}

/// Paths relative to `/`, and what lies there.
pub(super) type Entries = BTreeMap<String, Entry>;

pub(super) struct MemorySink {
    parallelism: usize,
    entries: Mutex<Entries>,
    /// In which order files were written.
    pub order: Mutex<Vec<String>>,
}

impl MemorySink {
    pub(super) fn new(parallelism: usize) -> Self {
        Self {
            parallelism,
            entries: Mutex::default(),
            order: Mutex::default(),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        self.entries.lock().unwrap().clone()
    }

    /// One line for each entry below `below`: mode, owner, name, and what it holds: short text as it is.
    pub(super) fn listing(&self, below: &str) -> String {
        let mut text = String::new();
        for (path, entry) in self.entries().iter().filter(|(path, _)| path.starts_with(below)) {
            let Meta {
                mode,
                uid,
                gid,
                mtime,
                ..
            } = &entry.meta;
            let what = match &entry.kind {
                EntryKind::Directory => "dir".to_owned(),
                EntryKind::Symlink { target } => format!("-> {}", target.escape_ascii()),
                EntryKind::Char { major, minor } => format!("char {major}:{minor}"),
                EntryKind::File { .. } if entry.content.starts_with(&[0x1f, 0x8b]) => "gzip".to_owned(),
                EntryKind::File { size } if *size > 300 => "long".to_owned(),
                EntryKind::File { .. } => format!("{:?}", String::from_utf8_lossy(&entry.content)),
                other => format!("{other:?}"),
            };
            let path = path.strip_prefix(below).unwrap().trim_start_matches('/');
            writeln!(text, "{mode:04o} {uid}:{gid} {} {path} {what}", mtime.seconds).unwrap();
        }
        text
    }

    /// Puts everything into a directory, without owners, modes and devices, which need privilege.
    pub(super) fn put_into(&self, root: &Path) {
        for (path, entry) in self.entries() {
            let path = root.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
            match &entry.kind {
                EntryKind::Directory => std::fs::create_dir_all(path).unwrap(),
                EntryKind::Symlink { target } => {
                    let _ = std::fs::remove_file(&path);
                    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path).unwrap();
                }
                _ => std::fs::write(path, &entry.content).unwrap(),
            }
        }
    }

    fn add(&self, path: &TreePath, kind: EntryKind, meta: &Meta, content: Vec<u8>) {
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        if kind != EntryKind::Directory {
            self.order.lock().unwrap().push(path.clone());
        }
        let entry = Entry {
            kind,
            meta: meta.clone(),
            content,
        };
        let directory = entry.kind == EntryKind::Directory;
        let before = self.entries.lock().unwrap().insert(path.clone(), entry);
        // A stream cannot take back what it has written.
        assert!(before.is_none() || directory, "{path} was written twice");
    }
}

impl Sink for MemorySink {
    fn parallelism(&self) -> usize {
        self.parallelism
    }
    fn tree(&self, root: &TreePath, meta: &Meta) -> Result<Box<dyn TreeWriter + '_>, SinkError> {
        self.add(root, EntryKind::Directory, meta, Vec::new());
        Ok(Box::new(MemoryTree {
            sink: self,
            root: root.clone(),
        }))
    }
    fn directory(&self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let there = self.entries.lock().unwrap().contains_key(&name);
        if !there {
            self.add(path, EntryKind::Directory, meta, Vec::new());
        }
        Ok(())
    }
    fn file(&self, path: &TreePath, meta: &Meta, content: &[u8]) -> Result<(), SinkError> {
        self.add(
            path,
            EntryKind::File {
                size: content.len() as u64,
            },
            meta,
            content.to_vec(),
        );
        Ok(())
    }
    fn stream(
        &self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        let mut bytes = Vec::new();
        content.take(size).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, size);
        self.file(path, meta, &bytes)
    }
    fn symlink(&self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.add(
            path,
            EntryKind::Symlink {
                target: target.to_vec(),
            },
            meta,
            Vec::new(),
        );
        Ok(())
    }
    fn atomic_directory(&self, path: &TreePath) -> Result<(), SinkError> {
        let below = format!("{}/", String::from_utf8_lossy(path.as_bytes()));
        let early = self
            .entries
            .lock()
            .unwrap()
            .keys()
            .any(|path| path.starts_with(&below));
        assert!(
            !early,
            "something was written below {below} before it was announced"
        );
        Ok(())
    }
    fn commit(self: Box<Self>) -> Result<Written, SinkError> {
        Ok(Written::default())
    }
}

struct MemoryTree<'a> {
    sink: &'a MemorySink,
    root: TreePath,
}

impl MemoryTree<'_> {
    fn at(&self, path: &TreePath) -> TreePath {
        path.components()
            .fold(self.root.clone(), |path, part| path.join(part))
    }
}

impl TreeWriter for MemoryTree<'_> {
    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        self.sink
            .add(&self.at(path), EntryKind::Directory, meta, Vec::new());
        Ok(())
    }
    fn file(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        self.sink.stream(&self.at(path), meta, size, content)
    }
    fn symlink(&mut self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.sink.symlink(&self.at(path), meta, target)
    }
    fn hardlink(&mut self, path: &TreePath, existing: &TreePath) -> Result<(), SinkError> {
        let kind = EntryKind::Hardlink {
            target: self.at(existing),
        };
        self.sink.add(&self.at(path), kind, &Meta::default(), Vec::new());
        Ok(())
    }
    fn node(&mut self, path: &TreePath, meta: &Meta, kind: &EntryKind) -> Result<(), SinkError> {
        self.sink.add(&self.at(path), kind.clone(), meta, Vec::new());
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}
