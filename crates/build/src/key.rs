//! The key of a layer in the cache: everything that its bytes depend on, and nothing else. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use vcontainer_image::{Digest, Hasher, Platform};

use crate::compress::Method;
use crate::definition::{Definition, LayerContent};
use crate::diff::host_path;
use crate::error::{Error, OnPath as _};
use crate::layer::Times;
use crate::tree::{Kind, Tree};

/// Counts up when the same input gives another layer than before.
const FORMAT: u32 = 2;

/// What names a layer in the cache: the digest of all that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Digest);

impl Key {
    /// The 16 digits that stand in names of directories and in logs.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.hex().chars().take(16).collect()
    }

    /// All digits.
    #[must_use]
    pub fn full(&self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.short())
    }
}

/// What the caller says about layers besides their definitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Yocto's `MACHINE`.
    pub machine: String,
    /// Yocto's `TUNE_PKGARCH`.
    pub tune: String,
    /// Versions of packages, by name.
    pub versions: BTreeMap<String, String>,
    /// By layer: whatever else it depends on, such as the hash of a task.
    pub layers: BTreeMap<String, Vec<String>>,
}

/// A layer that is to be named.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its definition.
    pub definition: &'a Definition,
    /// What the caller says.
    pub inputs: &'a Inputs,
    /// Packages in it with their versions and digests, where a package manager of ours has found them.
    pub closure: Option<&'a [(String, String, String)]>,
    /// What is in it, where that is at hand without installing anything.
    pub content: Option<Digest>,
    /// What names all that is below it.
    pub below: &'a str,
    /// What the image is for.
    pub platform: &'a Platform,
    /// How it is compressed.
    pub method: Method,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
}

/// Fields are sorted by name, so that the same content is the same text.
#[derive(Serialize)]
struct Parts<'a> {
    below: &'a str,
    closure: Vec<String>,
    compression: &'a str,
    content: Option<String>,
    epoch: Option<i64>,
    format: u32,
    inputs: Vec<&'a str>,
    layer_name: &'a str,
    layer_type: &'a str,
    level: i32,
    machine: &'a str,
    packages: Vec<&'a str>,
    pkg_versions: BTreeMap<&'a str, &'a str>,
    platform: String,
    tune_pkgarch: &'a str,
}

impl Subject<'_> {
    /// The versions of the packages that the definition names, as far as they are known.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<&str, &str> {
        let LayerContent::Packages(names) = &self.definition.content else {
            return BTreeMap::new();
        };
        let found = |name: &String| {
            let said = self.inputs.versions.get(name).map(String::as_str);
            let found = || {
                let mut closure = self.closure.into_iter().flatten();
                closure
                    .find(|(found, _, _)| found == name)
                    .map(|(_, version, _)| version.as_str())
            };
            said.or_else(found)
        };
        names
            .iter()
            .filter_map(|name| Some((name.as_str(), found(name)?)))
            .collect()
    }

    /// Whether all that the layer depends on is known. Of packages that somebody else has installed it is only known what was
    /// said about the layer: the versions of those that are named tell nothing of those that come along with them.
    #[must_use]
    pub fn is_known(&self) -> bool {
        if !matches!(self.definition.content, LayerContent::Packages(_)) {
            return self.content.is_some();
        }
        self.closure.is_some() || self.inputs.layers.contains_key(&self.definition.name)
    }

    /// Its key; `None` when something that it depends on is not known.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        if !self.is_known() {
            return None;
        }
        let mut packages = Vec::new();
        if let LayerContent::Packages(names) = &self.definition.content {
            packages.extend(names.iter().map(String::as_str));
            packages.sort_unstable();
            packages.dedup();
        }
        let said = self.inputs.layers.get(&self.definition.name);
        let mut inputs: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        inputs.sort_unstable();
        let closure = self.closure.into_iter().flatten();
        let parts = Parts {
            below: self.below,
            closure: closure
                .map(|(name, version, digest)| format!("{name}={version} {digest}"))
                .collect(),
            compression: self.method.compression().name(),
            content: self.content.map(|digest| digest.to_string()),
            epoch: self.epoch,
            format: FORMAT,
            inputs,
            layer_name: &self.definition.name,
            layer_type: self.definition.content.type_name(),
            level: self.method.level(),
            machine: &self.inputs.machine,
            packages,
            pkg_versions: self.versions(),
            platform: self.platform.to_string(),
            tune_pkgarch: &self.inputs.tune,
        };
        // Texts and numbers only: nothing in it cannot be written.
        let text = serde_json::to_vec(&parts).ok()?;
        Some(Key(Digest::of(&text)))
    }
}

/// Names a file system by all that a layer made of it depends on.
///
/// # Errors
/// A file cannot be read, or has changed since it was found.
pub fn content(tree: &Tree, times: Times) -> Result<Digest, Error> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    let mut names = BTreeMap::new();
    let field = |hasher: &mut Hasher, bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (number, (path, node)) in tree.iter().enumerate() {
        field(&mut hasher, path.as_bytes());
        let meta = &node.meta;
        let numbers = format!("{:o} {} {}", meta.mode, meta.uid, meta.gid);
        field(&mut hasher, numbers.as_bytes());
        for xattr in &meta.xattrs {
            field(&mut hasher, &xattr.name);
            field(&mut hasher, &xattr.value);
        }
        match &node.kind {
            Kind::Directory => field(&mut hasher, b"directory"),
            Kind::Symlink(target) => {
                field(&mut hasher, b"link");
                field(&mut hasher, target);
            }
            Kind::Char(major, minor) => field(&mut hasher, format!("char {major} {minor}").as_bytes()),
            Kind::Block(major, minor) => field(&mut hasher, format!("block {major} {minor}").as_bytes()),
            Kind::Fifo => field(&mut hasher, b"fifo"),
            Kind::File { content, link } => {
                // The first object with the same number has the content.
                let first = link.map_or(number, |link| *names.entry(link).or_insert(number));
                let text = format!(
                    "file {} {} {first}",
                    content.size(),
                    times.of(meta, &node.kind).seconds
                );
                field(&mut hasher, text.as_bytes());
                if first == number {
                    let copied = content.copy(&mut buffer, |bytes| {
                        hasher.update(bytes);
                        Ok(())
                    });
                    copied.at("reading", &host_path(node, path))?;
                }
            }
        }
    }
    Ok(hasher.finish())
}
