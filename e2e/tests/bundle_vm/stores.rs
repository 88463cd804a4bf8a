//! Stores in tar archives: their layers as trees, and how those of the engines' own imports differ from ours, as
//! docs/formats/stores.md lists it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use e2e::layout::Image;
use e2e::tree::{self, Entry, Tree};
use serde_json::Value;
use vcontainer_guest::Engine;

const WHITEOUT: &str = "char 0:0";
const OPAQUE: &str = "trusted.overlay.opaque";

/// The layers of the store in a tar archive rooted at `/`, by the digest of the uncompressed archives up to each: as the
/// engine looks for them.
pub fn layers(archive: &Path, engine: Engine) -> Result<BTreeMap<Vec<String>, Tree>> {
    let mut files = BTreeMap::new();
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let tree = tree::read_archive_with(file, |name, content| {
        if name.contains("layerdb/") || name.ends_with("layers.json") {
            files.insert(name.to_owned(), content.to_vec());
        }
    })?;
    let text = |name: &str| {
        let content = files
            .get(name)
            .with_context(|| format!("the store has no {name}"))?;
        String::from_utf8(content.clone()).with_context(|| format!("reading {name}"))
    };
    // Directory, parent's ID and diff ID of each layer by its ID.
    let mut found = BTreeMap::new();
    match engine {
        Engine::Docker => {
            let database = "var/lib/docker/image/overlay2/layerdb/sha256/";
            for name in files.keys() {
                let Some(id) = name
                    .strip_prefix(database)
                    .and_then(|name| name.strip_suffix("/diff"))
                else {
                    continue;
                };
                let parent = text(&format!("{database}{id}/parent")).ok();
                let parent = parent.map(|parent| parent.trim_start_matches("sha256:").to_owned());
                let directory = format!(
                    "var/lib/docker/overlay2/{}/diff",
                    text(&format!("{database}{id}/cache-id"))?
                );
                found.insert(id.to_owned(), (directory, parent, text(name)?));
            }
        }
        Engine::Podman => {
            let store = "var/lib/containers/storage";
            let records: Vec<Value> =
                serde_json::from_str(&text(&format!("{store}/overlay-layers/layers.json"))?)?;
            for record in records {
                let word = |key: &str| record[key].as_str().map(str::to_owned);
                let id = word("id").context("a layer without an ID")?;
                let diff = word("diff-digest").context("a layer without a digest")?;
                found.insert(
                    id.clone(),
                    (format!("{store}/overlay/{id}/diff"), word("parent"), diff),
                );
            }
        }
    }
    let chain = |id: &str| {
        let mut chain = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let (_, parent, diff) = found
                .get(&id)
                .with_context(|| format!("there is no layer {id}"))?;
            chain.insert(0, diff.clone());
            next = parent.clone();
        }
        anyhow::Ok(chain)
    };
    found
        .iter()
        .map(|(id, (directory, ..))| Ok((chain(id)?, tree::below(&tree, directory))))
        .collect()
}

/// What our store should have as the layers of `image`, made from the layers that the engine's own import has.
pub fn expected(image: &Image, genuine: &BTreeMap<Vec<String>, Tree>) -> Result<BTreeMap<Vec<String>, Tree>> {
    let mut expected = BTreeMap::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let chain = image.diff_ids()[..=number].to_vec();
        let found = genuine
            .get(&chain)
            .with_context(|| format!("the engine has no layer {}", number + 1))?;
        let lower = tree::of_layers(&image.layers[..number])?;
        let named = tree::read_archive(layer.as_slice())?;
        expected.insert(chain, deviate(found, &lower, &named));
    }
    Ok(expected)
}

/// The tree of one layer as our store has it, from the one that the engine has; `lower` is what lies below, and `named`
/// what the layer's archive names.
fn deviate(genuine: &Tree, lower: &Tree, named: &Tree) -> Tree {
    let mut ours = Tree::new();
    for (name, entry) in genuine {
        let mut entry = entry.clone();
        if entry.kind == WHITEOUT {
            // One that hides nothing is dropped.
            if lower.contains_key(name) {
                ours.insert(name.clone(), whiteout());
            }
            continue;
        }
        // Instead of the mark, a whiteout for each name that it hides.
        if entry.xattrs.remove(OPAQUE).is_some() {
            hide(&mut ours, genuine, lower, name);
        }
        if name == "." {
            entry.mtime = None;
        } else if entry.kind == "directory" && !named.contains_key(name) {
            // Implied: as it is below.
            let below = lower.get(name).filter(|below| below.kind == "directory");
            entry = below.cloned().unwrap_or(Entry {
                mode: 0o755,
                owner: (0, 0),
                mtime: Some((0, 0)),
                ..entry
            });
        }
        ours.insert(name.clone(), entry);
    }
    ours
}

fn whiteout() -> Entry {
    Entry {
        kind: WHITEOUT.into(),
        mode: 0,
        owner: (0, 0),
        mtime: Some((0, 0)),
        xattrs: BTreeMap::new(),
    }
}

fn hide(ours: &mut Tree, layer: &Tree, lower: &Tree, directory: &str) {
    let prefix = format!("{directory}/");
    for (name, _) in lower.range(prefix.clone()..) {
        let Some(rest) = name.strip_prefix(&prefix) else {
            break;
        };
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let shows_through =
            !rest.contains('/') || layer.get(parent).is_some_and(|entry| entry.kind == "directory");
        if shows_through && !layer.contains_key(name) {
            ours.insert(name.clone(), whiteout());
        }
    }
}

/// Without what a root directory's time is: everybody who writes into it changes it.
pub fn without_time_of_root(mut tree: Tree) -> Tree {
    if let Some(root) = tree.get_mut(".") {
        root.mtime = None;
    }
    tree
}
