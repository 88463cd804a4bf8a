//! Docker's overlay2 store.

use std::fs;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::layout::{Compression, docker_archive};
use e2e::machine::{Builder, scratch_directory};
use e2e::tool::Target;
use e2e::trials::Trials;

use crate::fixture::Images;
use crate::questions;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "docker_shows_what_the_source_has", move || shows(suite));
    trials.engine(suite, "docker_sees_the_tree_of_its_own_import", move || {
        same_tree(suite)
    });
    trials.engine(suite, "docker_builds_on_it_and_starts_again", move || {
        builds(suite)
    });
    trials.engine(suite, "docker_pulls_only_what_is_new", move || pulls(suite));
    trials.engine(suite, "docker_removes_everything", move || removes(suite));
}

fn bundled(suite: Suite, compression: Compression, entries: &[&str]) -> Result<(Images, Target)> {
    let images = Images::new(suite, compression)?;
    let target = Target::new(suite)?;
    target.bundle(&[&["--arch", "x86_64", "--images", &images.option()], entries].concat())?;
    Ok((images, target))
}

fn shows(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Zstd, &["probe:docker", "derived:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    for (name, image, blobs) in [
        ("probe", &images.probe, &images.probe_blobs),
        ("derived", &images.derived, &images.derived_blobs),
    ] {
        questions::inspect(&docker, name, image, &blobs.config)?;
        questions::listed_by_digest(&docker, name, &blobs.digest)?;
        questions::saved(&docker, name, image, &blobs.config)?;
    }
    assert_eq!(docker.run("derived", &["/bin/cat", "/derived"])?, "made on top\n");
    docker.stop()
}

fn same_tree(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Gzip, &["probe:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    let store = scratch_directory()?;
    let genuine_machine = Builder::new(suite)
        .bind(store.path(), "/var/lib/docker")
        .start()?;
    let genuine = Docker::start(&genuine_machine, Store::Overlay2)?;
    fs::write(
        genuine_machine.shared().join("probe.tar"),
        docker_archive(&images.probe, "probe:latest"),
    )?;
    genuine.cli(&["load", "-i", "/shared/probe.tar"])?;
    questions::same_as_genuine(&docker, &genuine)
}

fn builds(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, Compression::Gzip, &["probe:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    questions::built_on(&docker, &images.probe, &["--network=none"])?;
    docker.stop()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    for name in ["probe", "committed", "built"] {
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
    let docker = Docker::start(&machine, Store::Overlay2)?;
    let said = questions::pulled_delta(&docker, &images, &[])?;
    for digest in &images.probe_blobs.layers {
        let line = format!("{}: Already exists", &digest["sha256:".len()..][..12]);
        assert!(said.contains(&line), "{line:?} is missing in:\n{said}");
    }
    docker.stop()
}

fn removes(suite: Suite) -> Result<()> {
    let (_images, target) = bundled(suite, Compression::Gzip, &["probe:docker", "derived:docker"])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    docker.run("derived", &["/bin/cat", "/derived"])?;
    docker.cli(&["rmi", "probe", "derived"])?;
    assert_eq!(docker.cli(&["images", "--all", "--quiet"])?, "");
    docker.stop()?;
    let store = target.path().join("var/lib/docker");
    assert_eq!(questions::layers(&store.join("overlay2"))?, [""; 0]);
    for directory in [
        "overlay2/l",
        "image/overlay2/layerdb/sha256",
        "image/overlay2/imagedb/content/sha256",
    ] {
        assert!(
            questions::names(&store.join(directory))?.is_empty(),
            "{directory} isn't empty"
        );
    }
    let names = fs::read_to_string(store.join("image/overlay2/repositories.json"))?;
    assert_eq!(names, r#"{"Repositories":{}}"#);
    Ok(())
}
