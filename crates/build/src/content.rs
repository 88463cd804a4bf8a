//! What is in layers that are not packages: parts of a root filesystem, files of the build machine.

use std::path::PathBuf;

use vcontainer_image::TreePath;

use crate::diff::place;
use crate::error::Error;
use crate::scan::Scanner;
use crate::tree::{Kind, Tree};

/// These paths of a root filesystem, with the directories that they lie in.
pub(crate) fn selected(root: &Tree, paths: &[TreePath], directories: bool) -> Result<Tree, String> {
    let mut tree = Tree::default();
    for path in paths {
        let missing = || format!("`{path}` is not in the root filesystem");
        let mut real = place(root, path).ok_or_else(missing)?;
        if directories {
            // A link to a directory stands for it.
            while let Some(Kind::Symlink(_)) = root.get(&real).map(|node| &node.kind) {
                let inside = place(root, &real.join(b"any")).and_then(|path| path.parent());
                insert_with_parents(&mut tree, root, &real);
                match inside.filter(|inside| *inside != real) {
                    Some(inside) => real = inside,
                    None => return Err(format!("`{path}` is a link that leads nowhere")),
                }
            }
        }
        let node = root.get(&real).ok_or_else(missing)?;
        let is_directory = matches!(node.kind, Kind::Directory);
        match (directories, is_directory) {
            (true, false) => return Err(format!("`{path}` is no directory: use the type files")),
            (false, true) => return Err(format!("`{path}` is a directory: use the type directories")),
            _ => {}
        }
        // Links on the way: without them the path would lead nowhere.
        for link in links(root, path) {
            insert_with_parents(&mut tree, root, &link);
        }
        insert_with_parents(&mut tree, root, &real);
        for path in root.below(&real) {
            if let Some(node) = root.get(path) {
                tree.insert(path.clone(), node.clone());
            }
        }
    }
    Ok(tree)
}

fn insert_with_parents(tree: &mut Tree, root: &Tree, path: &TreePath) {
    let mut next = Some(path.clone());
    while let Some(path) = next {
        if let Some(node) = root.get(&path) {
            tree.insert(path.clone(), node.clone());
        }
        next = path.parent();
    }
}

/// The links that a path leads through, not itself.
fn links(root: &Tree, path: &TreePath) -> Vec<TreePath> {
    let mut found = Vec::new();
    let mut parent = path.parent();
    while let Some(path) = parent {
        if let Some(real) = place(root, &path)
            && matches!(root.get(&real).map(|node| &node.kind), Some(Kind::Symlink(_)))
        {
            found.push(real);
        }
        parent = path.parent();
    }
    found
}

/// Files of the build machine. They belong to root: whoever builds the image means nothing in it.
pub(crate) fn host(pairs: &[(PathBuf, TreePath)]) -> Result<Tree, Error> {
    let mut scanner = Scanner::default();
    for (source, place) in pairs {
        scanner.add(source, place)?;
    }
    let mut tree = scanner.finish();
    for node in tree.nodes_mut() {
        (node.meta.uid, node.meta.gid) = (0, 0);
    }
    Ok(tree)
}
