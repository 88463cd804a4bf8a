//! Images drawn from a seed: layers that engines accept, with everything that makes layers hard to lay upon each other.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::json;

use crate::layout::Image;
use crate::random::Random;
use crate::tarball::{Format, Meta, Tarball};
use crate::tree::Tree;

/// Few names, so that layers meet.
const NAMES: &[&str] = &["a", "b", "c", "d"];

/// Targets of symlinks: some lead to directories, some nowhere.
const TARGETS: &[&str] = &["a", "b", "../a", "/b/c", "../../c", "a/b", ".", "/"];

/// An image, and what is known of it without unpacking it.
pub struct Generated {
    /// What it is drawn from.
    pub seed: u64,
    /// The image.
    pub image: Image,
    /// Every entry of every layer, for people.
    pub story: String,
    /// Directories that only an implied parent stands for in the topmost layer that has them, with the metadata that
    /// the layers below give them.
    implied: BTreeMap<String, Meta>,
}

impl Generated {
    /// The image of this seed: always the same.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut story = String::new();
        let mut layers = Vec::new();
        let mut shown = BTreeMap::new();
        for number in 0..2 + random.below(3) {
            let mut layer = Layer::default();
            if random.one_in(4) {
                layer.entry(b'5', "./".into(), Meta::mode(0o711).owner(7, 7), "", "");
            }
            for _ in 0..4 + random.below(16) {
                layer.draw(&mut random, seed);
            }
            let _ = writeln!(story, "layer {number}:");
            for entry in &layer.entries {
                let _ = writeln!(story, "  {entry}");
            }
            layers.push(layer.tarball());
            shown = layer.over(&shown);
        }
        let implied = shown
            .into_iter()
            .filter_map(|(path, folder)| folder.implied.then_some((path, folder.meta)))
            .collect();
        let config = json!({"Cmd": ["/none"], "Labels": {"seed": seed.to_string()}});
        let image = Image {
            architecture: "amd64".into(),
            layers,
            config,
        };
        Self {
            seed,
            image,
            story,
            implied,
        }
    }

    /// Gives implied directories in `tree` the metadata that layers below have for them.
    pub fn describe_implied(&self, tree: &mut Tree) {
        for (path, meta) in &self.implied {
            if let Some(entry) = tree.get_mut(path) {
                entry.mode = meta.mode;
                entry.owner = (meta.uid, meta.gid);
                entry.mtime = Some((meta.mtime.0, meta.mtime.1.into()));
                entry.xattrs = meta
                    .xattrs
                    .iter()
                    .map(|(name, value)| {
                        let hex = value.iter().map(|byte| format!("{byte:02x}")).collect();
                        (name.clone(), hex)
                    })
                    .collect();
            }
        }
    }
}

/// What an entry of the archive says.
struct Entry {
    /// Type flag of the header.
    kind: u8,
    name: String,
    link: String,
    content: String,
    meta: Meta,
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            b'1' => "hard link",
            b'2' => "symlink",
            b'5' => "directory",
            b'6' => "fifo",
            _ => "file",
        };
        let Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = &self.meta;
        write!(
            out,
            "{kind} {} {mode:04o} {uid}:{gid} {}.{:09}",
            self.name, mtime.0, mtime.1
        )?;
        if !self.link.is_empty() {
            write!(out, " -> {}", self.link)?;
        }
        if !self.content.is_empty() {
            write!(out, " {:?}", self.content)?;
        }
        if !xattrs.is_empty() {
            write!(out, " {xattrs:?}")?;
        }
        Ok(())
    }
}

/// What lies at a place of the layer's directory.
#[derive(Clone)]
enum Made {
    /// `None`: implied.
    Directory {
        meta: Option<Meta>,
        opaque: bool,
    },
    Symlink {
        target: String,
        meta: Meta,
    },
    Other(Meta),
    Whiteout,
}

/// A directory of merged layers.
#[derive(Clone)]
struct Folder {
    meta: Meta,
    implied: bool,
}

/// A layer being drawn.
#[derive(Default)]
struct Layer {
    entries: Vec<Entry>,
    /// By physical path; the root is "".
    made: BTreeMap<String, Made>,
    /// Symlinks followed for one path.
    steps: u32,
}

impl Layer {
    /// One more entry, if the one that is drawn has a place.
    fn draw(&mut self, random: &mut Random, seed: u64) {
        let before = self.made.clone();
        if self.draw_one(random, seed).is_none() {
            self.made = before;
        }
    }

