//! Generated layers against a plain simulation: what the engines do with each layer in a directory of its own, and
//! what overlayfs shows of these directories.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vcontainer_image::{EntryKind, TreePath};

use crate::settle;
use crate::testing::{Archive, EPOCH, MemoryTree, apply_archive, reassemble};
use crate::{LayerTree, LowerView};

/// One entry of a generated layer.
#[derive(Debug, Clone)]
enum Op {
    File(String),
    Directory(String, u32),
    Symlink(String, String),
    Hardlink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// What lies in a directory of the simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Directory(Folder),
    /// A file by its content, a symlink by its target.
    File(Vec<u8>),
    Symlink(String),
    Whiteout,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Folder {
    /// `None`: implied.
    mode: Option<u32>,
    opaque: bool,
    things: BTreeMap<String, Thing>,
}

/// The place that an entry asks for cannot be had.
struct Refused;

impl Folder {
    fn get(&self, path: &[String]) -> Option<&Thing> {
        let (last, parents) = path.split_last()?;
        let mut at = self;
        for name in parents {
            let Some(Thing::Directory(folder)) = at.things.get(name) else {
                return None;
            };
            at = folder;
        }
        at.things.get(last)
    }

    fn folder(&mut self, path: &[String]) -> &mut Folder {
        path.iter().fold(self, |at, name| match at.things.get_mut(name) {
            Some(Thing::Directory(folder)) => folder,
            other => panic!("{other:?}"),
        })
    }

