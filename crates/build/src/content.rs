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
        let real = place(root, path).ok_or_else(missing)?;
        let node = root.get(&real).ok_or_else(missing)?;
        let is_directory = matches!(node.kind, Kind::Directory);
        match (directories, is_directory) {
            (true, false) => return Err(format!("`{path}` is no directory: use the type files")),
            (false, true) => return Err(format!("`{path}` is a directory: use the type directories")),
            _ => {}
        }
        let mut parent = real.parent();
        while let Some(path) = parent {
            if let Some(node) = root.get(&path) {
                tree.insert(path.clone(), node.clone());
            }
            parent = path.parent();
        }
        for path in root.below(&real) {
            if let Some(node) = root.get(path) {
                tree.insert(path.clone(), node.clone());
            }
        }
        tree.insert(real.clone(), node.clone());
    }
    Ok(tree)
}

/// Files of the build machine. They belong to root: whoever builds the image means nothing in it.
pub(crate) fn host(pairs: &[(PathBuf, TreePath)]) -> Result<Tree, Error> {
    let mut scanner = Scanner::default();
    for (source, place) in pairs {
        scanner.add(source, place)?;
    }
    let mut tree = Tree::default();
    for (path, node) in scanner.finish().iter() {
        let mut node = node.clone();
        (node.meta.uid, node.meta.gid) = (0, 0);
        tree.insert(path.clone(), node);
    }
    Ok(tree)
}