    fn draw_one(&mut self, random: &mut Random, seed: u64) -> Option<()> {
        let links = self.places(|made| matches!(made, Made::Symlink { .. }));
        let path = match random.pick_any(&links) {
            Some(link) if random.one_in(4) => join(link, random.pick(NAMES)),
            _ => random.path(),
        };
        let prefix = if random.one_in(4) { "./" } else { "" };
        let meta = random.meta();
        match random.below(18) {
            0..=4 => {
                let place = self.free(&path)?;
                let content = format!("{seed} {}", self.entries.len());
                self.made.insert(place, Made::Other(meta.clone()));
                self.entry(b'0', format!("{prefix}{path}"), meta, "", &content);
            }
            5..=8 => {
                let place = self.place(&path)?;
                let opaque = match self.made.get(&place) {
                    None | Some(Made::Whiteout) => false,
                    Some(Made::Directory { meta: None, opaque }) => *opaque,
                    Some(_) => return None,
                };
                let made = Made::Directory {
                    meta: Some(meta.clone()),
                    opaque,
                };
                self.made.insert(place, made);
                self.entry(b'5', format!("{prefix}{path}/"), meta, "", "");
            }
            9..=10 => {
                let place = self.free(&path)?;
                let directories = self.places(|made| matches!(made, Made::Directory { .. }));
                let target = match random.pick_any(&directories) {
                    Some(directory) if random.one_in(2) => format!("/{directory}"),
                    _ => random.pick(TARGETS).to_owned(),
                };
                let meta = Meta {
                    mode: 0o777,
                    xattrs: Vec::new(),
                    ..meta
                };
                let made = Made::Symlink {
                    target: target.clone(),
                    meta: meta.clone(),
                };
                self.made.insert(place, made);
                self.entry(b'2', format!("{prefix}{path}"), meta, &target, "");
            }
            11..=12 => {
                let place = self.free(&path)?;
                let files = self.places(|made| matches!(made, Made::Symlink { .. } | Made::Other(_)));
                let target = random.pick_any(&files)?.clone();
                let existing = self.resolved(&target, false)?;
                let made = self.made.get(&existing)?.clone();
                let (Made::Symlink { meta: first, .. } | Made::Other(first)) = &made else {
                    return None;
                };
                // The same, as every archiver writes it: engines would give the file what the last entry says.
                let meta = first.clone();
                self.made.insert(place, made);
                self.entry(
                    b'1',
                    format!("{prefix}{path}"),
                    meta,
                    &format!("{prefix}{target}"),
                    "",
                );
            }
            13..=14 => {
                let place = self.place(&path)?;
                if self.made.insert(place, Made::Whiteout).is_some() {
                    return None;
                }
                let (parent, name) = split(&path);
                let slash = if parent.is_empty() { "" } else { "/" };
                self.entry(
                    b'0',
                    format!("{prefix}{parent}{slash}.wh.{name}"),
                    Meta::mode(0o644),
                    "",
                    "",
                );
            }
            15..=16 => {
                let place = self.directory(&path, true)?;
                // Never the root, at which the engines' mounts do not look.
                match self.made.get_mut(&place) {
                    Some(Made::Directory { opaque, .. }) if !*opaque => *opaque = true,
                    _ => return None,
                }
                self.entry(
                    b'0',
                    format!("{prefix}{path}/.wh..wh..opq"),
                    Meta::mode(0o644),
                    "",
                    "",
                );
            }
            _ => {
                let place = self.free(&path)?;
                let meta = Meta {
                    xattrs: Vec::new(),
                    ..meta
                };
                self.made.insert(place, Made::Other(meta.clone()));
                self.entry(b'6', format!("{prefix}{path}"), meta, "", "");
            }
        }
        Some(())
    }

    fn entry(&mut self, kind: u8, name: String, meta: Meta, link: &str, content: &str) {
        self.entries.push(Entry {
            kind,
            name,
            link: link.to_owned(),
            content: content.to_owned(),
            meta,
        });
    }

    fn tarball(&self) -> Vec<u8> {
        self.entries
            .iter()
            .fold(Tarball::new(Format::Pax), |tarball, entry| {
                tarball.entry(
                    entry.kind,
                    entry.name.as_bytes(),
                    &entry.meta,
                    entry.link.as_bytes(),
                    (0, 0),
                    entry.content.as_bytes(),
                )
            })
            .finish(0)
    }

