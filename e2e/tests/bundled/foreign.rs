//! Images of another architecture: nobody here runs them, but real engines list, inspect and save them.

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::podman::Podman;
use e2e::tool::Target;
use e2e::trials::Trials;

use crate::fixture::Images;
use crate::questions;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "docker_saves_aarch64_images", move || docker(suite));
    trials.engine(suite, "podman_saves_aarch64_images", move || podman(suite));
}

/// The target is said to be aarch64; the engines that look at it later are not.
fn bundled(suite: Suite, entry: &str) -> Result<(Images, Target)> {
    let images = Images::foreign("arm64")?;
    let target = Target::new(suite)?;
    target.bundle(&[
        "--arch",
        "aarch64",
        "--no-target-check",
        "--images",
        &images.option(),
        entry,
    ])?;
    Ok((images, target))
}

fn docker(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, "probe:docker")?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    questions::inspect(&docker, "probe", &images.probe, &images.probe_blobs.config)?;
    questions::listed_by_digest(&docker, "probe", &images.probe_blobs.digest)?;
    questions::saved(&docker, "probe", &images.probe, &images.probe_blobs.config)?;
    docker.stop()
}

fn podman(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, "probe:podman")?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    questions::inspect(&podman, "probe", &images.probe, &images.probe_blobs.config)?;
    questions::listed_by_digest(&podman, "localhost/probe", &images.probe_blobs.digest)?;
    questions::saved(&podman, "probe", &images.probe, &images.probe_blobs.config)
}
