//! What layers an image has: options, before what the file says, and all that these name, opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use vcontainer_build::cache::Cache;
use vcontainer_build::compress::Method;
use vcontainer_build::config::Settings;
use vcontainer_build::definition::Definition;
use vcontainer_build::file::ImageFile;
use vcontainer_build::key::Inputs;
use vcontainer_build::layer::Times;
use vcontainer_build::{Request, Tree, debian_architecture, rootfs};
use vcontainer_debian::{Release, Sources, host};
use vcontainer_image::{Compression, Image, OpenOptions, Platform};

use crate::args::{CompressionArg, LayerArgs};
use crate::commands::packages::{mirrors, own_directory};
use crate::settings::given_source_date_epoch;

/// Lists of packages that are younger are not fetched again.
const LISTS: Duration = Duration::from_secs(3600);

/// All that layers are made of.
pub(super) struct Prepared {
    pub(super) file: ImageFile,
    pub(super) platform: Platform,
    pub(super) times: Times,
    layers: Vec<Definition>,
    root: Option<Tree>,
    base: Option<Image>,
    sources: Option<Sources>,
    installed: BTreeMap<String, PathBuf>,
    states: BTreeMap<String, Vec<u8>>,
    inputs: Inputs,
    cache: Option<Cache>,
    method: Method,
    threads: usize,
}

impl Prepared {
    /// Reads the file and opens what is named.
    pub(super) fn new(args: &LayerArgs) -> Result<Self> {
        let times = Times {
            epoch: given_source_date_epoch()?.map(|time| time.seconds),
        };
        let (file, mut layers) = match &args.config {
            Some(path) => read_file(path)?,
            None => (ImageFile::default(), Vec::new()),
        };
        if !args.layer.is_empty() {
            layers.clone_from(&args.layer);
        }
        vcontainer_build::definition::check(&layers)?;
        let wanted = platform(args, &file)?;
        let base = base(args, &file, wanted.as_ref())?;
        let platform = match (wanted, &base) {
            (Some(platform), _) => platform,
            (None, Some(base)) => base.config_view.platform(),
            (None, None) => {
                bail!("the image's architecture is not known: give it with --arch, such as --arch aarch64")
            }
        };
        let installed: BTreeMap<String, PathBuf> = args.installed.iter().cloned().collect();
        let mut states = BTreeMap::new();
        for (name, path) in &args.layer_state {
            let bytes = fs::read(path).with_context(|| {
                format!(
                    "the state of layer `{name}`, `{}`, cannot be read",
                    path.display()
                )
            })?;
            states.insert(name.clone(), bytes);
        }
        let said = [
            (
                "--installed",
                args.installed.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ),
            (
                "--layer-state",
                args.layer_state.iter().map(|(name, _)| name).collect(),
            ),
            (
                "--layer-input",
                args.layer_input.iter().map(|(name, _)| name).collect(),
            ),
        ];
        for (option, names) in said {
            for name in names {
                ensure!(
                    layers.iter().any(|layer| &layer.name == name),
                    "{option} is about the layer `{name}`, and there is none of this name"
                );
            }
        }
        let words = [("--machine", &args.machine), ("--tune", &args.tune)];
        for (option, text) in words {
            ensure!(
                !text.contains(char::is_control),
                "{option} has a character that no name has"
            );
        }
        let directory = args.rootfs.as_deref().or(file.rootfs.as_deref());
        Ok(Self {
            root: directory.map(|path| rootfs(path, &args.temp_dir)).transpose()?,
            sources: sources(args, &file, &platform)?,
            inputs: inputs(args),
            cache: match layers.is_empty() || args.no_layer_cache {
                true => None,
                false => cache(args)?,
            },
            method: method(args, &file)?,
            threads: args
                .threads
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            file,
            platform,
            times,
            layers,
            base,
            installed,
            states,
        })
    }

    /// The request for the image.
    pub(super) fn request<'a>(
        &'a self,
        settings: &'a Settings,
        tag: &'a str,
        annotations: &'a BTreeMap<String, String>,
        target: &'a Path,
        is_given_up: &'a dyn Fn() -> bool,
    ) -> Request<'a> {
        Request {
            root: self.root.as_ref(),
            base: self.base.as_ref(),
            layers: &self.layers,
            packages: self.sources.as_ref(),
            installed: &self.installed,
            states: &self.states,
            inputs: &self.inputs,
            cache: self.cache.as_ref(),
            is_given_up,
            settings,
            platform: &self.platform,
            method: self.method,
            threads: self.threads,
            times: self.times,
            tag,
            annotations,
            target,
        }
    }

    /// The cache, for commands that are of no use without one.
    pub(super) fn needs_cache(&self) -> Result<&Cache> {
        ensure!(
            !self.layers.is_empty(),
            "no layers are given: name them with --layer or --config"
        );
        self.cache
            .as_ref()
            .context("there is no layer cache: name one with --layer-cache")
    }
}

fn read_file(path: &Path) -> Result<(ImageFile, Vec<Definition>)> {
    let text = fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let file = ImageFile::parse(&text, path)?;
    let layers = file.layers(path)?;
    Ok((file, layers))
}