    /// The real path of a directory; with `make`, missing ones are made (behind symlinks they must exist).
    fn real(&mut self, path: &str, make: bool, steps: u32) -> Result<Vec<String>, Refused> {
        if steps == 0 {
            return Err(Refused);
        }
        let mut real: Vec<String> = Vec::new();
        let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
        names.reverse();
        while let Some(name) = names.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    real.pop();
                    continue;
                }
                _ => real.push(name),
            }
            match self.get(&real).cloned() {
                Some(Thing::Directory(_)) => {}
                Some(Thing::Symlink(target)) => {
                    real.pop();
                    let start = if target.starts_with('/') {
                        String::new()
                    } else {
                        real.join("/")
                    };
                    real = self.real(&format!("{start}/{target}"), false, steps - 1)?;
                }
                None if make => {
                    let (last, parents) = real.split_last().expect("just pushed");
                    let folder = Thing::Directory(Folder::default());
                    self.folder(parents).things.insert(last.clone(), folder);
                }
                _ => return Err(Refused),
            }
        }
        Ok(real)
    }

    /// The real place of a name, whose parents are made.
    fn place(&mut self, path: &str) -> Result<(Vec<String>, String), Refused> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.real(parent, true, 8)?, name.to_owned()))
    }

    /// What an engine does with one entry, where that can be saved again.
    fn apply(&mut self, number: usize, op: &Op) -> Result<(), Refused> {
        match op {
            Op::File(path) => self.put(path, Thing::File(content(number))),
            Op::Symlink(path, target) => self.put(path, Thing::Symlink(target.clone())),
            Op::Directory(path, mode) => self.put(
                path,
                Thing::Directory(Folder {
                    mode: Some(*mode),
                    ..Folder::default()
                }),
            ),
            Op::Hardlink(path, target) => {
                let (parent, name) = self.place(path)?;
                let (target_parent, target_name) = target.rsplit_once('/').unwrap_or(("", target));
                let mut existing = self.real(target_parent, false, 8)?;
                existing.push(target_name.to_owned());
                let thing = match self.get(&existing) {
                    Some(thing @ (Thing::File(_) | Thing::Symlink(_))) => thing.clone(),
                    _ => return Err(Refused),
                };
                self.put(&[&parent[..], &[name]].concat().join("/"), thing)
            }
            Op::Whiteout(path) => {
                let (parent, name) = self.place(path)?;
                match self.folder(&parent).things.insert(name, Thing::Whiteout) {
                    None => Ok(()),
                    Some(_) => Err(Refused),
                }
            }
            Op::Opaque(path) => {
                let real = self.real(path, true, 8)?;
                match std::mem::replace(&mut self.folder(&real).opaque, true) {
                    false => Ok(()),
                    true => Err(Refused),
                }
            }
        }
    }

    fn put(&mut self, path: &str, thing: Thing) -> Result<(), Refused> {
        let (parent, name) = self.place(path)?;
        let things = &mut self.folder(&parent).things;
        match (things.get_mut(&name), thing) {
            (None | Some(Thing::Whiteout), thing) => {
                things.insert(name, thing);
                Ok(())
            }
            (
                Some(Thing::Directory(Folder {
                    mode: mode @ None, ..
                })),
                Thing::Directory(new),
            ) => {
                *mode = new.mode;
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    /// What overlayfs shows of `self` on top of `lower`. Ghosts, the whiteouts that it would show as names that
    /// cannot be opened, are left out.
    fn over(&self, lower: &Folder) -> Folder {
        self.over_with_modes(lower, lower)
    }

    /// `modes` is where implied directories have their mode from, hidden or not: `lower` before opaque directories.
    fn over_with_modes(&self, lower: &Folder, modes: &Folder) -> Folder {
        let empty = Folder::default();
        let mut shown = if self.opaque { &empty } else { lower }.clone();
        shown.mode = self.mode.or(modes.mode);
        for (name, thing) in &self.things {
            let below = shown.things.remove(name);
            let modes = match modes.things.get(name) {
                Some(Thing::Directory(modes)) => modes,
                _ => &empty,
            };
            let thing = match (thing, below) {
                (Thing::Whiteout, _) => continue,
                (Thing::Directory(own), Some(Thing::Directory(below))) => {
                    Thing::Directory(own.over_with_modes(&below, modes))
                }
                (Thing::Directory(own), _) => Thing::Directory(own.over_with_modes(&empty, modes)),
                (thing, _) => thing.clone(),
            };
            shown.things.insert(name.clone(), thing);
        }
        shown
    }

    /// Implied directories that nothing below describes get the mode that engines give.
    fn with_implied_modes(mut self) -> Self {
        self.mode.get_or_insert(0o755);
        for thing in self.things.values_mut() {
            if let Thing::Directory(folder) = thing {
                *folder = std::mem::take(folder).with_implied_modes();
            }
        }
        self
    }

    fn whiteouts(&self) -> usize {
        self.things
            .values()
            .map(|thing| match thing {
                Thing::Directory(folder) => folder.whiteouts(),
                Thing::Whiteout => 1,
                _ => 0,
            })
            .sum()
    }
}

/// How many whiteouts of `layer` hide nothing of `lower`.
fn idle_whiteouts(layer: &Folder, lower: &Folder) -> usize {
    layer
        .things
        .iter()
        .map(|(name, thing)| match (thing, lower.things.get(name)) {
            (Thing::Whiteout, None) => 1,
            (Thing::Directory(own), Some(Thing::Directory(below))) => idle_whiteouts(own, below),
            (Thing::Directory(own), _) => own.whiteouts(),
            _ => 0,
        })
        .sum()
}

fn content(number: usize) -> Vec<u8> {
    format!("content {number}").into_bytes()
}

fn name_of_whiteout(path: &str) -> String {
    let (parent, name) = path
        .rsplit_once('/')
        .map_or((None, path), |(parent, name)| (Some(parent), name));
    parent.map_or_else(|| format!(".wh.{name}"), |parent| format!("{parent}/.wh.{name}"))
}

fn archive(ops: &[Op], base: usize) -> Archive {
    let mut archive = Archive::default();
    for (number, op) in ops.iter().enumerate() {
        match op {
            Op::File(path) => archive.file(path, &content(base + number)),
            Op::Directory(path, mode) => archive.directory(path, *mode),
            Op::Symlink(path, target) => archive.symlink(path, target),
            Op::Hardlink(path, target) => archive.hardlink(path, target),
            Op::Whiteout(path) => archive.file(&name_of_whiteout(path), b""),
            Op::Opaque(path) => archive.file(&format!("{path}/.wh..wh..opq"), b""),
        };
    }
    archive
}

/// What was written, as a layer directory of the simulation.
fn written(tree: &MemoryTree) -> Folder {
    let mut root = Folder::default();
    for (path, object) in &tree.objects {
        let names: Vec<String> = names(path);
        let (last, parents) = names.split_last().expect("the root is not written");
        let thing = match &object.kind {
            EntryKind::Directory => Thing::Directory(Folder {
                mode: Some(object.meta.mode),
                ..Folder::default()
            }),
            EntryKind::File { .. } => Thing::File(object.content.clone()),
            EntryKind::Symlink { target } => Thing::Symlink(String::from_utf8_lossy(target).into_owned()),
            EntryKind::Char { major: 0, minor: 0 } => Thing::Whiteout,
            other => panic!("{other:?}"),
        };
        root.folder(parents).things.insert(last.clone(), thing);
    }
    root
}

fn names(path: &TreePath) -> Vec<String> {
    path.components()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn a_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

fn an_op() -> impl Strategy<Value = Op> {
    let target = prop::sample::select(vec!["a", "b", "../a", "/b/c", "../../c", "a/b", "."]);
    prop_oneof![
        4 => a_path().prop_map(Op::File),
        4 => (a_path(), prop::sample::select(vec![0o700, 0o711, 0o1777])).prop_map(|(p, m)| Op::Directory(p, m)),
        1 => (a_path(), target).prop_map(|(path, target)| Op::Symlink(path, target.to_owned())),
        1 => (a_path(), a_path()).prop_map(|(path, target)| Op::Hardlink(path, target)),
        3 => a_path().prop_map(Op::Whiteout),
        1 => prop_oneof![a_path(), Just(".".to_owned())].prop_map(Op::Opaque),
    ]
}

/// Layers in which every entry can be placed: those that cannot are left out, which keeps the layers long.
fn layers() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(an_op(), 0..14), 1..5).prop_map(|mut layers| {
        for layer in &mut layers {
            let mut folder = Folder::default();
            layer.retain(|op| {
                let before = folder.clone();
                let placed = folder.apply(0, op).is_ok();
                if !placed {
                    folder = before;
                }
                placed
            });
        }
        layers
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn merged_layers_show_what_the_engines_show(layers in layers()) {
        let mut merged = Folder::default();
        let mut shown = Folder::default();
        let mut trees: Vec<LayerTree> = Vec::new();
        for (index, ops) in layers.iter().enumerate() {
            let mut engine = Folder::default();
            for (number, op) in ops.iter().enumerate() {
                prop_assert!(engine.apply(index * 100 + number, op).is_ok());
            }
            merged = engine.over(&merged);

            let bytes = archive(ops, index * 100).finish();
            let mut out = MemoryTree::default();
            let mut applied = apply_archive(&bytes, &mut out, None).unwrap();
            let lower = LowerView::new(trees.iter().rev());
            let count = settle(&mut applied.tree, &lower, &mut out, EPOCH).unwrap();
            let ours = written(&out);
            prop_assert_eq!(ours.whiteouts() as u64, count);
            prop_assert_eq!(idle_whiteouts(&ours, &shown), 0);
            shown = ours.over(&shown);
            prop_assert_eq!(&shown.clone().with_implied_modes(), &merged.clone().with_implied_modes());

            // A stream, which cannot go back to a directory, gets the same.
            let mut streamed = MemoryTree::default();
            let mut again = apply_archive(&bytes, &mut streamed, Some(&lower)).unwrap();
            settle(&mut again.tree, &lower, &mut streamed, EPOCH).unwrap();
            prop_assert_eq!(&streamed, &out);

            let contents: BTreeMap<Vec<u8>, Vec<u8>> = ops
                .iter()
                .enumerate()
                .filter_map(|(number, op)| match op {
                    Op::File(path) => Some((path.clone().into_bytes(), content(index * 100 + number))),
                    _ => None,
                })
                .collect();
            let rebuilt = reassemble(&mut applied.tar_split, |name| contents[name].clone());
            prop_assert_eq!(rebuilt, bytes);
            trees.push(applied.tree);
        }
    }

    #[test]
    fn an_entry_is_refused_exactly_when_it_has_no_place(ops in prop::collection::vec(an_op(), 1..10)) {
        let mut engine = Folder::default();
        let expected = ops.iter().enumerate().try_for_each(|(number, op)| engine.apply(number, op)).is_ok();
        let result = apply_archive(&archive(&ops, 0).finish(), &mut MemoryTree::default(), None);
        prop_assert_eq!(result.is_ok(), expected, "{:?}", result.err());
    }
}
