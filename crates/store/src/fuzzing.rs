//! Properties that hold whatever bytes come, for the fuzz targets in `fuzz/` (feature `fuzzing`). No part of the
//! interface. Each function panics when its property does not hold.

use std::collections::BTreeMap;

use vcontainer_image::{Compression, EntryKind, TreePath};

use crate::apply::{Limits, apply_blob as apply_layer};
use crate::bolt::{self, Bucket};
use crate::docker::fuzzing as docker;
use crate::lower::{LowerView, MergedDirectory};
use crate::podman::fuzzing as podman;
use crate::testing::{self, Archive, EPOCH, MemoryTree, Object, reassemble};
use crate::tree::LayerTree;
use crate::{AppliedLayer, ApplyProblem, containerd, settle};

const LIMITS: Limits = Limits {
    uncompressed_bytes: 8 << 20,
    entries: 20_000,
};

/// A layer's archive: [`MemoryTree`] checks the contract of writers, and tar-split gives the archive back.
pub fn apply(archive: &[u8]) {
    let blob = testing::blob(archive, archive, Compression::None);
    let mut out = MemoryTree::default();
    let Ok(mut applied) = apply_layer(blob, &mut out, None, &testing::options(LIMITS)) else {
        return;
    };
    check_sizes(&applied, &out);
    assert_eq!(applied.uncompressed_size, archive.len() as u64);
    // A writer never gets whiteouts from the layer itself.
    assert!(out.objects.values().all(|object| !is_whiteout(object)));
    let rebuilt = reassemble(&mut applied.tar_split, |name| content(&out, name));
    assert_eq!(rebuilt, archive);
    settle(&mut applied.tree, &LowerView::default(), &mut out, EPOCH).unwrap();
    assert!(out.objects.values().all(|object| !is_whiteout(object)));
}

/// A blob that is said to be compressed: inflated and applied within the limits, or refused.
pub fn apply_blob(bytes: &[u8], compression: Compression) {
    let blob = testing::blob(bytes, bytes, compression);
    let result = apply_layer(blob, &mut MemoryTree::default(), None, &testing::options(LIMITS));
    // The claimed diff ID is that of the blob itself.
    match result {
        Ok(_) => assert_eq!(compression, Compression::None),
        Err(error) => assert!(!matches!(error.problem, ApplyProblem::Write { .. }), "{error:?}"),
    }
}

/// The content of the file that an engine finds under a name of the archive: through symlinks of the layer.
fn content(out: &MemoryTree, name: &[u8]) -> Vec<u8> {
    let path = TreePath::clean(name).unwrap();
    let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    todo.reverse();
    let mut here = TreePath::root();
    while let Some(name) = todo.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => here = here.parent().unwrap_or_default(),
            name => {
                let next = here.join(name);
                match &out.objects[&next] {
                    Object {
                        kind: EntryKind::Symlink { target },
                        ..
                    } if !todo.is_empty() => {
                        if target.starts_with(b"/") {
                            here = TreePath::root();
                        }
                        todo.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                    }
                    _ => here = next,
                }
            }
        }
    }
    out.objects[&here].content.clone()
}

fn check_sizes(applied: &AppliedLayer, out: &MemoryTree) {
    let names = out.objects.len() + 1;
    // Whiteouts and what is only recorded are in the tree or nowhere, never in the output.
    assert!(
        applied.tree.len() >= names,
        "{} names for {names} objects",
        applied.tree.len()
    );
}

fn is_whiteout(object: &Object) -> bool {
    object.kind == EntryKind::Char { major: 0, minor: 0 }
}

/// Several layers on each other. Applied in order with the layers below known, or each for itself and settled
/// afterwards, they are the same; and what [`LowerView`] shows is what overlayfs shows.
pub fn layers(data: &[u8]) {
    let mut trees: Vec<LayerTree> = Vec::new();
    let mut outputs: Vec<MemoryTree> = Vec::new();
    for program in data.split(|byte| *byte == 0xff).take(4) {
        let archive = program_archive(program);
        let lower = LowerView::new(trees.iter().rev());
        let mut in_order = MemoryTree::default();
        let mut alone = MemoryTree::default();
        let streamed = testing::apply_archive(&archive, &mut in_order, Some(&lower));
        let apart = testing::apply_archive(&archive, &mut alone, None);
        let (mut streamed, mut apart) = match (streamed, apart) {
            (Ok(streamed), Ok(apart)) => (streamed, apart),
            (Err(streamed), Err(apart)) => {
                assert_eq!(testing::chain(&streamed), testing::chain(&apart));
                return;
            }
            (streamed, apart) => panic!("{streamed:?} but {apart:?}"),
        };
        let written = settle(&mut streamed.tree, &lower, &mut in_order, EPOCH).unwrap();
        assert_eq!(
            settle(&mut apart.tree, &lower, &mut alone, EPOCH).unwrap(),
            written
        );
        assert_eq!(in_order, alone);
        let whiteouts = alone
            .objects
            .values()
            .filter(|object| is_whiteout(object))
            .count();
        assert_eq!(whiteouts as u64, written);
        let rebuilt = reassemble(&mut apart.tar_split, |name| content(&alone, name));
        assert_eq!(rebuilt, archive);
        check_hides(&outputs, &alone);
        outputs.push(alone);
        trees.push(apart.tree);
        check_view(&LowerView::new(trees.iter().rev()), &merged(&outputs));
    }
}