fn platform(args: &LayerArgs, file: &ImageFile) -> Result<Option<Platform>> {
    let arch = args.arch.as_ref().or(file.arch.as_ref());
    let variant = args.variant.as_ref().or(file.variant.as_ref());
    match (arch, variant) {
        (None, None) => Ok(None),
        (None, Some(variant)) => bail!("the variant `{variant}` needs an architecture: give it with --arch"),
        (Some(arch), variant) => {
            let platform = Platform::for_machine(arch)
                .with_context(|| format!("the architecture `{arch}` cannot be used"))?;
            Ok(Some(platform.with_variant(variant.map(String::as_str))))
        }
    }
}

fn method(args: &LayerArgs, file: &ImageFile) -> Result<Method> {
    let compression = match (args.compression, file.compression.as_deref()) {
        (Some(CompressionArg::None), _) => Compression::None,
        (Some(CompressionArg::Gzip), _) | (None, None) => Compression::Gzip,
        (Some(CompressionArg::Zstd), _) => Compression::Zstd,
        (None, Some(name)) => Compression::of_name(name)
            .with_context(|| format!("`compression` is `{name}`: it can be gzip, zstd or none"))?,
    };
    let level = args.level.or(file.level.filter(|_| args.compression.is_none()));
    Method::new(compression, level).context("the level of compression cannot be used")
}

/// Where packages come from, if anything says it.
fn sources(args: &LayerArgs, file: &ImageFile, platform: &Platform) -> Result<Option<Sources>> {
    let suite = args.suite.clone().or_else(|| file.packages.suite.clone());
    let feeds = match args.feed.is_empty() {
        true => file.packages.feeds.clone(),
        false => args.feed.clone(),
    };
    if suite.is_none() && feeds.is_empty() {
        return Ok(None);
    }
    for feed in &feeds {
        ensure!(
            feed.is_dir(),
            "the feed `{}` is no directory: name one with .deb files in it",
            feed.display()
        );
    }
    let architecture = debian_architecture(platform)
        .with_context(|| format!("Debian has no packages for {platform}: leave out --suite and --feed"))?;
    let is_word = |text: &String| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_'))
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && !text.ends_with('/')
    };
    if let Some(suite) = &suite {
        ensure!(is_word(suite), "`{suite}` is no name of a release");
    }
    let release = match suite {
        Some(suite) => Some(Release {
            suite,
            mirrors: mirrors(args.mirror.as_deref())?,
            keyring: args.keyring.clone(),
        }),
        None => None,
    };
    Ok(Some(Sources {
        architecture: architecture.into(),
        release,
        feeds,
        options: host::fetch_options()?,
        cache: match &args.package_cache {
            Some(cache) => cache.clone(),
            None => own_directory("XDG_CACHE_HOME", ".cache")?,
        },
        max_age: match args.refresh {
            true => Duration::ZERO,
            false => LISTS,
        },
    }))
}

fn inputs(args: &LayerArgs) -> Inputs {
    let mut layers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in &args.layer_input {
        layers.entry(name.clone()).or_default().push(text.clone());
    }
    Inputs {
        machine: args.machine.clone(),
        tune: args.tune.clone(),
        versions: args.package_version.iter().cloned().collect(),
        layers,
    }
}

/// The layer cache; `None` for a user without a home directory who names none.
fn cache(args: &LayerArgs) -> Result<Option<Cache>> {
    let limit = Some(args.layer_cache_limit).filter(|limit| *limit > 0);
    match super::cache::directory(&args.cache) {
        Ok(directory) => Ok(Some(Cache::open(&directory, limit)?)),
        Err(_) => Ok(None),
    }
}

/// The base image: by an absolute path, or by its name in the output directory.
fn base(args: &LayerArgs, file: &ImageFile, wanted: Option<&Platform>) -> Result<Option<Image>> {
    let Some(name) = args.base.as_ref().or(file.base.as_ref()) else {
        return Ok(None);
    };
    let local = |name: &str| !name.contains('/') && !name.contains(':');
    ensure!(
        Path::new(name).is_absolute() || local(name),
        "the base image `{name}` cannot be used: name one in the output directory, or an absolute path. \
         `vcontainer fetch` gets images from registries"
    );
    let path = match Path::new(name).is_absolute() {
        true => PathBuf::from(name),
        false => {
            let tag = args.base_tag.as_ref().or(file.base_tag.as_ref());
            let tag = tag.map_or("latest", String::as_str);
            super::naming::layout(&args.output, name, tag)
        }
    };
    let doing = || format!("the base image `{name}` cannot be used");
    if let Some(platform) = wanted {
        let image = vcontainer_image::open(&path, &OpenOptions::new(platform.clone()));
        return image.with_context(doing).map(Some);
    }
    // What the image is for, the base says.
    let unknown = Platform::new("linux", "unknown", None);
    let mut images = vcontainer_image::list(&path, &OpenOptions::new(unknown)).with_context(doing)?;
    match (images.pop(), images.is_empty()) {
        (Some(image), true) => Ok(Some(image)),
        (None, _) => Err(anyhow!("there is no image in `{}`", path.display())).with_context(doing),
        (Some(_), false) => Err(anyhow!(
            "`{}` has several: choose one with --arch",
            path.display()
        ))
        .with_context(doing),
    }
}
