//! Reads tar streams as file systems: root filesystem tarballs, and the layers of a base image one over the other.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use vcontainer_image::{Compression, EntryKind, LayerItem, LayerReader, TreePath};

use crate::diff::place;
use crate::error::{Error, OnPath as _};
use crate::tree::{Content, Kind, Link, Node, Tree};

/// Names of files that take something of the layers below away (OCI image-spec `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Puts tar streams one over the other. The content of files goes into one temporary file.
pub struct Unpacker {
    tree: Tree,
    spool: Arc<File>,
    /// Whether content is kept.
    keeps: bool,
    end: u64,
    links: u64,
    /// Whether names of whiteouts are whiteouts.
    takes_whiteouts: bool,
    /// How many objects one stream may have.
    most: usize,
}

/// As many as the largest images have a hundred times over.
const MOST_OBJECTS: usize = 10_000_000;

impl Unpacker {
    /// An empty file system whose content is kept in a nameless file in `directory`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(directory: &Path) -> Result<Self, Error> {
        let spool = tempfile::tempfile_in(directory).at("making a temporary file in", directory)?;
        Ok(Self {
            tree: Tree::default(),
            spool: Arc::new(spool),
            keeps: true,
            end: 0,
            links: 0,
            takes_whiteouts: true,
            most: MOST_OBJECTS,
        })
    }

    /// An empty file system of which only the names count: the content of its files is read and dropped.
    ///
    /// # Errors
    /// The system has no `/dev/null`.
    pub fn of_names() -> Result<Self, Error> {
        let nothing = Path::new("/dev/null");
        Ok(Self {
            tree: Tree::default(),
            spool: Arc::new(File::open(nothing).at("opening", nothing)?),
            keeps: false,
            end: 0,
            links: 0,
            takes_whiteouts: true,
            most: MOST_OBJECTS,
        })
    }

    /// Takes the streams for file systems of their own: names of whiteouts are errors.
    #[must_use]
    pub fn without_whiteouts(mut self) -> Self {
        self.takes_whiteouts = false;
        self
    }

    /// Bounds how many objects one stream may have, the directories that its names imply included.
    #[must_use]
    pub fn limited(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// What is there so far.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Puts a file system over what is there.
    pub fn lay_over(&mut self, layer: &Tree) {
        self.tree.lay_over(layer);
    }

    /// The file system.
    #[must_use]
    pub fn finish(self) -> Tree {
        self.tree
    }

    /// Puts one more stream over what is there, as engines do: whiteouts take away, directories are merged.
    ///
    /// # Errors
    /// The stream is damaged, or an entry makes no sense over what is there.
    pub fn add(
        &mut self,
        stream: impl Read + Send,
        compression: Compression,
        origin: &str,
    ) -> Result<(), Error> {
        let wrong = |fault: String| Error::Stream {
            origin: origin.into(),
            fault,
        };
        let plain = compression
            .reader(BufReader::with_capacity(1 << 16, stream))
            .map_err(|error| wrong(error.to_string()))?;
        let mut reader = LayerReader::new(BufReader::with_capacity(1 << 16, plain));
        let mut layer = Layer::default();
        loop {
            let entry = match reader.next_item() {
                Ok(Some(LayerItem::Entry(entry))) => entry,
                Ok(Some(LayerItem::GlobalHeader { .. })) => continue,
                Ok(None) => break,
                Err(error) => return Err(wrong(error.to_string())),
            };
            layer.count(&entry.path);
            if layer.objects > self.most {
                return Err(wrong(format!(
                    "it has more than {} objects, which no real layer has",
                    self.most
                )));
            }
            let kind = match entry.kind {
                EntryKind::File { size } if !self.keeps => Kind::File {
                    content: Content::Spool {
                        file: Arc::clone(&self.spool),
                        offset: 0,
                        size,
                    },
                    link: None,
                },
                EntryKind::File { .. } => {
                    let offset = self.end;
                    let mut spool = SpoolWriter {
                        file: &self.spool,
                        at: offset,
                    };
                    let size = std::io::copy(&mut reader.content(), &mut spool)
                        .map_err(|error| wrong(format!("entry `{}`: {error}", entry.path)))?;
                    self.end += size;
                    Kind::File {
                        content: Content::Spool {
                            file: Arc::clone(&self.spool),
                            offset,
                            size,
                        },
                        link: None,
                    }
                }
                EntryKind::Directory => Kind::Directory,
                EntryKind::Symlink { target } => Kind::Symlink(target),
                EntryKind::Hardlink { target } => {
                    let node = self.linked(&mut layer, &target).ok_or_else(|| {
                        wrong(format!(
                            "entry `{}` is another name of `{target}`, and that is no file before it",
                            entry.path
                        ))
                    })?;
                    layer.tree.insert(entry.path, node);
                    continue;
                }
                EntryKind::Char { major, minor } => Kind::Char(major, minor),
                EntryKind::Block { major, minor } => Kind::Block(major, minor),
                EntryKind::Fifo => Kind::Fifo,
            };
            let node = Node {
                meta: entry.meta,
                kind,
            };
            let path = entry.path;
            match whiteout(&path) {
                Some(_) if !self.takes_whiteouts => return Err(wrong(whiteout_name(&path))),
                Some(whiteout) => layer.whiteouts.push(whiteout),
                None => layer.tree.insert(path, node),
            }
        }
        // The end of a compressed stream tells whether all of it was right.
        std::io::copy(&mut reader.into_inner(), &mut std::io::sink())
            .map_err(|error| wrong(error.to_string()))?;
        self.merge(layer);
        Ok(())
    }

    /// The file that has this name already, as one that has another name too.
    fn linked(&mut self, layer: &mut Layer, target: &TreePath) -> Option<Node> {
        let node = match layer.tree.get(target) {
            Some(_) => layer.tree.get_mut(target)?,
            // The target may be named through a link, of this stream or of those below.
            None => match place(&layer.tree, target).filter(|path| layer.tree.get(path).is_some()) {
                Some(path) => layer.tree.get_mut(&path)?,
                None => {
                    let path = place(&self.tree, target)?;
                    self.tree.get_mut(&path)?
                }
            },
        };
        let Kind::File { link, .. } = &mut node.kind else {
            return matches!(node.kind, Kind::Symlink(_)).then(|| node.clone());
        };
        if link.is_none() {
            *link = Some(Link(self.links));
            self.links += 1;
        }
        Some(node.clone())
    }

    fn merge(&mut self, layer: Layer) {
        for whiteout in layer.whiteouts {
            match whiteout {
                Whiteout::Content(directory) => {
                    let inside = place(&self.tree, &directory.join(OPAQUE));
                    let directory = inside.and_then(|path| path.parent()).unwrap_or(directory);
                    let below: Vec<TreePath> = self.tree.below(&directory).cloned().collect();
                    for path in below {
                        self.tree.remove(&path);
                    }
                }
                Whiteout::Name(path) => {
                    let path = place(&self.tree, &path).unwrap_or(path);
                    self.tree.remove(&path);
                }
            }
        }
        self.tree.lay_over(&layer.tree);
    }
}

