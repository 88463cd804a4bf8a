//! What a file system has that the one below it has not: the content of the layer that turns one into the other.

use std::io;

use vcontainer_image::{Digest, Hasher, Meta, TreePath};

use crate::error::{Error, OnPath as _};
use crate::tree::{Content, Kind, Node, Tree};

/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;

/// What of `new` is not in `base` already: content, kind, mode, owner or extended attributes differ. Times do not count.
/// With every object come the directories that it lies in. Nothing is taken away from the base, but for a directory where `new`
/// has something else.
///
/// Where the base has a link to a directory and `new` a directory (`/bin` before and after Debian's and Yocto's usrmerge),
/// what is in it goes where the link leads: a layer that put a directory there would hide all that is behind the link. A link
/// that leads to something that is no directory has nothing behind it: the directory takes its place.
///
/// # Errors
/// A file cannot be read.
pub fn added(base: &Tree, new: &Tree) -> Result<Tree, Error> {
    let mut layer = Tree::default();
    let mut buffer = vec![0; 1 << 17];
    for (path, node) in new.iter().filter(|(path, _)| !new.is_implied(path)) {
        let Some(place) = walk(base, path, |link| !is_way(base, link)) else {
            return Err(Error::definition(
                path.to_string(),
                "the links of the base image lead in a circle here",
            ));
        };
        let known = base.get(&place);
        let is_link_to_directory = matches!(node.kind, Kind::Directory)
            && known.is_some_and(|known| matches!(known.kind, Kind::Symlink(_)))
            && is_way(base, &place);
        if is_link_to_directory {
            continue;
        }
        let same = match known {
            Some(known) => same(known, node, &mut buffer).at("reading", &host_path(node, path))?,
            None => false,
        };
        if !same {
            insert(&mut layer, base, new, &place, node);
        }
    }
    Ok(layer)
}

/// Where an object can be looked at: on the build machine if it comes from there.
pub(crate) fn host_path(node: &Node, path: &TreePath) -> std::path::PathBuf {
    match &node.kind {
        Kind::File {
            content: Content::Host { path, .. },
            ..
        } => path.clone(),
        _ => path.to_string().into(),
    }
}

/// Puts an object into a layer, with the directories that it lies in as they are: those of the new file system, else those
/// of the base.
fn insert(layer: &mut Tree, base: &Tree, new: &Tree, place: &TreePath, node: &Node) {
    let mut parent = place.parent();
    while let Some(path) = parent {
        if layer.get(&path).is_some() {
            break;
        }
        let directory = |tree: &Tree| {
            tree.get(&path)
                .filter(|node| matches!(node.kind, Kind::Directory))
                .cloned()
        };
        let said = directory(new).filter(|_| !new.is_implied(&path));
        let found = said.or_else(|| directory(base));
        layer.insert(path.clone(), found.unwrap_or_else(Node::directory));
        parent = path.parent();
    }
    layer.insert(place.clone(), node.clone());
}

/// Where a path lies in the base when the links on the way to it are followed (not one at its end, unless it leads to a
/// directory and the caller brings one: that is decided there). `None` when links lead in a circle.
pub(crate) fn place(base: &Tree, path: &TreePath) -> Option<TreePath> {
    walk(base, path, |_| false)
}

/// Whether a link leads to a directory, or to nothing yet.
fn is_way(base: &Tree, link: &TreePath) -> bool {
    let inside = place(base, &link.join(b"any"));
    let end = inside.and_then(|path| path.parent());
    end.and_then(|path| base.get(&path))
        .is_none_or(|node| matches!(node.kind, Kind::Directory))
}

/// As [`place`]; some links are taken for directories.
fn walk(base: &Tree, path: &TreePath, is_directory: impl Fn(&TreePath) -> bool) -> Option<TreePath> {
    let mut rest: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    rest.reverse();
    let mut at = TreePath::root();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at = at.parent().unwrap_or_else(TreePath::root);
                continue;
            }
            _ => {}
        }
        let next = at.join(&name);
        match base.get(&next).map(|node| &node.kind) {
            Some(Kind::Symlink(target)) if !rest.is_empty() && !is_directory(&next) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.first() == Some(&b'/') {
                    at = TreePath::root();
                }
                rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
            }
            _ => at = next,
        }
    }
    Some(at)
}

fn same(known: &Node, node: &Node, buffer: &mut [u8]) -> io::Result<bool> {
    let ours = |meta: &Meta| (meta.mode, meta.uid, meta.gid, meta.xattrs.clone());
    // Nobody can give a link another mode; archives write all kinds of modes there.
    let is_link = matches!(node.kind, Kind::Symlink(_));
    let (mut one, mut other) = (ours(&known.meta), ours(&node.meta));
    if is_link {
        (one.0, other.0) = (0, 0);
    }
    if one != other {
        return Ok(false);
    }
    Ok(match (&known.kind, &node.kind) {
        (Kind::Directory, Kind::Directory) | (Kind::Fifo, Kind::Fifo) => true,
        (Kind::Symlink(one), Kind::Symlink(other)) => one == other,
        (Kind::Char(a, b), Kind::Char(c, d)) | (Kind::Block(a, b), Kind::Block(c, d)) => (a, b) == (c, d),
        (Kind::File { content: one, .. }, Kind::File { content: other, .. }) => {
            one.size() == other.size() && digest(one, buffer)? == digest(other, buffer)?
        }
        _ => false,
    })
}

fn digest(content: &Content, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    content.copy(buffer, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}
