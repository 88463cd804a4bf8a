//! `vcontainer bundle`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use vcontainer_bundle::config::BundleFile;
use vcontainer_bundle::execute::{Importer, Report};
use vcontainer_bundle::find::Places;
use vcontainer_bundle::grammar::{Entry, Source};
use vcontainer_bundle::plan::{Plan, PlanOptions, set_services};
use vcontainer_bundle::request::Request;
use vcontainer_bundle::target::{Target, Trust};
use vcontainer_image::{OpenOptions, Platform, Timestamp};
use vcontainer_store::{
    DirectoryOptions, DirectorySink, ImportOptions, Limits, Rootfs, Sink, StoreKind, TarCompression, TarSink,
};

use crate::args::{Bundle, ImportArg};
use crate::engine::vm_import::VmImport;
use crate::interruption::Interruption;
use crate::output::{bytes, columns, count, print, tell, warn};
use crate::progress::{Shown, short};
use crate::settings::source_date_epoch;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// Plans a bundle and carries it out.
///
/// # Errors
/// Anything that is wrong with the input, the target or the output. Nothing has changed then.
pub fn run(args: &Bundle) -> Result<()> {
    let start = Instant::now();
    let epoch = source_date_epoch()?;
    let (config, requests) = requests(args)?;
    let rootfs = args.rootfs.as_deref().map(Rootfs::open).transpose()?;
    let interruption = Interruption::watch()?;
    // Before anything of the target is read: opening it mends what an interrupted run has left there.
    let into_directory = args.tar.is_none() && !args.dry_run;
    let options = DirectoryOptions { sync: !args.no_sync };
    let parked = interruption.park(|| match &rootfs {
        Some(rootfs) if into_directory => DirectorySink::open(rootfs, options).map(Some),
        _ => Ok(None),
    })?;
    if let Some(rootfs) = rootfs.as_ref().filter(|_| !into_directory)
        && DirectorySink::was_interrupted(rootfs)?
    {
        bail!(
            "`{}` is half written: a bundle into it was interrupted. Run any bundle into it (without --tar and \
             --dry-run), which will first complete that one",
            rootfs.path().display()
        );
    }
    let trust = Trust {
        target: args.no_target_check,
        mounts: args.allow_mounted,
    };
    let target = Target::read(rootfs.clone(), trust)?;
    let platform = platform(args, &config, &target)?;
    let options = plan_options(args, config, platform.clone(), epoch)?;
    let plan = Plan::new(&requests, &target, &options)?;
    for warning in warnings(&plan) {
        warn(&warning);
    }
    if args.dry_run {
        return print(&describe(&plan, args, &platform));
    }
    let sink: Box<dyn Sink> = match (parked.begin_writing(), &args.tar) {
        (Some(sink), _) => sink,
        (None, Some(file)) => tar_sink(file, rootfs, args)?,
        (None, None) => bail!("there is nowhere to write to: give --rootfs DIR or --tar FILE"),
    };
    let import = ImportOptions {
        epoch,
        limits: Limits {
            uncompressed_bytes: args.max_layer_size,
            entries: args.max_layer_entries,
        },
        scratch: args.temp_dir.clone(),
        jobs: jobs(args),
    };
    let progress = Shown::new(args.quiet, std::io::stderr().is_terminal(), interruption.clone());
    let vm = vm_import(args, &platform)?;
    let importer = vm.as_ref().map(|vm| vm as &dyn Importer);
    let report = plan.execute(sink, &import, &progress, importer);
    progress.finish();
    let report = match (report, interruption.signal()) {
        (Err(_), Some(interrupted)) => return Err(interrupted.into()),
        (report, _) => report?,
    };
    if !args.quiet {
        tell(&summary(&report, start.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// The real engine as importer, when it is asked for.
fn vm_import(args: &Bundle, platform: &Platform) -> Result<Option<VmImport>> {
    if args.import == ImportArg::Native {
        return Ok(None);
    }
    let arch = platform
        .architecture
        .parse()
        .with_context(|| format!("--import vm has no machine for {platform}: use --import native"))?;
    Ok(Some(VmImport {
        arch,
        terminal: std::io::stderr().is_terminal() && !args.quiet,
    }))
}

/// The configuration file, if there is one, and everything that is asked for.
fn requests(args: &Bundle) -> Result<(Option<BundleFile>, Vec<Request>)> {
    let default = args.runtime.into();
    let mut requests = Vec::new();
    for text in args
        .entries
        .iter()
        .flat_map(|argument| argument.split_whitespace())
    {
        let entry: Entry = text.parse()?;
        requests.push(Request::from_entry(text, entry, default));
    }
    let config = match &args.config {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the bundle file `{}`", file.display()))?;
            let parsed = BundleFile::parse(&text, file, default)?;
            requests.extend(parsed.requests.iter().cloned());
            Some(parsed)
        }
    };
    set_services(&mut requests, &by_source("--service", &args.service)?)?;
    Ok((config, requests))
}

/// What NAME=PATH options say, every name once.
fn by_source(option: &str, given: &[(Source, PathBuf)]) -> Result<BTreeMap<Source, PathBuf>> {
    let mut map = BTreeMap::new();
    for (source, path) in given {
        if map
            .insert(source.clone(), path.clone())
            .is_some_and(|other| other != *path)
        {
            bail!("{option} names `{source}` twice, with different paths");
        }
    }
    Ok(map)
}

/// The target's platform: as it is said to be, else that of its programs.
fn platform(args: &Bundle, config: &Option<BundleFile>, target: &Target) -> Result<Platform> {
    let given = args
        .arch
        .as_ref()
        .or(config.as_ref().and_then(|config| config.arch.as_ref()));
    if let Some(name) = given {
        return Ok(Platform::for_machine(name)?);
    }
    let found = target.machine()?.and_then(|(machine, _program)| machine.arch());
    match found {
        Some(name) => Ok(Platform::for_machine(name)?),
        None => bail!("the target's architecture is not known: give --arch, such as --arch aarch64"),
    }
}

fn plan_options(
    args: &Bundle,
    config: Option<BundleFile>,
    platform: Platform,
    epoch: Timestamp,
) -> Result<PlanOptions> {
    let mut directories = args.images.clone();
    directories.extend(config.into_iter().flat_map(|config| config.images));
    if directories.is_empty() {
        directories.push(PathBuf::from("."));
    }
    let mut open = OpenOptions::new(platform);
    open.scratch = Some(args.temp_dir.clone());
    open.created = epoch;
    Ok(PlanOptions {
        places: Places {
            directories,
            given: by_source("--image", &args.image)?,
        },
        open,
        docker_store: args.docker_store.into(),
    })
}

fn tar_sink(file: &Path, rootfs: Option<Rootfs>, args: &Bundle) -> Result<Box<dyn Sink>> {
    let over = |sink: TarSink<'static>| -> Box<dyn Sink> {
        Box::new(match rootfs {
            Some(rootfs) => sink.over(rootfs),
            None => sink,
        })
    };
    let zstd = args.zstd || file.extension().is_some_and(|ending| ending == "zst");
    let compression = match zstd {
        false => TarCompression::None,
        true => TarCompression::Zstd {
            level: ZSTD_LEVEL,
            threads: u32::try_from(jobs(args)).unwrap_or(u32::MAX),
        },
    };
    if file != Path::new("-") {
        return Ok(over(TarSink::create(file, compression)?));
    }
    let out = std::io::stdout();
    if out.is_terminal() {
        bail!("a tar stream does not belong on a terminal: redirect it, or name a file with --tar FILE");
    }
    Ok(over(TarSink::new(out, compression)?))
}

/// A layer has three threads and some megabytes of its own; more than four at a time cost memory and win nothing, for
/// writing is the bottleneck by then.
const DEFAULT_JOBS: usize = 4;

fn jobs(args: &Bundle) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    args.jobs
        .map_or_else(|| processors().min(DEFAULT_JOBS), usize::from)
}

fn warnings(plan: &Plan) -> Vec<String> {
    let of_services = plan.services.iter().flat_map(|service| {
        let what = match &service.copy_of {
            Some(file) => format!("service file `{}`", file.display()),
            None => format!("container `{}`", service.container),
        };
        service
            .warnings
            .iter()
            .map(move |warning| format!("{what}: {warning}"))
    });
    plan.warnings.iter().cloned().chain(of_services).collect()
}

/// The plan, for `--dry-run`.
fn describe(plan: &Plan, args: &Bundle, platform: &Platform) -> String {
    let place = match (&args.tar, &args.rootfs) {
        (Some(tar), _) => format!("a tar stream to {}", tar.display()),
        (None, Some(rootfs)) => format!("the root filesystem {}", rootfs.display()),
        (None, None) => "nowhere".to_owned(),
    };
    let mut text = format!("Would write for {platform} into {place}:\n");
    for store in &plan.stores {
        let version = store
            .version
            .map_or(String::new(), |version| format!(" {version}"));
        let state = if store.target.existing.is_some() {
            ", extending what is there"
        } else {
            ""
        };
        text.push_str(&format!(
            "\n{}{version}: {} in {}{state}\n",
            store.runtime.engine(),
            store_kind(store.target.kind),
            store.target.root
        ));
        let rows = store.images.iter().map(|planned| {
            let image = &plan.images[planned.image];
            let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
            vec![
                format!("  {}", planned.name),
                short(&image.config.digest.hex()).to_owned(),
                count(image.layers.len(), "layer"),
                format!("{} compressed", bytes(size)),
                format!("from {}", image.origin),
            ]
        });
        text.push_str(&columns(&rows.collect::<Vec<_>>()));
    }
    if !plan.services.is_empty() {
        text.push_str("\nServices:\n");
    }
    let rows = plan.services.iter().map(|service| {
        let what = match (&service.copy_of, service.restart) {
            (Some(file), _) => format!("copy of {}", file.display()),
            (None, Some(restart)) => format!("Restart={restart}"),
            (None, None) => String::new(),
        };
        vec![
            format!("  {}", service.path),
            format!("runs {}", service.image),
            what,
        ]
    });
    text.push_str(&columns(&rows.collect::<Vec<_>>()));
    text
}

/// What was done, for people.
fn summary(report: &Report, seconds: f64) -> String {
    let mut text = String::new();
    for store in &report.stores {
        let layers = &store.import.layers;
        let written = layers.iter().filter(|layer| layer.written.is_some()).count();
        text.push_str(&format!(
            "{}: {} in {}: {}, {written} of {} written\n",
            store.runtime.engine(),
            store_kind(store.kind),
            store.root,
            count(store.import.images.len(), "image"),
            count(layers.len(), "layer")
        ));
        for image in &store.import.images {
            let size: u64 = image
                .layers
                .iter()
                .filter_map(|layer| layers.get(*layer)?.written)
                .map(|layer| layer.content_size)
                .sum();
            text.push_str(&format!(
                "  {}  {}  {} written\n",
                image.names.join(", "),
                short(&image.id.hex()),
                bytes(size)
            ));
        }
    }
    for service in &report.services {
        text.push_str(&format!("service {service}\n"));
    }
    let rate = report.written.bytes as f64 / seconds.max(0.001);
    text.push_str(&format!(
        "{} in {} entries written in {seconds:.1} s ({}/s)\n",
        bytes(report.written.bytes),
        report.written.entries,
        bytes(rate as u64)
    ));
    text
}

fn store_kind(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::DockerOverlay2 => "overlay2 store",
        StoreKind::PodmanOverlay => "overlay store",
        StoreKind::DockerContainerd => "containerd store",
    }
}
