//! A root filesystem that somebody has made, as the tree of a guest: what lies in `/bin`, `/sbin` and `/lib*` comes into
//! `/usr`, as in Debian.

use std::path::Path;

use vcontainer_build::{Kind as Found, rootfs};
use vcontainer_debian::{Kind, Node, Tree};

use crate::error::BuildError;
use crate::rootfs::RootfsError;

/// As many links may lead to something (`MAXSYMLINKS` of Linux).
const MOST_LINKS: usize = 40;

/// Adds what lies in a directory or a tar file to a tree, as far as `keep` wants it; `scratch` is for temporary files.
/// Extended attributes are left out: a guest's root filesystem has none.
///
/// # Errors
/// It cannot be read, or there is no space.
pub(crate) fn add(
    tree: &mut Tree,
    source: &Path,
    scratch: &Path,
    keep: &dyn Fn(&[u8]) -> bool,
) -> Result<(), BuildError> {
    let mut buffer = vec![0; 1 << 17];
    for (place, node) in rootfs(source, scratch)?.iter() {
        let place = place.as_bytes();
        let path = Tree::real(place);
        if place.is_empty() || !keep(&path) {
            continue;
        }
        let kind = match &node.kind {
            Found::Directory => Kind::Directory,
            Found::File { content, .. } => {
                let mut bytes = Vec::with_capacity(usize::try_from(content.size()).unwrap_or_default());
                content
                    .copy(&mut buffer, |piece| {
                        bytes.extend_from_slice(piece);
                        Ok(())
                    })
                    .map_err(RootfsError::Io)?;
                Kind::File(tree.store_bytes(&bytes).map_err(RootfsError::Io)?)
            }
            Found::Symlink(target) => match moved(place, &path, target) {
                Some(target) => Kind::Symlink(target),
                None => continue,
            },
            Found::Char(major, minor) => Kind::Character(*major, *minor),
            Found::Block(major, minor) => Kind::Block(*major, *minor),
            Found::Fifo => Kind::Fifo,
        };
        // What two directories have become one: a link there is beside a file only to lead to it.
        let there = tree.get(&path).map(|node| &node.kind);
        let stays = matches!(
            (there, &kind),
            (Some(Kind::Directory), _) | (Some(_), Kind::Symlink(_))
        );
        if !stays {
            let node = Node {
                mode: node.meta.mode,
                uid: node.meta.uid,
                gid: node.meta.gid,
                mtime: u64::try_from(node.meta.mtime.seconds).unwrap_or_default(),
                kind,
            };
            tree.insert(&path, node);
        }
    }
    tree.link_merged_directories();
    Ok(())
}

/// The target of a link from `place`, which now lies at `path`; `None` if it is the link from `/bin` into `/usr` itself.
fn moved(place: &[u8], path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if place == path {
        return Some(target.to_vec());
    }
    let depth = place.iter().filter(|byte| **byte == b'/').count();
    if depth == 0 && join(b"", target) == path {
        return None;
    }
    let parts = target.split(|byte| *byte == b'/');
    let up = parts.take_while(|part| *part == b"..").count();
    // One that leaves the directory of the root that it was in goes one further up now.
    if !target.starts_with(b"/") && up >= depth {
        return Some([b"../", target].concat());
    }
    Some(target.to_vec())
}

/// The path of `target` as seen from `directory`, without `.` and `..`.
fn join(directory: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if target.starts_with(b"/") { b"" } else { directory };
    for part in start
        .split(|byte| *byte == b'/')
        .chain(target.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// What a path leads to through links, in directories too, and where that lies.
pub(crate) fn resolve<'a>(tree: &'a Tree, path: &[u8]) -> Option<(Vec<u8>, &'a Node)> {
    let mut wanted = join(b"", path);
    for _ in 0..MOST_LINKS {
        let mut link = None;
        for (end, _) in wanted
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .chain([(wanted.len(), &b'/')])
        {
            let (place, rest) = wanted.split_at(end);
            // The links from /bin into /usr are what get does by itself.
            let place = Tree::real(place);
            if let Some(Node {
                kind: Kind::Symlink(target),
                ..
            }) = tree.get(&place)
                && target != &[b"usr/", &place[..]].concat()
            {
                let directory = place
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .and_then(|at| place.get(..at));
                let aim = join(directory.unwrap_or_default(), target);
                link = Some(join(b"", &[&aim[..], rest].concat()));
                break;
            }
        }
        match link {
            Some(next) => wanted = next,
            None => {
                let place = Tree::real(&wanted);
                return tree.get(&place).map(|node| (place, node));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(tree: &Tree, path: &str) -> Option<String> {
        let (_, node) = resolve(tree, path.as_bytes())?;
        match node.kind {
            Kind::File(content) => Some(String::from_utf8(tree.read(content).unwrap()).unwrap()),
            _ => Some("no file".into()),
        }
    }

    #[test]
    fn a_root_that_is_not_merged_is_merged() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for name in ["bin", "usr/bin", "usr/sbin", "lib/modules/6.1", "etc", "usr/lib"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin/box", "usr/bin/env", "usr/bin/both", "etc/conf", "usr/lib/l"] {
            fs::write(root.join(name), name).unwrap();
        }
        for (name, target) in [
            ("bin/sh", "box"),
            ("bin/env", "../usr/bin/env"),
            ("bin/both", "/usr/bin/both"),
            ("bin/conf", "../etc/conf"),
            ("usr/bin/awk", "../../bin/box"),
            ("lib/modules/6.1/l", "../../../usr/lib/l"),
            ("lib/modules/6.1/up", "../6.1"),
            ("sbin", "usr/sbin"),
            ("lib64", "usr/lib"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let mut tree = Tree::new(directory.path()).unwrap();
        add(&mut tree, &root, directory.path(), &|path| {
            path != b"usr/bin/none"
        })
        .unwrap();
        for (path, expected) in [
            ("bin/sh", Some("bin/box")),
            ("usr/bin/sh", Some("bin/box")),
            ("usr/bin/env", Some("usr/bin/env")),
            ("bin/both", Some("usr/bin/both")),
            ("bin/conf", Some("etc/conf")),
            ("usr/bin/awk", Some("bin/box")),
            ("lib/modules/6.1/l", Some("usr/lib/l")),
            ("lib/modules/6.1/up/l", Some("usr/lib/l")),
            ("lib64/l", Some("usr/lib/l")),
            ("usr/sbin", Some("no file")),
            ("loop", None),
            ("none", None),
        ] {
            assert_eq!(text(&tree, path).as_deref(), expected, "{path}");
        }
        let Some(Node {
            kind: Kind::Symlink(target),
            ..
        }) = tree
            .iter()
            .find(|(path, _)| *path == b"bin")
            .map(|(_, node)| node)
        else {
            panic!("/bin is no link")
        };
        assert_eq!(target, b"usr/bin");
        // Nobody's name is in it but root's.
        assert!(tree.iter().all(|(_, node)| (node.uid, node.gid) == (0, 0)));
    }
}