/// What one stream says.
#[derive(Default)]
struct Layer {
    tree: Tree,
    whiteouts: Vec<Whiteout>,
    /// Directories that names lie in.
    parents: BTreeSet<TreePath>,
    /// How many objects it has, those included.
    objects: usize,
}

impl Layer {
    /// Counts an object and the directories that its name implies.
    fn count(&mut self, path: &TreePath) {
        self.objects += 1;
        let mut parent = path.parent();
        while let Some(path) = parent.filter(|path| !path.is_root()) {
            parent = path.parent();
            if !self.parents.insert(path) {
                return;
            }
            self.objects += 1;
        }
    }
}

/// What a layer takes away of those below it.
enum Whiteout {
    /// All that is in a directory.
    Content(TreePath),
    /// One name.
    Name(TreePath),
}

/// Why a name cannot be in a file system that becomes a layer.
pub(crate) fn whiteout_name(path: &TreePath) -> String {
    format!(
        "`{path}` cannot be in an image: engines take names that begin with .wh. for something that is removed"
    )
}

/// Whether engines would take this name for something that is removed.
pub(crate) fn is_whiteout(path: &TreePath) -> bool {
    whiteout(path).is_some()
}

fn whiteout(path: &TreePath) -> Option<Whiteout> {
    let (name, parent) = (path.name()?, path.parent()?);
    if name == OPAQUE {
        return Some(Whiteout::Content(parent));
    }
    let hidden = name.strip_prefix(WHITEOUT)?;
    Some(Whiteout::Name(match hidden {
        b"" | b"." | b".." => path.clone(),
        hidden => parent.join(hidden),
    }))
}

struct SpoolWriter<'a> {
    file: &'a File,
    at: u64,
}

impl Write for SpoolWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = std::os::unix::fs::FileExt::write_at(self.file, bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
