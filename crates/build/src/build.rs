//! From a request to an image layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vcontainer_image::{Digest, Image, Platform, TreePath};

use crate::compress::Method;
use crate::config::{self, Settings, Step};
use crate::definition::{self, Definition, LayerContent};
use crate::diff::{added, place};
use crate::error::Error;
use crate::layer::{self, Times};
use crate::layout::{Descriptor, LayoutWriter, copy_layers};
use crate::scan::Scanner;
use crate::tree::{Kind, Tree};
use crate::unpack::Unpacker;

/// An image to build.
pub struct Request<'a> {
    /// The root filesystem, which `directories` and `files` layers are taken from, or all of it when there are no layers.
    pub root: Option<&'a Tree>,
    /// The image that it is built upon.
    pub base: Option<&'a Image>,
    /// Its layers; none for a single one with the whole root filesystem.
    pub layers: &'a [Definition],
    /// How it is run.
    pub settings: &'a Settings,
    /// What it is for.
    pub platform: &'a Platform,
    /// How layers are compressed.
    pub method: Method,
    /// On how many threads.
    pub threads: usize,
    /// The times in it.
    pub times: Times,
    /// Its tag.
    pub tag: &'a str,
    /// Annotations of its manifest.
    pub annotations: &'a BTreeMap<String, String>,
    /// Where the layout goes.
    pub target: &'a Path,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// Its layers, base first.
    pub layers: Vec<BuiltLayer>,
}

/// A layer of what was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Its name; `None` for one of the base.
    pub name: Option<String>,
    /// The digest of its blob.
    pub digest: Digest,
    /// The size of its blob in bytes.
    pub size: u64,
    /// How many objects are in it; `None` for one of the base.
    pub objects: Option<usize>,
}

/// Builds the image.
///
/// # Errors
/// Nothing has been changed at its place then.
pub fn build(request: &Request<'_>) -> Result<Built, Error> {
    definition::check(request.layers)?;
    if let Some(base) = request.base {
        check_platform(base, request.platform)?;
    }
    let contents = contents(request)?;
    let mut writer = LayoutWriter::new(request.target)?;
    let mut built = Vec::new();
    let mut descriptors = Vec::new();
    let mut below = Tree::default();
    if let Some(base) = request.base {
        descriptors = copy_layers(&mut writer, base)?;
        let mut unpacker = Unpacker::new(writer.directory())?;
        for layer in &base.layers {
            unpacker.add(layer.open()?, layer.compression, layer.origin())?;
        }
        below = unpacker.finish();
        built.extend(descriptors.iter().map(|descriptor| BuiltLayer {
            name: None,
            digest: descriptor.digest,
            size: descriptor.size,
            objects: None,
        }));
    }
    let mut steps = Vec::new();
    for (name, created_by, content) in contents {
        let tree = added(&below, &content)?;
        let layer = layer::write(
            &tree,
            request.times,
            request.method,
            request.threads,
            writer.directory(),
        )?;
        steps.push(Step {
            diff_id: layer.diff_id,
            created_by,
        });
        descriptors.push(Descriptor {
            media_type: request.method.compression().oci_media_type().into(),
            digest: layer.digest,
            size: layer.size,
        });
        built.push(BuiltLayer {
            name: Some(name),
            digest: layer.digest,
            size: layer.size,
            objects: Some(tree.len()),
        });
        writer.add_file(layer.file, layer.digest)?;
        below.lay_over(&tree);
    }
    let config = config::document(
        request.base.map(|base| base.config.bytes.as_slice()),
        request.settings,
        request.platform,
        request.times.created(),
        &steps,
    )?;
    let manifest = writer.finish(
        &config,
        &descriptors,
        request.platform,
        request.tag,
        request.annotations,
    )?;
    Ok(Built {
        manifest,
        layers: built,
    })
}

fn check_platform(base: &Image, wanted: &Platform) -> Result<(), Error> {
    let found = base.config_view.platform();
    match (&found.os, &found.architecture) == (&wanted.os, &wanted.architecture) {
        true => Ok(()),
        false => Err(Error::definition(
            format!("base image `{}`", base.origin),
            format!("it is for {found}, and the image is for {wanted}"),
        )),
    }
}

/// Name, history and content of each layer.
fn contents(request: &Request<'_>) -> Result<Vec<(String, String, Tree)>, Error> {
    let root = || {
        request.root.ok_or_else(|| {
            Error::definition("the image", "it needs a root filesystem: give one with --rootfs")
        })
    };
    if request.layers.is_empty() {
        let history = "vcontainer oci build: root filesystem".to_owned();
        return Ok(vec![("rootfs".into(), history, root()?.clone())]);
    }
    let mut contents = Vec::new();
    for definition in request.layers {
        let wrong = |fault: String| Error::definition(format!("layer `{definition}`"), fault);
        let tree = match &definition.content {
            LayerContent::Packages(_) => {
                return Err(wrong(
                    "layers of packages are not possible yet: a later version brings them".into(),
                ));
            }
            LayerContent::Directories(paths) => selected(root()?, paths, true).map_err(wrong)?,
            LayerContent::Files(paths) => selected(root()?, paths, false).map_err(wrong)?,
            LayerContent::Host(pairs) => host(pairs)?,
        };
        let history = format!("vcontainer oci build: {definition}");
        contents.push((definition.name.clone(), history, tree));
    }
    Ok(contents)
}

/// These paths of a root filesystem, with the directories that they lie in.
fn selected(root: &Tree, paths: &[TreePath], directories: bool) -> Result<Tree, String> {
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
fn host(pairs: &[(PathBuf, TreePath)]) -> Result<Tree, Error> {
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
