//! `vcontainer oci build`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use vcontainer_build::compress::Method;
use vcontainer_build::config::Settings;
use vcontainer_build::layer::Times;
use vcontainer_build::{Built, Request, Tree, Unpacker, archive, scan};
use vcontainer_image::{Compression, Image, OpenOptions, Platform};

use super::naming::{link, name_and_tag};
use crate::args::{CompressionArg, OciBuild};
use crate::output::{bytes, columns, count, print};
use crate::settings::given_source_date_epoch;

/// Builds an image.
///
/// # Errors
/// See [`vcontainer_build::Error`].
pub fn run(args: &OciBuild) -> Result<()> {
    let (name, tag) = name_and_tag(&args.name)?;
    let times = Times {
        epoch: given_source_date_epoch()?.map(|time| time.seconds),
    };
    let compression = match args.compression {
        CompressionArg::None => Compression::None,
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Zstd => Compression::Zstd,
    };
    let method = Method::new(compression, args.level).context("--level cannot be used")?;
    let settings = settings(args)?;
    let wanted = args
        .arch
        .as_deref()
        .map(Platform::for_machine)
        .transpose()
        .context("--arch cannot be used")?;
    let base = base(args, wanted.as_ref())?;
    let platform = match (wanted, &base) {
        (Some(platform), _) => platform,
        (None, Some(base)) => base.config_view.platform(),
        (None, None) => {
            bail!("the image's architecture is not known: give it with --arch, such as --arch aarch64")
        }
    };
    let root = args
        .rootfs
        .as_deref()
        .map(|path| root(path, &args.temp_dir))
        .transpose()?;
    let target = args.output.join(format!("{name}-{tag}-oci"));
    let annotations = args.annotation.iter().cloned().collect();
    let built = vcontainer_build::build(
        &Request {
            root: root.as_ref(),
            base: base.as_ref(),
            layers: &args.layer,
            packages: None,
            installed: &std::collections::BTreeMap::new(),
            states: &std::collections::BTreeMap::new(),
            inputs: &vcontainer_build::key::Inputs::default(),
            cache: None,
            settings: &settings,
            platform: &platform,
            method,
            threads: args
                .threads
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            times,
            tag,
            annotations: &annotations,
            target: &target,
        },
        &mut |_| (),
    )
    .with_context(|| format!("`{}` cannot be built", target.display()))?;
    let mut suffixes = vec!["oci"];
    if args.tar {
        let directory = format!("{name}-{tag}-oci");
        for (suffix, inside) in [("oci.tar", None), ("oci-dir.tar", Some(directory.as_str()))] {
            let file = args.output.join(format!("{name}-{tag}-{suffix}"));
            archive::write(&target, inside, times, &file)
                .with_context(|| format!("`{}` cannot be written", file.display()))?;
            suffixes.push(suffix);
        }
    }
    if tag != "latest" {
        for suffix in suffixes {
            let target = format!("{name}-{tag}-{suffix}");
            link(&args.output, &format!("{name}-latest-{suffix}"), &target)?;
        }
    }
    if args.quiet {
        return Ok(());
    }
    show(&target, &platform, &built)
}

fn words(option: &str, text: Option<&String>) -> Result<Option<Vec<String>>> {
    text.map(|text| {
        shlex::split(text).with_context(|| format!("{option} `{text}` has a quote that is not closed"))
    })
    .transpose()
}

fn settings(args: &OciBuild) -> Result<Settings> {
    Ok(Settings {
        entrypoint: words("--entrypoint", args.entrypoint.as_ref())?,
        cmd: words("--cmd", args.cmd.as_ref())?,
        env: args.env.clone(),
        labels: args.label.iter().cloned().collect(),
        user: args.user.clone(),
        working_dir: args.working_dir.clone(),
        stop_signal: args.stop_signal.clone(),
        ports: args.port.iter().cloned().collect(),
        volumes: args.volume.iter().cloned().collect(),
        healthcheck: None,
        author: args.author.clone(),
    })
}

/// The base image: by an absolute path, or by its name in the output directory.
fn base(args: &OciBuild, wanted: Option<&Platform>) -> Result<Option<Image>> {
    let Some(name) = &args.base else {
        return Ok(None);
    };
    let path = match Path::new(name).is_absolute() {
        true => PathBuf::from(name),
        false => args.output.join(format!("{name}-{}-oci", args.base_tag)),
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

/// The root filesystem. The content of a tar file is unpacked into a nameless file in `scratch`.
fn root(path: &Path, scratch: &Path) -> Result<Tree> {
    let doing = || format!("the root filesystem `{}` cannot be used", path.display());
    let metadata = fs::metadata(path).with_context(doing)?;
    if metadata.is_dir() {
        return scan::directory(path).with_context(doing);
    }
    let read = || -> Result<Tree> {
        let mut file = File::open(path)?;
        let mut start = [0; 8];
        let count = std::io::Read::read(&mut file, &mut start)?;
        let compression = Compression::sniff(start.get(..count).unwrap_or_default())?;
        std::io::Seek::rewind(&mut file)?;
        let mut unpacker = Unpacker::new(scratch)?;
        unpacker.add(file, compression, &format!("`{}`", path.display()))?;
        Ok(unpacker.finish())
    };
    read().with_context(doing)
}

fn show(target: &Path, platform: &Platform, built: &Built) -> Result<()> {
    let rows: Vec<Vec<String>> = built
        .layers
        .iter()
        .map(|layer| {
            vec![
                format!("  {}", layer.name.as_deref().unwrap_or("(base)")),
                bytes(layer.size),
                layer
                    .objects
                    .map_or_else(String::new, |objects| count(objects, "object")),
                layer.digest.to_string(),
            ]
        })
        .collect();
    print(&format!(
        "{} ({platform}): {}\n{}\n{}",
        target.display(),
        count(built.layers.len(), "layer"),
        built.manifest,
        columns(&rows)
    ))
}
