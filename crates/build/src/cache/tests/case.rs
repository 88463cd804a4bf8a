//! Builds whose every input can be changed, over one cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use vcontainer_image::{Compression, Platform};

use crate::cache::Cache;
use crate::compress::Method;
use crate::config::Settings;
use crate::definition::{Definition, LayerContent};
use crate::key::Inputs;
use crate::layer::Times;
use crate::lookup::lookup;
use crate::{Built, Error, Event, Request, build, scan};

/// A build whose every input can be changed.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) layers: Vec<&'static str>,
    /// The text of `/opt/app/file` in the root filesystem.
    pub(super) text: &'static str,
    pub(super) mtime: u64,
    pub(super) inputs: Inputs,
    pub(super) platform: Platform,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) epoch: Option<i64>,
    pub(super) threads: usize,
    /// Names of the folder and of the image.
    pub(super) folder: &'static str,
    pub(super) name: &'static str,
    pub(super) author: &'static str,
}

impl Case {
    pub(super) fn new() -> Self {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            layers: vec![
                "base:packages:base-files+busybox",
                "app:directories:/opt/app",
                "conf:files:/opt/app/file",
            ],
            text: "text",
            mtime: 1_000,
            inputs: Inputs {
                machine: "qemuarm64".into(),
                tune: "cortexa57".into(),
                versions: [("base-files", "3.0.14"), ("busybox", "1.37.0")].map(pair).into(),
                layers: [("base".to_owned(), vec!["hash of a task".to_owned()])].into(),
            },
            platform: Platform::new("linux", "arm64", None),
            compression: Compression::Gzip,
            level: None,
            epoch: Some(500),
            threads: 2,
            folder: "work",
            name: "image",
            author: "me",
        }
    }
}

/// What a build said: hits, misses, damage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) hits: Vec<String>,
    pub(super) misses: Vec<String>,
    pub(super) damage: Vec<String>,
}

pub(super) struct Bench {
    pub(super) directory: TempDir,
    pub(super) cache: Cache,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache"), None).unwrap();
        Self { directory, cache }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes the request of a case. The root filesystem after packages were installed is only there for builds that must
    /// install them.
    pub(super) fn with<T>(&self, case: &Case, is_installed: bool, act: impl FnOnce(&Request<'_>) -> T) -> T {
        let folder = self.path(case.folder);
        for root in ["root/opt/app", "installed/etc"] {
            fs::create_dir_all(folder.join(root)).unwrap();
        }
        let file = folder.join("root/opt/app/file");
        fs::write(&file, case.text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(case.mtime);
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::write(folder.join("installed/etc/version"), "of the packages").unwrap();
        fs::create_dir_all(folder.join("installed/var/lib/dpkg")).unwrap();
        fs::write(folder.join("installed/var/lib/dpkg/status"), "state").unwrap();
        let root = scan::directory(&folder.join("root")).unwrap();
        let layers: Vec<Definition> = case.layers.iter().map(|text| text.parse().unwrap()).collect();
        let installed: BTreeMap<String, PathBuf> = layers
            .iter()
            .filter(|layer| is_installed && matches!(layer.content, LayerContent::Packages(_)))
            .map(|layer| (layer.name.clone(), folder.join("installed")))
            .collect();
        let states = [("base".to_owned(), b"state".to_vec())].into();
        let settings = Settings {
            author: Some(case.author.into()),
            ..Settings::default()
        };
        let request = Request {
            root: Some(&root),
            base: None,
            layers: &layers,
            packages: None,
            installed: &installed,
            states: &states,
            inputs: &case.inputs,
            cache: Some(&self.cache),
            is_given_up: &|| false,
            settings: &settings,
            platform: &case.platform,
            method: Method::new(case.compression, case.level).unwrap(),
            threads: case.threads,
            times: Times { epoch: case.epoch },
            tag: "latest",
            annotations: &BTreeMap::new(),
            target: &folder.join(case.name),
        };
        act(&request)
    }

    /// Looks up and builds.
    pub(super) fn run(&self, case: &Case, is_installed: bool) -> Result<(Built, Said), Error> {
        self.with(case, is_installed, |request| {
            // What is looked up before is what the build finds.
            let looked = lookup(request, &mut |_| ())?;
            let mut said = Said::default();
            let built = build(request, &mut |event| match event {
                Event::Hit { layer, .. } => said.hits.push(layer.into()),
                Event::Miss { layer, .. } => said.misses.push(layer.into()),
                Event::Damaged(damage) => said.damage.push(damage.fault.clone()),
                _ => {}
            })?;
            let hits: Vec<_> = looked
                .iter()
                .filter(|looked| looked.hit.is_some())
                .map(|looked| looked.name.clone())
                .collect();
            if said.damage.is_empty() && looked.iter().all(|looked| looked.key.is_some()) {
                assert_eq!(said.hits, hits);
            }
            Ok((built, said))
        })
    }

    pub(super) fn entries(&self) -> Vec<PathBuf> {
        let mut entries: Vec<_> = fs::read_dir(self.path("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        entries
    }

    pub(super) fn entry(&self, layer: &str) -> PathBuf {
        let end = format!("-{layer}");
        let mut entries = self.entries();
        entries.retain(|entry| entry.to_string_lossy().ends_with(&end));
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }
}
