//! `vcontainer guest build`, `vcontainer guest pack` and `vcontainer guest list`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use vcontainer_debian::host;
use vcontainer_guest::{Arch, Build, BuildEvent, Engine, GuestFiles, OpenError, Pack, build, pack};

use super::packages::{self, mirrors, own_directory};
use crate::args::{Guest, GuestBuild, GuestCommand, GuestList, GuestPack};
use crate::output::{bytes, columns, count, print, tell};

/// Who made the files, for the manifest.
const TOOL: &str = concat!("vcontainer ", env!("CARGO_PKG_VERSION"));

/// Runs a command about guest files.
///
/// # Errors
/// See [`vcontainer_guest::BuildError`]; damaged guest files with `--verify`.
pub fn run(args: &Guest) -> Result<()> {
    match &args.command {
        GuestCommand::Build(args) => build_all(args),
        GuestCommand::Pack(args) => pack_one(args),
        GuestCommand::List(args) => list(args),
    }
}

fn data_directory() -> Result<PathBuf> {
    own_directory("XDG_DATA_HOME", ".local/share")
}

/// `share/vcontainer` of the installed program, or of the checkout that it was built in.
fn installed_share() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find out where this program is")?;
    let prefix = program
        .parent()
        .and_then(Path::parent)
        .context("this program lies in no directory")?;
    Ok(prefix.join("share/vcontainer"))
}

fn build_all(args: &GuestBuild) -> Result<()> {
    let all_or = |chosen: &[Engine]| {
        if chosen.is_empty() {
            Engine::ALL.to_vec()
        } else {
            chosen.to_vec()
        }
    };
    let engines = all_or(&args.engine);
    let arches = if args.arch.is_empty() {
        Arch::ALL.to_vec()
    } else {
        args.arch.clone()
    };
    let share = args.share.clone().map_or_else(installed_share, Ok)?;
    let output = args.output.clone().map_or_else(data_directory, Ok)?;
    let cache = match &args.cache {
        Some(cache) => cache.clone(),
        None => own_directory("XDG_CACHE_HOME", ".cache")?,
    };
    let mirrors = mirrors(args.mirror.as_deref())?;
    let fetch_options = host::fetch_options()?;
    for arch in &arches {
        for engine in &engines {
            let start = Instant::now();
            let request = Build {
                engine: *engine,
                arch: *arch,
                data: share.join("guest"),
                agent: agent(&share, *arch),
                output: output.join(engine.tool()),
                cache: cache.clone(),
                mirrors: mirrors.clone(),
                keyring: args.keyring.clone(),
                fetch_options: fetch_options.clone(),
                tool: TOOL.to_owned(),
            };
            let say = say(args.quiet, *engine, *arch);
            let files = build(&request, &mut |event| show(event, &say))?;
            say(made(&files, start));
        }
    }
    Ok(())
}

fn pack_one(args: &GuestPack) -> Result<()> {
    let start = Instant::now();
    let share = args.share.clone().map_or_else(installed_share, Ok)?;
    let output = args.output.clone().map_or_else(data_directory, Ok)?;
    let (engine, arch) = (args.engine, args.arch);
    let request = Pack {
        engine,
        arch,
        data: share.join("guest"),
        agent: args.agent.clone().unwrap_or_else(|| agent(&share, arch)),
        root: args.rootfs.clone(),
        kernel: args.kernel.clone(),
        modules: args.modules.clone(),
        configuration: args.kernel_config.clone(),
        output: output.join(engine.tool()),
        tool: TOOL.to_owned(),
    };
    let say = say(args.quiet, engine, arch);
    let files = pack(&request, &mut |event| show(event, &say))?;
    say(made(&files, start));
    Ok(())
}

fn agent(share: &Path, arch: Arch) -> PathBuf {
    share.join("agent").join(arch.name()).join("vcontainer-agent")
}

/// What tells how far the guest is.
fn say(quiet: bool, engine: Engine, arch: Arch) -> impl Fn(String) {
    move |text| {
        if !quiet {
            tell(&format!("{engine} {arch}: {text}\n"));
        }
    }
}

fn made(files: &GuestFiles, start: Instant) -> String {
    let size = files.manifest().files.values().map(|file| file.size).sum();
    format!(
        "{} in {}, made in {:.0} s",
        bytes(size),
        files.directory().display(),
        start.elapsed().as_secs_f64()
    )
}

fn show(event: BuildEvent<'_>, say: impl FnOnce(String)) {
    match event {
        BuildEvent::Waiting => say("waiting for another build of the same guest".into()),
        BuildEvent::Packages(event) => packages::show(event, say),
        BuildEvent::Reading(path) => say(format!("reading {}", path.display())),
        BuildEvent::Unpacking(number) => say(format!("unpacking {}", count(number, "package"))),
        BuildEvent::Packing => say("packing the root filesystem".into()),
    }
}

fn list(args: &GuestList) -> Result<()> {
    let places = match &args.output {
        Some(directory) => vec![directory.clone()],
        None => vec![data_directory()?, installed_share()?],
    };
    let cell = |text: &str| text.to_owned();
    let mut rows = vec![
        ["TOOL", "ARCH", "STATUS", "SIZE", "ENGINE", "KERNEL", "DIRECTORY"]
            .map(cell)
            .to_vec(),
    ];
    let mut damaged = Vec::new();
    for engine in Engine::ALL {
        let directories: Vec<PathBuf> = places.iter().map(|place| place.join(engine.tool())).collect();
        for arch in Arch::ALL {
            let found = GuestFiles::find(&directories, engine, arch).and_then(|files| {
                if args.verify {
                    // Nothing is remembered: it was asked for to be read now.
                    files.verify(Path::new("/dev/null/none"))?;
                }
                Ok(files)
            });
            let mut row = vec![cell(engine.tool()), cell(arch.name())];
            match found {
                Ok(files) => {
                    let manifest = files.manifest();
                    let package = if engine == Engine::Docker {
                        "docker.io"
                    } else {
                        "podman"
                    };
                    let version = manifest.packages.get(package).map_or("unknown", String::as_str);
                    let size = manifest.files.values().map(|file| file.size).sum();
                    row.extend([cell("ready"), bytes(size), cell(version), cell(&manifest.kernel)]);
                    row.push(files.directory().display().to_string());
                }
                Err(OpenError::Missing { .. }) => row.push(cell("missing")),
                Err(error) => {
                    row.push(cell("unusable"));
                    damaged.push(format!("{error:#}", error = anyhow::Error::from(error)));
                }
            }
            rows.push(row);
        }
    }
    print(&columns(&rows))?;
    if !damaged.is_empty() {
        bail!("{}", damaged.join("\n"));
    }
    Ok(())
}
