//! `cargo xtask demo`: the whole way, from Debian packages to a target that starts two containers at boot, and into
//! machines where the real engines run them.

mod images;
mod machines;
mod packages;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::debian::Suite;
use e2e::process::Command;
use e2e::{cache, privilege};
use vcontainer_guest::Engine;

use crate::{agent, setup};
use images::Container;
use machines::Machines;

/// What is bundled: a name, the engine, and what starts it.
const ENTRIES: &[&str] = &["demo-clock:docker:autostart", "demo-greeter:podman:autostart"];

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    let tool = timed("building vcontainer", build_tool)?;
    timed("building the agent that boots machines", || {
        agent::run(&["--arch".into(), "aarch64".into()])
    })?;
    let home = cache::directory()?.join("demo");
    let machines = Machines::new(&home, &tool)?;
    timed(
        "making what machines with Docker and Podman boot from, out of Debian arm64 packages",
        || machines.make_guests(),
    )?;
    let packages = timed("fetching Debian arm64 packages", || {
        packages::fetch(&cache::directory()?)
    })?;
    let images = home.join("images");
    let containers = timed("making two OCI images for aarch64 from them", || {
        images::make(&images, &packages)
    })?;
    let base = timed(
        "getting a Debian 13 arm64 root filesystem with systemd, Docker and Podman",
        || Suite::TrixieArm64.path(),
    )?;
    let target = Target {
        tool,
        images,
        rootfs: home.join("rootfs"),
        state: home.join("rootfs.fakeroot"),
    };
    timed("unpacking it as the target", || target.unpack(&base))?;
    let before = size(&target.rootfs)?;

    heading(&format!(
        "vcontainer bundle --arch aarch64 --images … --rootfs … {}",
        ENTRIES.join(" ")
    ));
    let start = Instant::now();
    target.bundle()?;
    let took = start.elapsed();

    heading("What the target has now: vcontainer inspect");
    target.inspect()?;
    summary(&target, &containers, size(&target.rootfs)? - before, took);

    for container in &containers {
        let store = machines.store_of(container.engine);
        heading(&format!(
            "The store of {} goes from the target into an aarch64 machine",
            container.engine
        ));
        target.pack(container.engine, &store)?;
        machines.judge(container, &store)?;
    }
    Ok(())
}

/// The root filesystem of the demo. An ordinary user works on it under fakeroot, which keeps owners and devices in a
/// file of its own between calls.
struct Target {
    tool: PathBuf,
    images: PathBuf,
    rootfs: PathBuf,
    state: PathBuf,
}

impl Target {
    /// Makes the root filesystem anew from a tar archive.
    fn unpack(&self, archive: &Path) -> Result<()> {
        if self.rootfs.exists() {
            fs::remove_dir_all(&self.rootfs)
                .with_context(|| format!("removing {}", self.rootfs.display()))?;
        }
        fs::create_dir_all(&self.rootfs).with_context(|| format!("making {}", self.rootfs.display()))?;
        fs::write(&self.state, "").with_context(|| format!("making {}", self.state.display()))?;
        self.command("tar")
            .args([
                "--extract",
                "--preserve-permissions",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
            ])
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(&self.rootfs)
            .output()
            .map(|_| ())
    }

    fn bundle(&self) -> Result<()> {
        self.command(&self.tool)
            .args(["bundle", "--arch", "aarch64", "--images"])
            .arg(&self.images)
            .arg("--rootfs")
            .arg(&self.rootfs)
            .args(ENTRIES)
            .run()
    }

    /// Packs an engine's store as `--input-storage` takes it.
    fn pack(&self, engine: Engine, archive: &Path) -> Result<()> {
        let (directory, member) = match engine {
            Engine::Docker => ("var/lib", "docker"),
            Engine::Podman => ("var/lib/containers/storage", "."),
        };
        self.command("tar")
            .args([
                "--create",
                "--format=posix",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
            ])
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(self.rootfs.join(directory))
            .arg(member)
            .output()
            .map(|_| ())
    }

    fn inspect(&self) -> Result<()> {
        self.command(&self.tool).arg("inspect").arg(&self.rootfs).run()
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if privilege::is_root() {
            return Command::new(program);
        }
        Command::new("fakeroot")
            .arg("-i")
            .arg(&self.state)
            .arg("-s")
            .arg(&self.state)
            .arg("--")
            .arg(program)
    }
}

/// Builds the tool as its users have it.
fn build_tool() -> Result<PathBuf> {
    Command::new("cargo")
        .args(["build", "--release", "--quiet", "--package", "vcontainer"])
        .run()?;
    let metadata = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("reading `cargo metadata`")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no target directory")?;
    Ok(Path::new(target).join("release/vcontainer"))
}

fn summary(target: &Target, containers: &[Container], added: u64, took: Duration) {
    heading("Written");
    println!("{}", target.rootfs.display());
    for container in containers {
        println!(
            "  {:<14} {} layers, {}",
            container.name,
            container.diff_ids.len(),
            container.purpose
        );
    }
    println!(
        "  {:.1} MB more than before, in {:.2} s",
        added as f64 / 1e6,
        took.as_secs_f64()
    );
    if !privilege::is_root() {
        println!(
            "Owners and devices are in {}: `fakeroot -i` that file shows them, mke2fs under it keeps them.",
            target.state.display()
        );
    }
}

/// Bytes that all files below a directory take.
fn size(directory: &Path) -> Result<u64> {
    let listing = Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(directory)
        .output()?;
    listing
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("`du` didn't say how big {} is", directory.display()))
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// Runs a step and says how long it took.
fn timed<T>(what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("{what}");
    let start = Instant::now();
    let value = step().with_context(|| what.to_owned())?;
    println!("  done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(value)
}
