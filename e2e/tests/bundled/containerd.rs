//! containerd's image store, as Docker uses it with `features.containerd-snapshotter`.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::{Engine, Saved};
use e2e::layout::{Compression, docker_archive};
use e2e::machine::{Builder, scratch_directory};
use e2e::tool::Target;
use e2e::tree;
use e2e::trials::Trials;

use crate::deviations;
use crate::fixture::Images;
use crate::questions;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "containerd_shows_what_the_source_has", move || {
        shows(suite)
    });
    trials.engine(suite, "containerd_sees_the_tree_of_its_own_import", move || {
        same_tree(suite)
    });
    trials.engine(suite, "containerd_commits_and_starts_again", move || {
        commits(suite)
    });
    trials.engine(suite, "containerd_pulls_only_what_is_new", move || pulls(suite));
    trials.engine(suite, "containerd_removes_everything", move || removes(suite));
}

fn bundled(suite: Suite, compression: Compression, entries: &[&str]) -> Result<(Images, Target)> {
    let images = Images::new(suite, compression)?;
    let target = Target::new(suite)?;
    let configuration = target.path().join("etc/docker");
    fs::create_dir_all(&configuration)?;
    fs::write(
        configuration.join("daemon.json"),
        r#"{"features": {"containerd-snapshotter": true}}"#,
    )?;
    let options = [
        "--arch",
        "x86_64",
        "--docker-store",
        "containerd",
        "--images",
        &images.option(),
    ];
    target.bundle(&[&options, entries].concat())?;
    Ok((images, target))
}

fn shows(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Zstd, &["probe:docker", "derived:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    for (name, image, blobs) in [
        ("probe", &images.probe, &images.probe_blobs),
        ("derived", &images.derived, &images.derived_blobs),
    ] {
        // Here an image is known by its manifest, and is saved with the blobs that were shipped.
        questions::inspect(&docker, name, image, &blobs.digest)?;
        questions::listed_by_digest(&docker, name, &blobs.digest)?;
        let expected = Saved {
            config: blobs.config.clone(),
            layers: blobs.layers.clone(),
        };
        assert_eq!(docker.save(name)?, expected);
    }
    assert_eq!(docker.run("derived", &["/bin/cat", "/derived"])?, "made on top\n");
    docker.stop()
}

fn same_tree(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Gzip, &["probe:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    let (docker_root, containerd_root) = (scratch_directory()?, scratch_directory()?);
    let genuine_machine = Builder::new(suite)
        .bind(docker_root.path(), "/var/lib/docker")
        .bind(containerd_root.path(), "/var/lib/containerd")
        .start()?;
    let genuine = Docker::start(&genuine_machine, Store::Containerd)?;
    fs::write(
        genuine_machine.shared().join("probe.tar"),
        docker_archive(&images.probe, "probe:latest"),
    )?;
    genuine.cli(&["load", "-i", "/shared/probe.tar"])?;
    let differences = tree::differences(
        &deviations::apply(genuine.running_tree("probe")?),
        &docker.running_tree("probe")?,
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn commits(suite: Suite) -> Result<()> {
    let (_images, target) = bundled(suite, Compression::Gzip, &["probe:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    docker.cli(&[
        "run",
        "--network=none",
        "--name",
        "changed",
        "probe",
        "/bin/sh",
        "-c",
        "echo more > /more",
    ])?;
    docker.cli(&["commit", "changed", "committed"])?;
    assert_eq!(
        docker.run("committed", &["/bin/cat", "/more", "/opq/three"])?,
        "more\nthree\n"
    );
    docker.stop()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    for name in ["probe", "committed"] {
        assert_eq!(
            docker.run(name, &["/bin/cat", "/opq/three"])?,
            "three\n",
            "{name} after a second start"
        );
    }
    docker.stop()
}

fn pulls(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Gzip, &["probe:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    questions::pulled_delta(&docker, &images, &[])?;
    docker.stop()
}

fn removes(suite: Suite) -> Result<()> {
    let (_images, target) = bundled(suite, Compression::Gzip, &["probe:docker", "derived:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Containerd)?;
    docker.run("derived", &["/bin/cat", "/derived"])?;
    docker.cli(&["rmi", "probe", "derived"])?;
    assert_eq!(docker.cli(&["images", "--all", "--quiet"])?, "");
    let store = target.path().join("var/lib/containerd");
    // The garbage collector comes along by itself.
    becomes_empty(&store.join("io.containerd.content.v1.content/blobs/sha256"))?;
    becomes_empty(&store.join("io.containerd.snapshotter.v1.overlayfs/snapshots"))?;
    docker.stop()
}

fn becomes_empty(directory: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        let names = questions::names(directory)?;
        if names.is_empty() {
            return Ok(());
        }
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "{} still holds {names:?}",
            directory.display()
        );
        thread::sleep(Duration::from_millis(50));
    }
}
