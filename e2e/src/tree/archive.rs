//! Trees out of tar archives, for who may not unpack owners and devices; and what a container sees of layers, worked out
//! from the archives alone.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use vcontainer_image::{EntryKind, LayerEntry, LayerItem, LayerReader};

use super::{Entry, Tree, hex};

/// Reads a tar archive, times of directories too. The root is the entry `.` if the archive has one.
///
/// # Errors
/// The archive is damaged, or an entry is a hard link to nothing.
pub fn read_archive(archive: impl Read) -> Result<Tree> {
    read_archive_with(archive, |_, _| ())
}

/// As [`read_archive`]; calls `file` with the name and content of each file.
///
/// # Errors
/// As [`read_archive`].
pub fn read_archive_with(archive: impl Read, mut file: impl FnMut(&str, &[u8])) -> Result<Tree> {
    let mut reader = LayerReader::new(BufReader::with_capacity(1 << 17, archive));
    let mut tree = Tree::new();
    while let Some(item) = reader.next_item().context("reading an archive")? {
        let LayerItem::Entry(entry) = item else { continue };
        let name = name_of(entry.path.as_bytes());
        let entry = match &entry.kind {
            EntryKind::File { size } => {
                let mut content = Vec::new();
                reader.content().read_to_end(&mut content)?;
                file(&name, &content);
                of(&entry, format!("file {size} {}", hex(&Sha256::digest(&content))))
            }
            EntryKind::Hardlink { target } => {
                let target = name_of(target.as_bytes());
                let first = tree
                    .get(&target)
                    .with_context(|| format!("{name} is a hard link to {target}, which isn't there"))?;
                Entry {
                    kind: format!("hard link to {target}"),
                    ..first.clone()
                }
            }
            EntryKind::Directory => of(&entry, "directory".into()),
            EntryKind::Symlink { target } => of(&entry, format!("symlink {}", target.escape_ascii())),
            EntryKind::Char { major, minor } => of(&entry, format!("char {major}:{minor}")),
            EntryKind::Block { major, minor } => of(&entry, format!("block {major}:{minor}")),
            EntryKind::Fifo => of(&entry, "fifo".into()),
        };
        tree.insert(name, entry);
    }
    sort_links(&mut tree);
    Ok(tree)
}

/// Makes the first name of each file that has several the one that a walk through the tree meets first: an archive has
/// them in any order.
fn sort_links(tree: &mut Tree) {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, entry) in &*tree {
        if let Some(first) = entry.kind.strip_prefix("hard link to ") {
            names.entry(first.into()).or_default().push(name.clone());
        }
    }
    for (written, mut others) in names {
        others.push(written.clone());
        others.sort_by(|one, other| one.split('/').cmp(other.split('/')));
        let kind = tree[&written].kind.clone();
        for name in &others {
            if let Some(entry) = tree.get_mut(name) {
                entry.kind = if *name == others[0] {
                    kind.clone()
                } else {
                    format!("hard link to {}", others[0])
                };
            }
        }
    }
}

fn name_of(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".into();
    }
    path.escape_ascii().to_string()
}

fn of(entry: &LayerEntry, kind: String) -> Entry {
    let meta = &entry.meta;
    Entry {
        kind,
        mode: meta.mode,
        owner: (meta.uid, meta.gid),
        mtime: Some((meta.mtime.seconds, meta.mtime.nanoseconds.into())),
        xattrs: meta
            .xattrs
            .iter()
            .map(|xattr| {
                (
                    String::from_utf8_lossy(&xattr.name).into_owned(),
                    hex(&xattr.value),
                )
            })
            .collect(),
    }
}

/// The part of a tree that lies in one of its directories; that directory becomes its root.
pub fn below(tree: &Tree, directory: &str) -> Tree {
    let prefix = format!("{directory}/");
    let mut part: Tree = tree
        .range(prefix.clone()..)
        .take_while(|(name, _)| name.starts_with(&prefix))
        .map(|(name, entry)| {
            let mut entry = entry.clone();
            if let Some(target) = entry.kind.strip_prefix(&format!("hard link to {prefix}")) {
                entry.kind = format!("hard link to {target}");
            }
            (name[prefix.len()..].to_owned(), entry)
        })
        .collect();
    if let Some(root) = tree.get(directory) {
        part.insert(".".into(), root.clone());
    }
    part
}

