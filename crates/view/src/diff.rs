//! How two images differ: settings, layers, and the files that containers of them would see.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use vcontainer_build::{Content, Kind, Node, Tree, Unpacker};
use vcontainer_image::{Compression, Digest, Hasher, Image, TreePath};

use crate::describe::{Description, describe};
use crate::error::{Error, LayerFault};
use crate::read::{Limits, check, through};

/// The differences of two images, called A and B.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Settings, annotations and what else the documents say.
    pub settings: Vec<Setting>,
    /// Their layers.
    pub layers: LayerDifference,
    /// Their files, sorted by path. Times do not count, nor which names are names of one file.
    pub files: Vec<FileDifference>,
}

/// A setting that is not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// What it is: `cmd`, `env PATH`, `label note`.
    pub field: String,
    /// Its value in A; `null` where it is not set.
    pub a: Value,
    /// Its value in B.
    pub b: Value,
}

/// The layers by their digests, base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerDifference {
    /// Those of A alone.
    pub only_a: Vec<Digest>,
    /// Those of B alone.
    pub only_b: Vec<Digest>,
    /// Those of both.
    pub both: Vec<Digest>,
}

/// A path at which there is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// The path, with a `/` in front; bytes that are no printable ASCII are escaped.
    pub path: String,
    /// What has become of it from A to B.
    pub change: Change,
    /// What of it has changed; empty for what was added or removed.
    pub what: Vec<What>,
}

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is in B alone.
    Added,
    /// It is in A alone.
    Removed,
    /// It is in both.
    Changed,
}

/// What of a path has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is another kind of object; then nothing more is told but mode, owner and extended attributes.
    Kind,
    /// The content of a file.
    Content,
    /// The size of a file.
    Size,
    /// Where a link leads.
    Target,
    /// The numbers of a device.
    Device,
    /// Permissions.
    Mode,
    /// User or group.
    Owner,
    /// Extended attributes.
    Xattrs,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
            && self.files.is_empty()
            && self.layers.only_a.is_empty()
            && self.layers.only_b.is_empty()
    }
}

/// Compares two images. The content of their files goes into nameless files in `scratch`.
///
/// # Errors
/// An image is damaged, or the directory takes no more.
pub fn diff(a: &Image, b: &Image, limits: Limits, scratch: &Path) -> Result<Difference, Error> {
    let (described_a, described_b) = (describe(a)?, describe(b)?);
    let files = match digests(a) == digests(b) {
        // Nothing can differ; what is damaged, verify tells.
        true => Vec::new(),
        false => {
            let trees = (unpack(a, limits, scratch)?, unpack(b, limits, scratch)?);
            files((a, &trees.0), (b, &trees.1))?
        }
    };
    Ok(Difference {
        settings: settings(&fields(&described_a), &fields(&described_b)),
        layers: layers(&digests(a), &digests(b)),
        files,
    })
}

fn digests(image: &Image) -> Vec<Digest> {
    image.layers.iter().map(|layer| layer.digest).collect()
}

fn layers(a: &[Digest], b: &[Digest]) -> LayerDifference {
    let only = |these: &[Digest], others: &[Digest]| {
        let others: BTreeSet<&Digest> = others.iter().collect();
        these
            .iter()
            .filter(|digest| !others.contains(digest))
            .copied()
            .collect()
    };
    let known: BTreeSet<&Digest> = b.iter().collect();
    LayerDifference {
        only_a: only(a, b),
        only_b: only(b, a),
        both: a
            .iter()
            .filter(|digest| known.contains(digest))
            .copied()
            .collect(),
    }
}

/// Everything that an image says about itself, one value for each thing that can be set alone.
fn fields(image: &Description) -> BTreeMap<String, Value> {
    let run = &image.configuration;
    let mut fields = BTreeMap::new();
    let mut set = |name: &str, value: Value| {
        let is_nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !is_nothing {
            fields.insert(name.to_owned(), value);
        }
    };
    set("platform", json!(image.platform));
    set("created", json!(image.created));
    set("author", json!(image.author));
    set("entrypoint", json!(run.entrypoint));
    set("cmd", json!(run.cmd));
    set("user", json!(run.user));
    set("working_dir", json!(run.working_dir));
    set("stop_signal", json!(run.stop_signal));
    set("healthcheck", json!(run.healthcheck));
    for port in &run.ports {
        set(&format!("port {port}"), json!(true));
    }
    for volume in &run.volumes {
        set(&format!("volume {volume}"), json!(true));
    }
    for (name, value) in &run.other {
        set(name, value.clone());
    }
    // Of these an empty value is not the same as none.
    for env in &run.env {
        let (name, value) = env.split_once('=').unwrap_or((env, ""));
        fields.insert(format!("env {name}"), json!(value));
    }
    for (kind, pairs) in [("label", &run.labels), ("annotation", &image.annotations)] {
        for (name, value) in pairs {
            fields.insert(format!("{kind} {name}"), json!(value));
        }
    }
    fields
}

