//! `vcontainer inspect`: what is in a store or an image, as a table and as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use vcontainer_image::{ChainId, DiffId, Image, OpenOptions, Platform};
use vcontainer_store::{StoreKind, StoreView, read_store};

use crate::args::{Format, Inspect};
use crate::output::{bytes, columns, count, json, print, warn};
use crate::progress::short;

/// Where engines keep their stores in a root filesystem without configuration.
const STORES: [&str; 3] = [
    "var/lib/docker",
    "var/lib/containers/storage",
    "var/lib/containerd",
];

/// One thing that was inspected. This is the form of `--format json` (an array of these).
#[derive(Debug, Serialize)]
struct Inspected {
    /// Where it is.
    path: PathBuf,
    /// `docker-overlay2`, `podman-overlay`, `docker-containerd` or `image`.
    kind: &'static str,
    images: Vec<ImageRow>,
    layers: Vec<LayerRow>,
}

#[derive(Debug, Serialize)]
struct ImageRow {
    /// The image's ID: its configuration's digest, or what the engine uses.
    id: String,
    names: Vec<String>,
    digests: Vec<String>,
    platform: String,
    created: Option<String>,
    /// Bytes of all its layers.
    size: u64,
    /// Bytes of those layers that other images have too.
    shared: u64,
    /// The IDs of its layers, base first.
    layers: Vec<String>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LayerRow {
    id: String,
    diff_id: Option<String>,
    /// Bytes: uncompressed in a store, the blob's in an image.
    size: u64,
    /// How many images have it.
    images: usize,
}

/// Shows what is at a path.
///
/// # Errors
/// Nothing that is known, or something damaged.
pub fn run(args: &Inspect) -> Result<()> {
    let found = inspect(&args.path)?;
    for (path, problem) in problems(&found) {
        warn(&format!("{}: {problem}", path.display()));
    }
    print(&match args.format {
        Format::Table => found.iter().map(table).collect::<Vec<_>>().join("\n"),
        Format::Json => json(&found)?,
    })
}

fn inspect(path: &Path) -> Result<Vec<Inspected>> {
    if let Some(view) = store(path)? {
        return Ok(vec![of_store(path, view)]);
    }
    let mut found = Vec::new();
    for store_path in STORES.iter().map(|store| path.join(store)) {
        if let Some(view) = store(&store_path)? {
            found.push(of_store(&store_path, view));
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let any = OpenOptions::new(Platform::new("linux", std::env::consts::ARCH, None));
    let images = vcontainer_image::list(path, &any).with_context(|| {
        format!(
            "`{}` is no store, no image and no root filesystem with a store",
            path.display()
        )
    })?;
    Ok(vec![of_images(path, &images)])
}

/// The store at a path; `None` if there is something else, or nothing.
fn store(path: &Path) -> Result<Option<StoreView>> {
    match read_store(path) {
        Ok(view) => Ok(Some(view)),
        Err(vcontainer_store::StoreError::NotAStore(_)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot inspect `{}`", path.display())),
    }
}

fn of_store(path: &Path, view: StoreView) -> Inspected {
    let by_id: BTreeMap<&str, _> = view
        .layers
        .iter()
        .map(|layer| (layer.id.as_str(), layer))
        .collect();
    let images = view.images.iter().map(|image| {
        let shared = image.layers.iter().filter_map(|id| by_id.get(id.as_str()));
        ImageRow {
            id: image.id.clone(),
            names: image.names.clone(),
            digests: image.digests.clone(),
            platform: image.platform.clone(),
            created: image.created.clone(),
            size: image.size,
            shared: shared
                .filter(|layer| layer.images > 1)
                .map(|layer| layer.size)
                .sum(),
            layers: image.layers.clone(),
            problems: image.problems.clone(),
        }
    });
    Inspected {
        path: path.to_owned(),
        kind: match view.kind {
            StoreKind::DockerOverlay2 => "docker-overlay2",
            StoreKind::PodmanOverlay => "podman-overlay",
            StoreKind::DockerContainerd => "docker-containerd",
        },
        images: images.collect(),
        layers: view
            .layers
            .iter()
            .map(|layer| LayerRow {
                id: layer.id.clone(),
                diff_id: layer.diff_id.map(|digest| digest.to_string()),
                size: layer.size,
                images: layer.images,
            })
            .collect(),
    }
}

fn of_images(path: &Path, images: &[Image]) -> Inspected {
    let chains = |image: &Image| {
        let diff_ids: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
        ChainId::chain(&diff_ids)
    };
    let mut layers: BTreeMap<ChainId, LayerRow> = BTreeMap::new();
    for image in images {
        for (chain, layer) in chains(image).into_iter().zip(&image.layers) {
            let row = layers.entry(chain).or_insert_with(|| LayerRow {
                id: chain.0.to_string(),
                diff_id: Some(layer.diff_id.0.to_string()),
                size: layer.size,
                images: 0,
            });
            row.images += 1;
        }
    }
    let rows = images.iter().map(|image| {
        let shared = chains(image).into_iter().filter_map(|chain| layers.get(&chain));
        ImageRow {
            id: image.config.digest.to_string(),
            names: image.names.iter().map(ToString::to_string).collect(),
            digests: vec![image.manifest.digest.to_string()],
            platform: image.platform.to_string(),
            created: image.config_view.created.clone(),
            size: image.layers.iter().map(|layer| layer.size).sum(),
            shared: shared
                .filter(|layer| layer.images > 1)
                .map(|layer| layer.size)
                .sum(),
            layers: chains(image).iter().map(|chain| chain.0.to_string()).collect(),
            problems: Vec::new(),
        }
    });
    Inspected {
        path: path.to_owned(),
        kind: "image",
        images: rows.collect(),
        layers: layers.into_values().collect(),
    }
}

fn problems(found: &[Inspected]) -> impl Iterator<Item = (&Path, &String)> {
    found.iter().flat_map(|inspected| {
        let images = inspected.images.iter();
        images.flat_map(|image| {
            image
                .problems
                .iter()
                .map(|problem| (inspected.path.as_path(), problem))
        })
    })
}

fn table(inspected: &Inspected) -> String {
    let id = |id: &str| short(id.strip_prefix("sha256:").unwrap_or(id)).to_owned();
    let header = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut images = vec![header(&["IMAGE", "ID", "PLATFORM", "LAYERS", "SIZE", "SHARED"])];
    for image in &inspected.images {
        let names = match image.names.is_empty() {
            true => vec!["<none>".to_owned()],
            false => image.names.clone(),
        };
        for name in names {
            images.push(vec![
                name,
                id(&image.id),
                image.platform.clone(),
                image.layers.len().to_string(),
                bytes(image.size),
                bytes(image.shared),
            ]);
        }
    }
    let mut layers = vec![header(&["LAYER", "CONTENT", "SIZE", "IMAGES"])];
    for layer in &inspected.layers {
        let content = layer.diff_id.as_deref().map_or_else(|| "-".to_owned(), id);
        layers.push(vec![
            id(&layer.id),
            content,
            bytes(layer.size),
            layer.images.to_string(),
        ]);
    }
    let total: u64 = inspected.layers.iter().map(|layer| layer.size).sum();
    format!(
        "{} ({})\n\n{}\n{}\n{}, {}, {}\n",
        inspected.path.display(),
        inspected.kind,
        columns(&images),
        columns(&layers),
        count(inspected.images.len(), "image"),
        count(inspected.layers.len(), "layer"),
        bytes(total)
    )
}
