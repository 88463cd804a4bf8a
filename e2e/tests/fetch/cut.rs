//! Work that is cut off, and work that others do at the same time.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::mount::Mount;
use e2e::person;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, LARGE, is_error};
use crate::relay::Relay;

/// Half of a layer.
const HALF: u64 = LARGE as u64 / 2;

/// More than everything but the layer takes.
const DOCUMENTS: u64 = 64 << 10;

/// A fetch that hangs in the middle of the layer.
fn half_way(bench: &Bench, port: u16) -> Result<Child> {
    let relay = Relay::start(port, HALF)?;
    let child = bench
        .person
        .unlimited("vcontainer")
        .args([
            "fetch",
            &bench.reference("127.0.0.1", relay.port),
            "--arch=aarch64",
            "--output=out",
        ])
        .std()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting vcontainer")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while kept(bench)? < HALF - DOCUMENTS {
        ensure!(Instant::now() < deadline, "only {} bytes are kept", kept(bench)?);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// The names in the cache that are no whole blobs.
fn partials(bench: &Bench) -> Result<Vec<String>> {
    let mut names = bench.names("home/.cache/vcontainer/registry/blobs/sha256")?;
    names.retain(|name| name.rsplit('/').next().is_some_and(|name| name.contains('.')));
    Ok(names)
}

/// How much of the layer is in the cache, in bytes.
fn kept(bench: &Bench) -> Result<u64> {
    let names = partials(bench)?;
    let sizes = names.iter().filter_map(|name| fs::metadata(name).ok());
    Ok(sizes.map(|metadata| metadata.len()).sum())
}

/// Fetches the rest, and sees that it is no more than that.
fn the_rest(bench: &Bench, port: u16) -> Result<()> {
    ensure!(!bench.person.path("work/out").exists(), "nothing half-written");
    let left = partials(bench)?;
    ensure!(left.len() == 1 && left[0].ends_with(".partial"), "{left:?}");
    let kept = kept(bench)?;
    let relay = Relay::start(port, u64::MAX)?;
    let words = [
        &bench.reference("127.0.0.1", relay.port),
        "--arch=aarch64",
        "--output=out",
    ];
    let outcome = bench.fetch(&words).outcome()?;
    ensure!(
        outcome.status.success() && outcome.stderr.contains("going on after"),
        "{}",
        outcome.stderr
    );
    bench.check("out/app-1-oci", "aarch64")?;
    ensure!(
        relay.count() < LARGE as u64 - kept + (1 << 20),
        "{} bytes came again",
        relay.count()
    );
    ensure!(partials(bench)?.is_empty(), "parts are left");
    Ok(())
}

pub fn killed() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let mut child = half_way(&bench, registry.port())?;
    child.kill()?;
    child.wait()?;
    the_rest(&bench, registry.port())
}

pub fn interrupted() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let mut child = half_way(&bench, registry.port())?;
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "{status}");
    the_rest(&bench, registry.port())
}

pub fn two_at_once() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let relay = Relay::start(registry.port(), u64::MAX)?;
    let reference = bench.reference("127.0.0.1", relay.port);
    let outputs = ["one", "two", "same", "same"];
    let mut children = Vec::new();
    for output in outputs {
        let fetch = bench.person.unlimited("vcontainer");
        let words = [
            "fetch",
            &reference,
            "--quiet",
            "--arch=aarch64",
            "--output",
            output,
        ];
        children.push(fetch.args(words).std().spawn().context("starting vcontainer")?);
    }
    for mut child in children {
        ensure!(child.wait()?.success(), "one has failed");
    }
    for output in outputs {
        bench.check(&format!("{output}/app-1-oci"), "aarch64")?;
    }
    ensure!(
        relay.count() < LARGE as u64 * 3 / 2,
        "it came more than once: {} bytes",
        relay.count()
    );
    let left = bench.names("work/same")?;
    ensure!(!left.iter().any(|name| name.contains("/.vcontainer")), "{left:?}");
    Ok(())
}

pub fn files_that_cannot_grow() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let reference = bench.reference("127.0.0.1", registry.port());
    let words = [reference.as_str(), "--arch=aarch64", "--output=out"];
    let limited = bench
        .person
        .command("prlimit")
        .args([
            &format!("--fsize={HALF}"),
            "env",
            "--ignore-signal=XFSZ",
            "vcontainer",
            "fetch",
        ])
        .args(words);
    is_error(
        &limited.outcome()?,
        &["writing `", ".partial` failed", "File too large"],
    )?;
    ensure!(!bench.person.path("work/out").exists(), "nothing half-written");
    bench.fetch(&words).output()?;
    bench.check("out/app-1-oci", "aarch64")
}

pub fn disk_full() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let reference = bench.reference("127.0.0.1", registry.port());
    let small = Mount::tmpfs(bench.person.path("work/small"), "size=6m")?;
    person::give(small.path())?;
    let words = [reference.as_str(), "--arch=aarch64"];
    let cache = bench.fetch(&words).args(["--cache=small", "--output=out"]);
    is_error(
        &cache.outcome()?,
        &["writing `small/blobs/sha256/", "No space left on device"],
    )?;
    ensure!(!bench.person.path("work/out").exists(), "nothing half-written");
    fs::remove_dir_all(small.path().join("blobs"))?;
    let output = bench.fetch(&words).arg("--output=small");
    is_error(
        &output.outcome()?,
        &["small/app-1-oci", "No space left on device"],
    )?;
    let left = bench.names("work/small")?;
    ensure!(left.is_empty(), "{left:?}");
    bench.fetch(&words).arg("--output=out").output()?;
    bench.check("out/app-1-oci", "aarch64")
}