/// What a container sees of an image with these (uncompressed) layers, by the rules of the OCI image specification. An
/// implied directory looks as it does in the layers below, else it is 0755 of root's from 1970.
///
/// # Errors
/// A layer is damaged.
pub fn of_layers<L: AsRef<[u8]>>(layers: &[L]) -> Result<Tree> {
    let mut merged = Tree::new();
    for layer in layers {
        let layer = read_archive(layer.as_ref())?;
        let names: Vec<&String> = layer.keys().filter(|name| *name != ".").collect();
        // What is hidden is hidden below, whatever comes first in the archive.
        for name in &names {
            let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
            let Some(hidden) = last.strip_prefix(".wh.") else {
                continue;
            };
            let parent = through_links(&merged, parent);
            match hidden {
                ".wh..opq" => hide(&mut merged, &parent, false),
                _ => hide(&mut merged, &join(&parent, hidden), true),
            }
            add_parents(&mut merged, &parent);
        }
        for name in names {
            let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
            if last.starts_with(".wh.") {
                continue;
            }
            let entry = layer[name].clone();
            let parent = through_links(&merged, parent);
            add_parents(&mut merged, &parent);
            let name = join(&parent, last);
            let is_directory = entry.kind == "directory";
            if !(is_directory && merged.get(&name).is_some_and(|old| old.kind == "directory")) {
                hide(&mut merged, &name, true);
            }
            merged.insert(name, entry);
        }
    }
    Ok(merged)
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        return name.into();
    }
    format!("{parent}/{name}")
}

/// Where a directory really lies, when one of its parents is a link with a relative target.
fn through_links(tree: &Tree, directory: &str) -> String {
    let mut real = String::new();
    for part in directory.split('/').filter(|part| !part.is_empty()) {
        let next = join(&real, part);
        let target = tree
            .get(&next)
            .and_then(|entry| entry.kind.strip_prefix("symlink "));
        real = target.map_or(next, |target| join(&real, target));
    }
    real
}

fn add_parents(tree: &mut Tree, directory: &str) {
    let ends = directory.match_indices('/').map(|(at, _)| at);
    for end in ends.chain([directory.len()]).filter(|end| *end > 0) {
        tree.entry(directory[..end].into()).or_insert_with(|| Entry {
            kind: "directory".into(),
            mode: 0o755,
            owner: (0, 0),
            mtime: Some((0, 0)),
            xattrs: Default::default(),
        });
    }
}

/// Removes what lies below a name, and that name `itself`.
fn hide(tree: &mut Tree, name: &str, itself: bool) {
    let prefix = format!("{name}/");
    tree.retain(|other, _| !(other.starts_with(&prefix) || itself && other == name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Format, Meta, Tarball};

    #[test]
    fn layers_hide_and_replace() {
        let base = Tarball::new(Format::Pax)
            .directory("a/", Meta::mode(0o700))
            .file("a/one", Meta::mode(0o644), "1")
            .hardlink("a/two", "a/one", Meta::mode(0o644))
            .directory("b/", Meta::mode(0o755))
            .file("b/x", Meta::mode(0o644), "x")
            .symlink("link", "b")
            .finish(0);
        let top = Tarball::new(Format::Pax)
            .file("a/new", Meta::mode(0o600), "new")
            .whiteout("a/two")
            .file("b", Meta::mode(0o644), "no directory any more")
            .file("c/d", Meta::mode(0o644), "")
            .finish(0);
        let tree = of_layers(&[base, top]).unwrap();
        let names: Vec<&str> = tree.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "a/new", "a/one", "b", "c", "c/d", "link"]);
        assert_eq!((tree["a"].mode, tree["c"].mode), (0o700, 0o755));
        assert!(tree["b"].kind.starts_with("file 21 "));
    }

    #[test]
    fn a_part_of_an_archive_stands_alone() {
        let archive = Tarball::new(Format::Pax)
            .directory("x/y/", Meta::mode(0o750))
            .file("x/y/two", Meta::mode(0o644).xattr("user.note", b"\x01"), "1")
            .hardlink("x/y/one", "x/y/two", Meta::mode(0o644))
            .finish(0);
        let part = below(&read_archive(archive.as_slice()).unwrap(), "x/y");
        assert_eq!(part["."].mode, 0o750);
        assert_eq!(part["one"].xattrs["user.note"], "01");
        assert_eq!(part["two"].kind, "hard link to one");
        assert_eq!(part["two"].xattrs, part["one"].xattrs);
    }
}