    /// Physical paths of what is made so far.
    fn places(&self, which: impl Fn(&Made) -> bool) -> Vec<String> {
        let made = self.made.iter().filter(|(_, made)| which(made));
        made.map(|(place, _)| place.clone()).collect()
    }

    /// The physical place for a new name that only a whiteout may have now.
    fn free(&mut self, path: &str) -> Option<String> {
        let place = self.place(path)?;
        matches!(self.made.get(&place), None | Some(Made::Whiteout)).then_some(place)
    }

    /// The physical place of a name, whose parents are made.
    fn place(&mut self, path: &str) -> Option<String> {
        self.resolved(path, true)
    }

    fn resolved(&mut self, path: &str, make: bool) -> Option<String> {
        let (parent, name) = split(path);
        let parent = self.directory(parent, make)?;
        Some(join(&parent, name))
    }

    /// The physical path of a directory; with `make`, missing ones are made, but not the targets of symlinks.
    fn directory(&mut self, path: &str, make: bool) -> Option<String> {
        self.steps = 0;
        self.walk(path, make)
    }

    fn walk(&mut self, path: &str, make: bool) -> Option<String> {
        self.steps += 1;
        if self.steps > 8 {
            return None;
        }
        let mut at = String::new();
        for name in path.split('/') {
            match name {
                "" | "." => continue,
                ".." => {
                    at = split(&at).0.to_owned();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, name);
            match self.made.get(&next) {
                Some(Made::Directory { .. }) => at = next,
                Some(Made::Symlink { target, .. }) => {
                    let start = if target.starts_with('/') { "" } else { &at };
                    let target = format!("{start}/{target}");
                    at = self.walk(&target, false)?;
                }
                None if make => {
                    let implied = Made::Directory {
                        meta: None,
                        opaque: false,
                    };
                    self.made.insert(next.clone(), implied);
                    at = next;
                }
                _ => return None,
            }
        }
        Some(at)
    }

    /// The directories that are seen of this layer above `below`.
    fn over(&self, below: &BTreeMap<String, Folder>) -> BTreeMap<String, Folder> {
        let mut shown = below.clone();
        for (path, made) in &self.made {
            let within = format!("{path}/");
            match made {
                Made::Directory { opaque: false, .. } => {}
                Made::Directory { .. } => shown.retain(|other, _| !other.starts_with(&within)),
                _ => shown.retain(|other, _| other != path && !other.starts_with(&within)),
            }
        }
        for (path, made) in &self.made {
            let Made::Directory { meta, .. } = made else {
                continue;
            };
            let folder = Folder {
                implied: meta.is_none(),
                meta: meta
                    .clone()
                    .or_else(|| Some(below.get(path)?.meta.clone()))
                    .unwrap_or_else(|| Meta::mode(0o755).mtime(0, 0)),
            };
            shown.insert(path.clone(), folder);
        }
        shown
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

/// What layers are drawn from.
trait Draws {
    fn path(&mut self) -> String;
    fn meta(&mut self) -> Meta;
}

impl Draws for Random {
    fn path(&mut self) -> String {
        let length = 1 + self.below(3);
        let names: Vec<&str> = (0..length).map(|_| self.pick(NAMES)).collect();
        names.join("/")
    }

    fn meta(&mut self) -> Meta {
        let mode = self.pick(&[0o755, 0o644, 0o700, 0o000, 0o4755, 0o2770, 0o1777, 0o6711]);
        let (uid, gid) = self.pick(&[(0, 0), (1000, 1000), (0, 5), (70000, 70001)]);
        let (seconds, nanoseconds) = self.pick(&[
            (0, 0),
            (1, 0),
            (1_500_000_000, 0),
            (1_600_000_001, 123_456_789),
            (4_102_444_800, 0),
        ]);
        let meta = Meta::mode(mode).owner(uid, gid).mtime(seconds, nanoseconds);
        if self.one_in(4) {
            let value = self.number().to_le_bytes();
            meta.xattr("user.note", &value)
        } else {
            meta
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_an_image_and_seeds_differ() {
        let (one, again, two) = (Generated::new(1), Generated::new(1), Generated::new(2));
        assert_eq!(one.story, again.story);
        assert_eq!(one.image.layers, again.image.layers);
        assert_ne!(one.image.layers, two.image.layers);
    }
}
