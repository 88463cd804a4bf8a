//! Unpacking packages into a tree, without running anything of theirs.

use std::collections::HashMap;
use std::path::Path;

use crate::Error;
use crate::apt::Package;
use crate::process::DPKG_DEB;
use crate::tar::{Entry, EntryKind, Reader, TarError};
use crate::tree::{Kind, Node, Tree};

/// Unpacks `packages` into one tree, in their order; `keep` says which paths are wanted (the others cost no space).
/// The content lies in a nameless file in `directory`. Configuration files are as the packages have them.
///
/// # Errors
/// A package cannot be read, two packages have the same file, or `directory` is full.
pub fn unpack(packages: &[Package], directory: &Path, keep: &dyn Fn(&[u8]) -> bool) -> Result<Tree, Error> {
    let mut tree = Tree::new(directory).map_err(Error::io("make a temporary file in", directory))?;
    let mut owners = HashMap::new();
    for package in packages {
        unpack_one(package, &mut tree, &mut owners, keep)?;
    }
    tree.link_merged_directories();
    Ok(tree)
}

fn unpack_one<'a>(
    package: &'a Package,
    tree: &mut Tree,
    owners: &mut HashMap<Vec<u8>, &'a str>,
    keep: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    let read = DPKG_DEB.stream(
        DPKG_DEB.command().arg("--fsys-tarfile").arg(&package.file),
        || format!("unpacking {}", package.file.display()),
        |stdout| read_entries(Reader::new(stdout), package, tree, owners, keep),
    )?;
    read.map_err(|fault| match fault {
        Fault::Archive(source) => Error::Unpack {
            path: package.file.clone(),
            source,
        },
        Fault::Conflict(path, first) => Error::Conflict {
            path: path.escape_ascii().to_string(),
            first: first.to_owned(),
            second: package.name.clone(),
        },
    })
}

enum Fault<'a> {
    Archive(TarError),
    Conflict(Vec<u8>, &'a str),
}

fn read_entries<'a>(
    mut reader: Reader<impl std::io::Read>,
    package: &'a Package,
    tree: &mut Tree,
    owners: &mut HashMap<Vec<u8>, &'a str>,
    keep: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Fault<'a>> {
    while let Some(entry) = reader.next_entry().map_err(Fault::Archive)? {
        let path = Tree::real(&entry.path);
        let is_merged_link = path != entry.path && !entry.path.contains(&b'/');
        // Links for merged directories are made at the end, for all packages alike.
        if path.is_empty() || (is_merged_link && entry.kind != EntryKind::Directory) || !keep(&path) {
            continue;
        }
        let there = tree.get(&path).map(|node| matches!(node.kind, Kind::Directory));
        match (there, &entry.kind) {
            // The first package's mode and owner of a directory count, unless it is only implied by now.
            (Some(true), EntryKind::Directory) if owners.contains_key(&path) => continue,
            (Some(true), EntryKind::Directory) | (None, _) => {}
            (Some(_), _) => {
                let first = owners.get(&path).copied().unwrap_or("(none)");
                return Err(Fault::Conflict(path, first));
            }
        }
        let node = node(&mut reader, entry, tree).map_err(Fault::Archive)?;
        owners.insert(path.clone(), &package.name);
        tree.insert(&path, node);
    }
    Ok(())
}

fn node(reader: &mut Reader<impl std::io::Read>, entry: Entry, tree: &mut Tree) -> Result<Node, TarError> {
    let kind = match entry.kind {
        EntryKind::File(_) => Kind::File(tree.store(
            |buffer| reader.content(buffer).map_err(TarError::Read),
            TarError::Keep,
        )?),
        // Another name of a file that came before: the same content.
        EntryKind::HardLink(target) => match tree.get(&target) {
            Some(node) if matches!(node.kind, Kind::File(_)) => return Ok(node.clone()),
            _ => {
                return Err(TarError::Entry {
                    name: entry.path.escape_ascii().to_string(),
                    fault: "is another name of a file that isn't there",
                });
            }
        },
        EntryKind::Symlink(target) => Kind::Symlink(target),
        EntryKind::Directory => Kind::Directory,
        EntryKind::Character(major, minor) => Kind::Character(major, minor),
        EntryKind::Block(major, minor) => Kind::Block(major, minor),
        EntryKind::Fifo => Kind::Fifo,
    };
    Ok(Node {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// A real package with these files, made by dpkg-deb.
    fn package(directory: &Path, name: &str, files: &[(&str, &str)]) -> Package {
        let tree = directory.join(name);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example>\nDescription: d\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        for (path, content) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4711)).unwrap();
        }
        let file = directory.join(format!("{name}_1_all.deb"));
        let built = Command::new("dpkg-deb")
            .args(["-Zgzip", "--root-owner-group", "-b"])
            .arg(&tree)
            .arg(&file)
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        Package {
            name: name.into(),
            version: "1".into(),
            architecture: "all".into(),
            file,
        }
    }

    #[test]
    fn packages_are_merged() {
        let directory = tempfile::tempdir().unwrap();
        let one = package(
            directory.path(),
            "one",
            &[("bin/sh", "shell"), ("usr/share/doc/one/x", "doc")],
        );
        let two = package(directory.path(), "two", &[("usr/bin/ls", "list")]);
        let keep = |path: &[u8]| !path.starts_with(b"usr/share/doc");
        let tree = unpack(&[one, two], directory.path(), &keep).unwrap();
        let names: Vec<_> = tree
            .iter()
            .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
            .collect();
        assert_eq!(names.join(" "), "bin usr usr/bin usr/bin/ls usr/bin/sh usr/share");
        let shell = tree.get(b"bin/sh").unwrap();
        assert_eq!((shell.mode, shell.uid, shell.gid), (0o4711, 0, 0));
        let Kind::File(content) = shell.kind else {
            panic!("no file")
        };
        assert_eq!(tree.read(content).unwrap(), b"shell");
    }

    #[test]
    fn conflicts_and_damage_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let one = package(directory.path(), "one", &[("bin/sh", "shell")]);
        let two = package(directory.path(), "two", &[("usr/bin/sh", "other")]);
        let error = unpack(&[one.clone(), two], directory.path(), &|_| true)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/usr/bin/sh") && error.contains("one and two"),
            "{error}"
        );
        let whole = fs::read(&one.file).unwrap();
        for size in [0, 40, whole.len() / 2, whole.len() - 40] {
            fs::write(&one.file, &whole[..size]).unwrap();
            let error = unpack(std::slice::from_ref(&one), directory.path(), &|_| true)
                .unwrap_err()
                .to_string();
            assert!(error.contains("one_1_all.deb"), "{error}");
        }
    }
}
