//! `vcontainer oci cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use vcontainer_build::Event;
use vcontainer_build::cache::{Cache, Found, Health};
use vcontainer_build::config::Settings;
use vcontainer_image::Timestamp;

use super::request::Prepared;
use super::work;
use crate::args::{
    CacheArgs, CacheList, CacheLookup, CachePrune, CacheSave, CacheVerify, Format, OciCache, OciCacheCommand,
};
use crate::commands::packages::{self, own_directory};
use crate::interruption::Interruption;
use crate::output::{bytes, columns, count, json, print, tell, warn};

/// Runs a command about the layer cache.
///
/// # Errors
/// See those of the command.
pub fn run(args: &OciCache) -> Result<()> {
    match &args.command {
        OciCacheCommand::Lookup(args) => lookup(args),
        OciCacheCommand::Save(args) => save(args),
        OciCacheCommand::List(args) => list(args),
        OciCacheCommand::Prune(args) => prune(args),
        OciCacheCommand::Verify(args) => verify(args),
    }
}

/// Where the cache is.
pub(super) fn directory(args: &CacheArgs) -> Result<PathBuf> {
    // Not clap's: with an option that it read there, `--no-layer-cache` would be a contradiction.
    let named = std::env::var_os("VCONTAINER_LAYER_CACHE").filter(|directory| !directory.is_empty());
    match args.layer_cache.clone().or(named.map(PathBuf::from)) {
        Some(directory) => Ok(directory),
        None => Ok(own_directory("XDG_CACHE_HOME", ".cache")?.join("oci-layer-cache")),
    }
}

/// The cache that is there already.
fn open(args: &CacheArgs) -> Result<Cache> {
    let directory = directory(args)?;
    ensure!(
        directory.is_dir(),
        "there is no layer cache in `{}`",
        directory.display()
    );
    Ok(Cache::open(&directory, None)?)
}

/// One layer of `lookup --format json`, which prints an array of these, lowest first.
#[derive(Debug, Serialize)]
struct LookedUp {
    /// The layer's name.
    layer: String,
    /// packages, directories, files or host.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The 16 digits of the key in names of directories; null when it is not known before the layers below are there.
    key: Option<String>,
    /// Whether the layer is there.
    hit: bool,
    /// The digest of its blob.
    digest: Option<String>,
    /// The size of its blob in bytes.
    size: Option<u64>,
    /// The blob.
    blob: Option<PathBuf>,
    /// The package manager's state after this layer.
    state: Option<PathBuf>,
}

fn lookup(args: &CacheLookup) -> Result<()> {
    let prepared = Prepared::new(&args.layers)?;
    prepared.needs_cache()?;
    let (settings, annotations) = (Settings::default(), BTreeMap::new());
    let request = prepared.request(&settings, "latest", &annotations, &args.layers.output, &|| false);
    let found = vcontainer_build::lookup::lookup(&request, &mut |event| {
        packages::show(event, |text| {
            if !args.quiet {
                tell(&format!("{text}\n"));
            }
        });
    })?;
    let layers: Vec<LookedUp> = found
        .into_iter()
        .map(|looked| {
            if let Some(damage) = &looked.damage {
                warn(&damage.to_string());
            }
            let entry = looked.hit.as_ref().map(|hit| &hit.entry);
            LookedUp {
                layer: looked.name,
                kind: looked.kind,
                key: looked.key.map(|key| key.short()),
                hit: looked.hit.is_some(),
                digest: entry.map(|entry| entry.digest.to_string()),
                size: entry.map(|entry| entry.size),
                blob: looked.hit.as_ref().map(vcontainer_build::cache::Hit::blob),
                state: looked
                    .hit
                    .as_ref()
                    .and_then(vcontainer_build::cache::Hit::state_file),
            }
        })
        .collect();
    if args.format == Format::Json {
        return print(&json(&layers)?);
    }
    let mut rows = vec![
        ["LAYER", "TYPE", "KEY", "CACHE", "SIZE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(layers.into_iter().map(|layer| {
        vec![
            layer.layer,
            layer.kind.to_owned(),
            layer.key.unwrap_or_else(|| "(not known yet)".into()),
            match layer.hit {
                true => "hit".into(),
                false => "miss".into(),
            },
            layer.size.map_or_else(String::new, bytes),
        ]
    }));
    print(&columns(&rows))
}

