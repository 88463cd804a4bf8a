//! The names of one layer: what it puts where, what it hides, without any content.
//!
//! A layer may have a million names, and several layers are in memory at a time. So nodes are small and refer to each
//! other by number, names lie one after another in one buffer, and one hash table finds the children of all
//! directories.

use std::hash::{BuildHasher, RandomState};

use vcontainer_image::{Meta, TreePath};

/// The number of a node in its tree.
pub(crate) type NodeId = u32;

/// The root of every tree.
pub(crate) const ROOT: NodeId = 0;

/// No node.
const NONE: NodeId = NodeId::MAX;

/// How many symlinks one path may lead through, as in Linux (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Directory,
    Symlink,
    /// Any other object.
    Other,
    /// Nothing: the layer hides what lower layers have under this name.
    Whiteout,
}

#[derive(Debug)]
struct Node {
    parent: NodeId,
    next_sibling: NodeId,
    next_in_bucket: NodeId,
    /// Where the name begins in `LayerTree::bytes`.
    name_start: u32,
    /// Directory: index into `LayerTree::directories`. Symlink: where its target begins in `LayerTree::bytes`, after
    /// two bytes of length.
    payload: u32,
    name_length: u8,
    kind: NodeKind,
}

#[derive(Debug)]
struct Directory {
    first_child: NodeId,
    last_child: NodeId,
    /// `None`: the layer only implies this directory by something in it, and its metadata are not settled.
    meta: Option<Meta>,
    /// Whether an entry of the layer stands for this directory itself.
    explicit: bool,
    opaque: bool,
}

/// The names, kinds, directory metadata, symlink targets, whiteouts and opaque marks of **one** layer.
#[derive(Debug)]
pub struct LayerTree {
    nodes: Vec<Node>,
    directories: Vec<Directory>,
    /// Names and symlink targets.
    bytes: Vec<u8>,
    /// Heads of the chains of nodes with the same hash of parent and name. A power of two.
    buckets: Vec<NodeId>,
    hasher: RandomState,
}

/// Why something has no place in a layer. The texts continue the sentence "entry `x` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// The same name or, through a symlink, the same place twice.
    #[error("is in the layer twice, or in a place that another entry has taken through a symlink")]
    Twice,
    /// A file in the place of a directory that earlier entries lie in.
    #[error("is no directory, but earlier entries of the layer lie in it")]
    NotEmpty,
    /// A whiteout for something that the same layer has.
    #[error("is a whiteout for something that the same layer put there before")]
    WhiteoutOfEntry,
    /// A parent that is a file or a whiteout.
    #[error("lies in `{0}`, which is no directory in this layer")]
    ParentNotDirectory(TreePath),
    /// A parent that is a symlink to nothing.
    #[error("lies behind the symlink `{0}`, which leads to nothing in this layer")]
    Dangling(TreePath),
    /// A parent that is a symlink to itself.
    #[error("lies behind the symlink `{0}`, which leads in a circle")]
    Loop(TreePath),
    /// A hard link to what the layer does not have.
    #[error("is a hard link to `{0}`, which the layer has not put there before")]
    NoLinkTarget(TreePath),
    /// A hard link to a directory.
    #[error("is a hard link to `{0}`, which is a directory")]
    LinkToDirectory(TreePath),
}

/// What is put into a tree.
#[derive(Debug)]
pub(crate) enum NewNode<'a> {
    Directory(&'a Meta),
    Symlink(&'a [u8]),
    Other,
    Whiteout,
}

/// A directory that a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub directory: NodeId,
    /// Whether the way led through a symlink, so that the physical path is another one.
    pub through_symlink: bool,
}