/// No whiteout that hides nothing: in a directory that is not merged it would show.
fn check_hides(below: &[MemoryTree], layer: &MemoryTree) {
    let shown = merged(below);
    for (path, _) in layer.objects.iter().filter(|(_, object)| is_whiteout(object)) {
        assert!(shown.contains_key(path), "{path} hides nothing");
    }
}

/// What overlayfs shows of the layers, base first.
fn merged(layers: &[MemoryTree]) -> BTreeMap<TreePath, EntryKind> {
    let mut shown: BTreeMap<TreePath, EntryKind> = BTreeMap::new();
    for layer in layers {
        for (path, object) in &layer.objects {
            let keeps = object.kind == EntryKind::Directory && shown.get(path) == Some(&EntryKind::Directory);
            if !keeps {
                shown.retain(|other, _| !is_below(other, path));
            }
            if !is_whiteout(object) {
                shown.insert(path.clone(), object.kind.clone());
            }
        }
    }
    shown
}

/// Whether `path` is `top` or lies in it.
fn is_below(path: &TreePath, top: &TreePath) -> bool {
    let mut parts = path.components();
    top.components().all(|part| parts.next() == Some(part))
}

fn check_view(view: &LowerView<'_>, shown: &BTreeMap<TreePath, EntryKind>) {
    use crate::lower::Lower;
    let mut found = BTreeMap::new();
    let mut open: Vec<(TreePath, MergedDirectory<'_>)> = vec![(TreePath::root(), view.root())];
    while let Some((at, directory)) = open.pop() {
        for name in directory.names() {
            let path = at.join(name);
            match directory.lookup(name) {
                Lower::Nothing => panic!("{path} is listed and not there"),
                Lower::Object => drop(found.insert(path, false)),
                Lower::Directory(below) => {
                    found.insert(path.clone(), true);
                    open.push((path, below));
                }
            }
        }
    }
    let shown: BTreeMap<TreePath, bool> = shown
        .iter()
        .map(|(path, kind)| (path.clone(), *kind == EntryKind::Directory))
        .collect();
    assert_eq!(found, shown);
}

/// An archive of entries of four bytes each: what, name, name, number. The few names get in each other's way.
fn program_archive(program: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    for step in program.chunks_exact(4).take(64) {
        let [what, first, second, number] = [step[0], step[1], step[2], step[3]];
        let (name, other) = (name(first), name(second));
        match what % 8 {
            0 => archive.file(&name, &vec![number; usize::from(number) * 5]),
            1 => archive.directory(&name, 0o700 | u32::from(number & 0o77)),
            2 => archive.symlink(&name, &other),
            3 => archive.symlink(
                &name,
                &format!("{}{other}", ["/", "../", "./", "../../"][usize::from(number % 4)]),
            ),
            4 => archive.hardlink(&name, &other),
            5 => archive.file(&mark(&name, ".wh."), b""),
            6 => archive.file(&format!("{name}/.wh..wh..opq"), b""),
            _ => archive.entry(&name, [b'3', b'4', b'6'][usize::from(number % 3)], 0o600, "", b""),
        };
    }
    archive.finish()
}

fn name(byte: u8) -> String {
    let part = |bits: u8| ["a", "b", "c", "d"][usize::from(bits & 3)];
    let parts = [part(byte), part(byte >> 2), part(byte >> 4)];
    parts[..1 + usize::from(byte >> 6).min(2)].join("/")
}

fn mark(name: &str, prefix: &str) -> String {
    match name.rsplit_once('/') {
        Some((parent, last)) => format!("{parent}/{prefix}{last}"),
        None => format!("{prefix}{name}"),
    }
}

/// A database: read or refused; what is read is written so that it reads the same.
pub fn bolt(data: &[u8]) {
    if let Ok(tree) = bolt::read(&bolt::fuzzing::file(data)) {
        round_trip(&tree);
    }
}

fn round_trip(tree: &Bucket) {
    let Ok(file) = bolt::write(tree) else { return };
    assert_eq!(&bolt::read(&file).unwrap(), tree);
}

/// containerd's records in any database: extended or refused, and still a database.
pub fn containerd(data: &[u8]) {
    let root = bolt::read(&bolt::fuzzing::file(data)).unwrap_or_else(|_| bolt::fuzzing::tree(data));
    round_trip(&root);
    for tree in containerd::fuzzing::extend(root) {
        round_trip(&tree);
    }
}

/// The JSON indexes of Docker and Podman: what is merged into them is there, once, and the rest stays.
pub fn indexes(data: &[u8]) {
    docker::repositories(data);
    docker::distribution(data);
    podman::images(data);
}