/// The image is made, for its layers, and thrown away: what is in the cache already costs nothing.
fn save(args: &CacheSave) -> Result<()> {
    let prepared = Prepared::new(&args.layers)?;
    // In the cache's own file system, so that layers need not be copied.
    let scratch = prepared.needs_cache()?.scratch()?;
    let (settings, annotations) = (Settings::default(), BTreeMap::new());
    let target = scratch.path().join("image");
    let interruption = Interruption::watch()?;
    let is_given_up = || interruption.signal().is_some();
    let request = prepared.request(&settings, "latest", &annotations, &target, &is_given_up);
    let mut kept = BTreeSet::new();
    let mut tell = |event: Event<'_>| {
        match &event {
            Event::Hit { layer, .. } | Event::Saving { layer, .. } => drop(kept.insert((*layer).to_owned())),
            Event::NotSaved { layer, .. } => drop(kept.remove(*layer)),
            _ => {}
        }
        work::show(event, args.quiet);
    };
    interruption.while_writing(|| {
        vcontainer_build::build(&request, &mut tell).context("the layers cannot be saved")
    })?;
    let forgotten = request.layers.iter().find(|layer| !kept.contains(&layer.name));
    match forgotten {
        None => Ok(()),
        Some(layer) => bail!(
            "layer `{layer}` is not kept: nobody could tell when it is out of date. Say what it depends on with \
             --layer-input {}=…, such as the versions of all packages that come along",
            layer.name
        ),
    }
}

/// One entry of `list --format json`, which prints an array of these.
#[derive(Debug, Serialize)]
struct Listed {
    /// The entry.
    directory: PathBuf,
    /// The 16 digits of the key; null for a damaged entry, as all below.
    key: Option<String>,
    /// The layer's name.
    layer: Option<String>,
    /// The machine that it is for; may be empty.
    machine: Option<String>,
    /// The digest of its blob.
    digest: Option<String>,
    /// When it was saved, in RFC 3339.
    created: Option<String>,
    /// When it was used for the last time, in RFC 3339.
    used: String,
    /// What it takes, in bytes.
    size: u64,
    /// What is wrong with it.
    damage: Option<String>,
}

fn listed(found: Found) -> Listed {
    let time = |seconds: u64| {
        Timestamp {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanoseconds: 0,
        }
        .rfc3339()
    };
    let used = found.used.duration_since(SystemTime::UNIX_EPOCH);
    let (entry, damage) = match found.health {
        Health::Whole(entry) => (Some(entry), None),
        Health::Damaged(damage) => (None, Some(damage.fault)),
    };
    let entry = entry.as_ref();
    Listed {
        directory: found.directory,
        key: entry.map(|entry| entry.key.chars().take(16).collect()),
        layer: entry.map(|entry| entry.name.clone()),
        machine: entry.map(|entry| entry.machine.clone()),
        digest: entry.map(|entry| entry.digest.to_string()),
        created: entry.map(|entry| time(entry.created)),
        used: time(used.map_or(0, |used| used.as_secs())),
        size: found.size,
        damage,
    }
}

fn list(args: &CacheList) -> Result<()> {
    let entries: Vec<Listed> = open(&args.cache)?.list(false)?.into_iter().map(listed).collect();
    if args.format == Format::Json {
        return print(&json(&entries)?);
    }
    let total = entries.iter().map(|entry| entry.size).sum();
    let number = entries.len();
    let mut rows = vec![
        ["LAYER", "KEY", "MACHINE", "SIZE", "LAST USED"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(entries.into_iter().map(|entry| {
        vec![
            entry.layer.unwrap_or_else(|| "(damaged)".into()),
            entry.key.unwrap_or_else(|| entry.directory.display().to_string()),
            entry.machine.unwrap_or_default(),
            bytes(entry.size),
            entry.used,
        ]
    }));
    print(&format!(
        "{}{}, {}\n",
        columns(&rows),
        count(number, "layer"),
        bytes(total)
    ))
}

fn prune(args: &CachePrune) -> Result<()> {
    let gone = open(&args.cache)?.prune(args.size)?;
    let size = gone.iter().map(|found| found.size).sum();
    print(&format!(
        "{} removed, {}\n",
        count(gone.len(), "layer"),
        bytes(size)
    ))
}

fn verify(args: &CacheVerify) -> Result<()> {
    let cache = open(&args.cache)?;
    let found = cache.list(true)?;
    let damaged: Vec<_> = found
        .iter()
        .filter_map(|found| match &found.health {
            Health::Damaged(damage) => Some(damage),
            Health::Whole(_) => None,
        })
        .collect();
    for damage in &damaged {
        warn(&damage.to_string());
        if args.remove {
            ensure!(
                cache.remove(&damage.directory),
                "`{}` cannot be removed: it belongs to somebody else",
                damage.directory.display()
            );
        }
    }
    let whole = found.len() - damaged.len();
    match (damaged.len(), args.remove) {
        (0, _) => print(&format!("{}, all whole\n", count(whole, "layer"))),
        (number, true) => print(&format!(
            "{} whole, {number} damaged and removed\n",
            count(whole, "layer")
        )),
        (number, false) => bail!(
            "{number} of {} damaged: `vcontainer oci cache verify --remove` removes them",
            count(found.len(), "layer")
        ),
    }
}
