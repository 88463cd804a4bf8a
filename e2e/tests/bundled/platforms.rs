//! One image for several platforms, with an attestation: the target's own is taken, and known by the index's digest.

use std::fs;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::layout::{Compression, Descriptor, Layout, docker_archive};
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::probe;
use e2e::tool::Target;
use e2e::trials::Trials;
use serde_json::Value;

use crate::questions;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "an_index_gives_the_platform_and_its_digest", move || {
        index(suite)
    });
    trials.engine(suite, "a_docker_archive_of_plain_layers", move || plain(suite));
}

fn index(suite: Suite) -> Result<()> {
    let directory = scratch_directory()?;
    let image = probe::image("amd64", &suite.busybox()?);
    let mut layout = Layout::create(directory.path().join("probe"))?;
    let other = layout.add(&probe::image("arm64", b"no program"), Compression::Gzip)?;
    let ours = layout.add(&image, Compression::Gzip)?;
    let attested = layout.attest(&ours)?;
    let index = layout.add_index(&[attested, other.clone(), ours.clone()])?;
    layout.name(&index, Some("latest"))?;
    let target = Target::new(suite)?;
    let images = directory.path().to_string_lossy();
    let options = ["--arch", "x86_64", "--images", &images];
    target.bundle(&[&options[..], &["probe:docker", "probe:podman"]].concat())?;

    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    known(&docker, "probe", &ours, &index)?;
    questions::listed_by_digest(&docker, "probe", &index.digest)?;
    questions::inspect(&docker, "probe", &image, &ours.config)?;
    questions::saved(&docker, "probe", &image, &ours.config)?;
    docker.stop()?;
    let podman = Podman::new(&machine)?;
    known(&podman, "localhost/probe", &ours, &index)?;
    // A pull of Podman's own lists the digest of the index too.
    let store = scratch_directory()?;
    let genuine_machine = Builder::new(suite)
        .bind(store.path(), "/var/lib/containers/storage")
        .bind(directory.path(), "/images")
        .start()?;
    let genuine = Podman::new(&genuine_machine)?;
    genuine.cli(&["pull", "--quiet", "oci:/images/probe:latest"])?;
    let id = ours.config.trim_start_matches("sha256:");
    assert_eq!(genuine.inspect(id)?["Digest"], index.digest.as_str());
    questions::listed_by_digest(&podman, "localhost/probe", &index.digest)?;
    questions::inspect(&podman, "probe", &image, &ours.config)?;
    questions::saved(&podman, "probe", &image, &ours.config)
}

/// It runs, and is found by the digest of the index.
fn known(engine: &impl Engine, name: &str, ours: &Descriptor, index: &Descriptor) -> Result<()> {
    assert_ne!(ours.digest, index.digest);
    assert_eq!(engine.run("probe", &["/bin/cat", "/opq/three"])?, "three\n");
    let by_digest = format!("{name}@{}", index.digest);
    assert_eq!(engine.inspect(&by_digest)?["Id"], engine.inspect("probe")?["Id"]);
    let reference = Value::from(by_digest);
    let digests = engine.inspect("probe")?["RepoDigests"].clone();
    assert!(
        digests.as_array().is_some_and(|list| list.contains(&reference)),
        "{reference} isn't in {digests}"
    );
    Ok(())
}

fn plain(suite: Suite) -> Result<()> {
    let directory = scratch_directory()?;
    let image = probe::image("amd64", &suite.busybox()?);
    let config = e2e::layout::digest(&image.configuration());
    let archive = directory.path().join("probe.tar");
    fs::write(&archive, docker_archive(&image, "elsewhere:1.0"))?;
    let target = Target::new(suite)?;
    let source = format!("probe={}", archive.display());
    let options = ["--arch", "x86_64", "--image", &source];
    target.bundle(&[&options[..], &["probe:docker", "probe:podman"]].concat())?;

    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    questions::inspect(&docker, "probe", &image, &config)?;
    questions::saved(&docker, "probe", &image, &config)?;
    assert_eq!(docker.run("probe", &["/bin/cat", "/opq/three"])?, "three\n");
    docker.stop()?;
    let podman = Podman::new(&machine)?;
    questions::inspect(&podman, "probe", &image, &config)?;
    questions::saved(&podman, "probe", &image, &config)?;
    assert_eq!(podman.run("probe", &["/bin/cat", "/opq/three"])?, "three\n");
    Ok(())
}