fn settings(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Vec<Setting> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value =
        |fields: &BTreeMap<String, Value>, name: &String| fields.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| Setting {
            field: name.clone(),
            a: value(a, name),
            b: value(b, name),
        })
        .collect()
}

/// The file system of an image; every layer must be what the image says.
fn unpack(image: &Image, limits: Limits, scratch: &Path) -> Result<Tree, Error> {
    let mut unpacker = Unpacker::new(scratch)?.limited(limits.objects);
    for layer in &image.layers {
        let mut read = || {
            let blob = layer
                .open()
                .map_err(|error| LayerFault::Open(error.to_string()))?;
            let (measured, ()) = through(blob, layer.compression, limits, |stream| {
                let added = unpacker.add(stream, Compression::None, layer.origin());
                added.map_err(|error| LayerFault::Apply(crate::error::chain(&error)))
            })?;
            check(&measured, layer)
        };
        read().map_err(|source| Error::Layer {
            origin: layer.origin().into(),
            digest: layer.digest,
            source: Box::new(source),
        })?;
    }
    Ok(unpacker.finish())
}

fn files(a: (&Image, &Tree), b: (&Image, &Tree)) -> Result<Vec<FileDifference>, Error> {
    let paths: BTreeSet<&TreePath> = a.1.iter().chain(b.1.iter()).map(|(path, _)| path).collect();
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    for path in paths {
        let (change, what) = match (a.1.get(path), b.1.get(path)) {
            (None, Some(_)) => (Change::Added, Vec::new()),
            (Some(_), None) => (Change::Removed, Vec::new()),
            (Some(in_a), Some(in_b)) => {
                let mut same = |a_content: &Content, b_content: &Content| {
                    let a = digest(a_content, path, a.0, &mut buffer)?;
                    Ok::<_, Error>(a == digest(b_content, path, b.0, &mut buffer)?)
                };
                (Change::Changed, changes(in_a, in_b, &mut same)?)
            }
            (None, None) => continue,
        };
        if change != Change::Changed || !what.is_empty() {
            found.push(FileDifference {
                path: path.to_string(),
                change,
                what,
            });
        }
    }
    Ok(found)
}

fn changes(
    a: &Node,
    b: &Node,
    same: &mut impl FnMut(&Content, &Content) -> Result<bool, Error>,
) -> Result<Vec<What>, Error> {
    let mut what = Vec::new();
    match (&a.kind, &b.kind) {
        (Kind::File { content: a, .. }, Kind::File { content: b, .. }) => {
            if a.size() != b.size() {
                what.extend([What::Content, What::Size]);
            } else if !same(a, b)? {
                what.push(What::Content);
            }
        }
        (Kind::Symlink(a), Kind::Symlink(b)) => what.extend((a != b).then_some(What::Target)),
        (Kind::Char(a, b), Kind::Char(c, d)) | (Kind::Block(a, b), Kind::Block(c, d)) => {
            what.extend(((a, b) != (c, d)).then_some(What::Device));
        }
        (Kind::Directory, Kind::Directory) | (Kind::Fifo, Kind::Fifo) => {}
        _ => what.push(What::Kind),
    }
    // What tools show of a link's mode differs from system to system.
    let is_link = matches!((&a.kind, &b.kind), (Kind::Symlink(_), Kind::Symlink(_)));
    what.extend((a.meta.mode != b.meta.mode && !is_link).then_some(What::Mode));
    what.extend(((a.meta.uid, a.meta.gid) != (b.meta.uid, b.meta.gid)).then_some(What::Owner));
    what.extend((a.meta.xattrs != b.meta.xattrs).then_some(What::Xattrs));
    Ok(what)
}

fn digest(content: &Content, path: &TreePath, image: &Image, buffer: &mut [u8]) -> Result<Digest, Error> {
    let mut hasher = Hasher::new();
    content
        .copy(buffer, |bytes| {
            hasher.update(bytes);
            Ok(())
        })
        .map_err(|source| Error::Content {
            origin: image.origin.clone(),
            path: path.to_string(),
            source,
        })?;
    Ok(hasher.finish())
}