impl Default for LayerTree {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerTree {
    /// An empty layer: nothing but its root, which no layer describes.
    #[must_use]
    pub fn new() -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            directories: Vec::new(),
            bytes: Vec::new(),
            buckets: vec![NONE; 64],
            hasher: RandomState::new(),
        };
        let payload = tree.new_directory(None);
        tree.nodes.push(Node {
            parent: ROOT,
            next_sibling: NONE,
            next_in_bucket: NONE,
            name_start: 0,
            payload,
            name_length: 0,
            kind: NodeKind::Directory,
        });
        tree
    }

    /// How many names the tree has, the root and implied directories included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the layer has nothing and hides nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && !self.is_opaque(ROOT)
    }

    /// Bytes of all names and symlink targets.
    pub(crate) fn name_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn kind(&self, node: NodeId) -> NodeKind {
        self.nodes[node as usize].kind
    }

    pub(crate) fn name(&self, node: NodeId) -> &[u8] {
        let node = &self.nodes[node as usize];
        let start = node.name_start as usize;
        &self.bytes[start..start + usize::from(node.name_length)]
    }

    /// The physical path.
    pub(crate) fn path(&self, mut node: NodeId) -> TreePath {
        let mut names = Vec::new();
        while node != ROOT {
            names.push(self.name(node));
            node = self.nodes[node as usize].parent;
        }
        names.reverse();
        // In one go: joined one by one, a deep path would take the square of its length, for every entry in it.
        TreePath::of_components(&names)
    }

    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut at = self.buckets[self.bucket(directory, name)];
        while at != NONE {
            let node = &self.nodes[at as usize];
            if node.parent == directory && self.name(at) == name {
                return Some(at);
            }
            at = node.next_in_bucket;
        }
        None
    }

    /// The children of a directory, in the order in which they came; none of anything else.
    pub(crate) fn children(&self, directory: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let first = self
            .directory(directory)
            .map_or(NONE, |directory| directory.first_child);
        let some = |node| (node != NONE).then_some(node);
        std::iter::successors(some(first), move |node| {
            some(self.nodes[*node as usize].next_sibling)
        })
    }

    /// The metadata of a directory, if the layer or what it was settled on says something about them.
    pub(crate) fn directory_meta(&self, directory: NodeId) -> Option<&Meta> {
        self.directory(directory)?.meta.as_ref()
    }

    pub(crate) fn is_opaque(&self, directory: NodeId) -> bool {
        self.directory(directory)
            .is_some_and(|directory| directory.opaque)
    }

    /// Marks a directory as hiding everything below it; `false` if it was marked before.
    pub(crate) fn set_opaque(&mut self, directory: NodeId) -> bool {
        let index = self.nodes[directory as usize].payload as usize;
        !std::mem::replace(&mut self.directories[index].opaque, true)
    }

    /// Tells the metadata of a directory that the layer implies.
    pub(crate) fn set_implied_meta(&mut self, directory: NodeId, meta: Meta) {
        let index = self.nodes[directory as usize].payload as usize;
        self.directories[index].meta = Some(meta);
    }

    /// Finds the directory `path` the way the kernel does, through symlinks of this layer and never out of it, and
    /// makes the directories that are missing. Those are appended to `made`, outermost first.
    ///
    /// A symlink of a lower layer is not seen: a directory of this layer then hides it, as in the engines.
    pub(crate) fn resolve(&mut self, path: &TreePath, made: &mut Vec<NodeId>) -> Result<Resolved, TreeFault> {
        let mut at = ROOT;
        let mut budget = MAX_SYMLINKS;
        for name in path.components() {
            at = match self.child(at, name) {
                Some(child) => self.enter(child, &mut budget)?,
                None => {
                    let child = self.push(at, name, NodeKind::Directory);
                    self.nodes[child as usize].payload = self.new_directory(None);
                    made.push(child);
                    child
                }
            };
        }
        Ok(Resolved {
            directory: at,
            through_symlink: budget != MAX_SYMLINKS,
        })
    }

    /// The node itself, or the directory that it leads to as a symlink.
    fn enter(&self, node: NodeId, budget: &mut u32) -> Result<NodeId, TreeFault> {
        match self.kind(node) {
            NodeKind::Directory => Ok(node),
            NodeKind::Symlink => self.follow(node, budget),
            NodeKind::Other | NodeKind::Whiteout => Err(TreeFault::ParentNotDirectory(self.path(node))),
        }
    }

    fn follow(&self, link: NodeId, budget: &mut u32) -> Result<NodeId, TreeFault> {
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| TreeFault::Loop(self.path(link)))?;
        let target = self.symlink_target(link);
        let parent = |node: NodeId| self.nodes[node as usize].parent;
        let mut at = if target.starts_with(b"/") {
            ROOT
        } else {
            parent(link)
        };
        for name in target.split(|byte| *byte == b'/') {
            at = match name {
                b"" | b"." => at,
                b".." => parent(at),
                name => match self.child(at, name) {
                    Some(child) => self.enter(child, budget)?,
                    None => return Err(TreeFault::Dangling(self.path(link))),
                },
            };
        }
        Ok(at)
    }

    fn symlink_target(&self, link: NodeId) -> &[u8] {
        let start = self.nodes[link as usize].payload as usize;
        let length = usize::from(u16::from_be_bytes([self.bytes[start], self.bytes[start + 1]]));
        &self.bytes[start + 2..start + 2 + length]
    }

    /// Puts an object into a directory.
    pub(crate) fn place(
        &mut self,
        directory: NodeId,
        name: &[u8],
        new: &NewNode<'_>,
    ) -> Result<NodeId, TreeFault> {
        let kind = match new {
            NewNode::Directory(_) => NodeKind::Directory,
            NewNode::Symlink(_) => NodeKind::Symlink,
            NewNode::Other => NodeKind::Other,
            NewNode::Whiteout => NodeKind::Whiteout,
        };
        let node = match self.child(directory, name) {
            None => {
                let node = self.push(directory, name, kind);
                self.nodes[node as usize].payload = self.payload(new);
                node
            }
            Some(node) => {
                match (self.kind(node), kind) {
                    (NodeKind::Whiteout, NodeKind::Whiteout) => return Err(TreeFault::Twice),
                    (NodeKind::Whiteout, _) => {
                        self.nodes[node as usize].payload = self.payload(new);
                        self.nodes[node as usize].kind = kind;
                    }
                    (_, NodeKind::Whiteout) => return Err(TreeFault::WhiteoutOfEntry),
                    (NodeKind::Directory, kind) => {
                        let index = self.nodes[node as usize].payload as usize;
                        if self.directories[index].explicit {
                            return Err(TreeFault::Twice);
                        }
                        if kind != NodeKind::Directory {
                            return Err(TreeFault::NotEmpty);
                        }
                    }
                    _ => return Err(TreeFault::Twice),
                }
                node
            }
        };
        if let NewNode::Directory(meta) = new {
            let index = self.nodes[node as usize].payload as usize;
            self.directories[index].meta = Some((*meta).clone());
            self.directories[index].explicit = true;
        }
        Ok(node)
    }

    /// Puts another name for an earlier object into a directory. Returns the physical path of that object.
    pub(crate) fn place_hardlink(
        &mut self,
        directory: NodeId,
        name: &[u8],
        target: &TreePath,
    ) -> Result<TreePath, TreeFault> {
        let existing = self.lookup_no_follow(target)?;
        let absent = || TreeFault::NoLinkTarget(target.clone());
        let existing = existing.ok_or_else(absent)?;
        match self.kind(existing) {
            NodeKind::Whiteout => return Err(absent()),
            NodeKind::Directory => return Err(TreeFault::LinkToDirectory(target.clone())),
            NodeKind::Other => self.place(directory, name, &NewNode::Other)?,
            NodeKind::Symlink => {
                let link_target = self.symlink_target(existing).to_vec();
                self.place(directory, name, &NewNode::Symlink(&link_target))?
            }
        };
        Ok(self.path(existing))
    }

    /// What lies at `path`; its parents may be symlinks, it itself is not followed.
    fn lookup_no_follow(&self, path: &TreePath) -> Result<Option<NodeId>, TreeFault> {
        let mut at = ROOT;
        let mut budget = MAX_SYMLINKS;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let Some(child) = self.child(at, name) else {
                return Ok(None);
            };
            at = if names.peek().is_some() {
                self.enter(child, &mut budget)?
            } else {
                child
            };
        }
        Ok(Some(at))
    }

    fn payload(&mut self, new: &NewNode<'_>) -> u32 {
        match new {
            NewNode::Directory(_) => self.new_directory(None),
            NewNode::Symlink(target) => {
                // The layer reader refuses targets above 4095 bytes; a directory has none either.
                let length = u16::try_from(target.len()).unwrap_or(u16::MAX);
                let start = self.bytes.len() as u32;
                self.bytes.extend_from_slice(&length.to_be_bytes());
                self.bytes.extend_from_slice(&target[..usize::from(length)]);
                start
            }
            NewNode::Other | NewNode::Whiteout => 0,
        }
    }

    fn new_directory(&mut self, meta: Option<Meta>) -> u32 {
        let index = self.directories.len() as u32;
        self.directories.push(Directory {
            first_child: NONE,
            last_child: NONE,
            meta,
            explicit: false,
            opaque: false,
        });
        index
    }

    fn directory(&self, node: NodeId) -> Option<&Directory> {
        let node = &self.nodes[node as usize];
        (node.kind == NodeKind::Directory).then(|| &self.directories[node.payload as usize])
    }

    /// Appends a node to its directory and to the hash table; the payload is still to come.
    fn push(&mut self, directory: NodeId, name: &[u8], kind: NodeKind) -> NodeId {
        if self.nodes.len() >= self.buckets.len() {
            self.grow();
        }
        let id = self.nodes.len() as NodeId;
        let bucket = self.bucket(directory, name);
        let next_in_bucket = std::mem::replace(&mut self.buckets[bucket], id);
        let name_start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.nodes.push(Node {
            parent: directory,
            next_sibling: NONE,
            next_in_bucket,
            name_start,
            payload: 0,
            // The layer reader refuses names above 255 bytes; a directory has none either.
            name_length: u8::try_from(name.len()).unwrap_or(u8::MAX),
            kind,
        });
        let parent = &mut self.directories[self.nodes[directory as usize].payload as usize];
        match std::mem::replace(&mut parent.last_child, id) {
            NONE => parent.first_child = id,
            previous => self.nodes[previous as usize].next_sibling = id,
        }
        id
    }

    fn grow(&mut self) {
        self.buckets = vec![NONE; self.buckets.len() * 2];
        for id in 1..self.nodes.len() as NodeId {
            let bucket = self.bucket(self.nodes[id as usize].parent, self.name(id));
            let head = std::mem::replace(&mut self.buckets[bucket], id);
            self.nodes[id as usize].next_in_bucket = head;
        }
    }

    /// Names are foreign: an unkeyed hash would let a layer choose names that fall into one bucket.
    fn bucket(&self, directory: NodeId, name: &[u8]) -> usize {
        self.hasher.hash_one((directory, name)) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::clean(text.as_bytes()).unwrap()
    }

    fn put(tree: &mut LayerTree, at: &str, new: &NewNode<'_>) -> Result<TreePath, TreeFault> {
        let at = path(at);
        let parent = tree.resolve(&at.parent().unwrap(), &mut Vec::new())?;
        let node = tree.place(parent.directory, at.name().unwrap(), new)?;
        Ok(tree.path(node))
    }

    #[test]
    fn parents_lead_through_symlinks_of_the_layer_and_stay_inside() {
        let mut tree = LayerTree::new();
        put(&mut tree, "usr/lib/x", &NewNode::Other).unwrap();
        put(&mut tree, "lib", &NewNode::Symlink(b"usr/lib")).unwrap();
        put(&mut tree, "deep/up", &NewNode::Symlink(b"../../../../usr")).unwrap();
        put(&mut tree, "abs", &NewNode::Symlink(b"/deep/up/./lib")).unwrap();
        assert_eq!(put(&mut tree, "lib/a", &NewNode::Other), Ok(path("usr/lib/a")));
        assert_eq!(put(&mut tree, "deep/up/b", &NewNode::Other), Ok(path("usr/b")));
        assert_eq!(
            put(&mut tree, "abs/new/c", &NewNode::Other),
            Ok(path("usr/lib/new/c"))
        );
        assert_eq!(put(&mut tree, "abs/x", &NewNode::Other), Err(TreeFault::Twice));
        put(&mut tree, "dangling", &NewNode::Symlink(b"nowhere")).unwrap();
        assert_eq!(
            put(&mut tree, "dangling/x", &NewNode::Other),
            Err(TreeFault::Dangling(path("dangling")))
        );
        put(&mut tree, "one", &NewNode::Symlink(b"two")).unwrap();
        put(&mut tree, "two", &NewNode::Symlink(b"one")).unwrap();
        assert!(matches!(
            put(&mut tree, "one/x", &NewNode::Other),
            Err(TreeFault::Loop(_))
        ));
        assert_eq!(
            put(&mut tree, "usr/lib/x/y", &NewNode::Other),
            Err(TreeFault::ParentNotDirectory(path("usr/lib/x")))
        );
    }

    #[test]
    fn the_same_place_is_taken_once() {
        let meta = Meta::default();
        let mut tree = LayerTree::new();
        put(&mut tree, "d/f", &NewNode::Other).unwrap();
        put(&mut tree, "d", &NewNode::Directory(&meta)).unwrap();
        assert_eq!(
            put(&mut tree, "d", &NewNode::Directory(&meta)),
            Err(TreeFault::Twice)
        );
        assert_eq!(
            put(&mut tree, "d", &NewNode::Whiteout),
            Err(TreeFault::WhiteoutOfEntry)
        );
        assert_eq!(put(&mut tree, "d/f", &NewNode::Other), Err(TreeFault::Twice));
        put(&mut tree, "e/f", &NewNode::Other).unwrap();
        assert_eq!(put(&mut tree, "e", &NewNode::Other), Err(TreeFault::NotEmpty));
        put(&mut tree, "w", &NewNode::Whiteout).unwrap();
        assert_eq!(put(&mut tree, "w", &NewNode::Whiteout), Err(TreeFault::Twice));
        assert!(matches!(
            put(&mut tree, "w/x", &NewNode::Other),
            Err(TreeFault::ParentNotDirectory(_))
        ));
        put(&mut tree, "w", &NewNode::Directory(&meta)).unwrap();
        put(&mut tree, "w/x", &NewNode::Other).unwrap();
    }

    #[test]
    fn hard_links_need_an_earlier_object() {
        let mut tree = LayerTree::new();
        put(&mut tree, "usr/f", &NewNode::Other).unwrap();
        put(&mut tree, "link", &NewNode::Symlink(b"usr")).unwrap();
        put(&mut tree, "gone", &NewNode::Whiteout).unwrap();
        let mut link = |name: &str, to: &str| tree.place_hardlink(ROOT, name.as_bytes(), &path(to));
        assert_eq!(link("a", "link/f"), Ok(path("usr/f")));
        assert_eq!(link("b", "link"), Ok(path("link")));
        assert_eq!(link("c", "usr"), Err(TreeFault::LinkToDirectory(path("usr"))));
        assert_eq!(link("c", "gone"), Err(TreeFault::NoLinkTarget(path("gone"))));
        assert_eq!(link("c", "c"), Err(TreeFault::NoLinkTarget(path("c"))));
    }

    #[test]
    fn many_names_are_found_again() {
        let mut tree = LayerTree::new();
        for number in 0..10_000 {
            put(&mut tree, &format!("d{}/f{number}", number % 10), &NewNode::Other).unwrap();
        }
        assert_eq!(tree.len(), 10_011);
        let third = tree.child(ROOT, b"d3").unwrap();
        assert_eq!(tree.children(third).count(), 1000);
        assert!(tree.child(third, b"f9993").is_some());
        assert!(tree.child(third, b"f9994").is_none());
    }
}
