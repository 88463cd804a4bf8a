//! Podman's overlay store.

use std::fs;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::engine::Engine;
use e2e::layout::Compression;
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::tool::Target;
use e2e::trials::Trials;

use crate::fixture::Images;
use crate::questions;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "podman_shows_what_the_source_has", move || shows(suite));
    trials.engine(suite, "podman_sees_the_tree_of_its_own_import", move || {
        same_tree(suite)
    });
    trials.engine(suite, "podman_builds_on_it", move || builds(suite));
    trials.engine(suite, "podman_pulls_only_what_is_new", move || pulls(suite));
    trials.engine(suite, "podman_removes_everything", move || removes(suite));
}

fn bundled(suite: Suite, entries: &[&str]) -> Result<(Images, Target)> {
    let images = Images::new(suite, Compression::Gzip)?;
    let target = Target::new(suite)?;
    target.bundle(&[&["--arch", "x86_64", "--images", &images.option()], entries].concat())?;
    Ok((images, target))
}

fn shows(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, &["probe:podman", "derived:podman"])?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    for (name, image, blobs) in [
        ("probe", &images.probe, &images.probe_blobs),
        ("derived", &images.derived, &images.derived_blobs),
    ] {
        questions::inspect(&podman, name, image, &blobs.config)?;
        questions::listed_by_digest(&podman, &format!("localhost/{name}"), &blobs.digest)?;
        questions::saved(&podman, name, image, &blobs.config)?;
    }
    assert_eq!(podman.run("derived", &["/bin/cat", "/derived"])?, "made on top\n");
    Ok(())
}

fn same_tree(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, &["probe:podman"])?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    let store = scratch_directory()?;
    let genuine_machine = Builder::new(suite)
        .bind(store.path(), "/var/lib/containers/storage")
        .bind(images.path(), "/images")
        .start()?;
    let genuine = Podman::new(&genuine_machine)?;
    genuine.cli(&["pull", "--quiet", "oci:/images/probe:latest"])?;
    genuine.cli(&[
        "tag",
        images.probe_blobs.config.trim_start_matches("sha256:"),
        "probe",
    ])?;
    questions::same_as_genuine(&podman, &genuine)
}

fn builds(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, &["probe:podman"])?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    // Limits that need not be raised: not every root may do that.
    let options = [
        "--isolation=chroot",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
    ];
    questions::built_on(&podman, &images.probe, &options)
}

fn pulls(suite: Suite) -> Result<()> {
    let (images, target) = bundled(suite, &["probe:podman"])?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    questions::pulled_delta(&podman, &images, &["--tls-verify=false"])?;
    Ok(())
}

fn removes(suite: Suite) -> Result<()> {
    let (_images, target) = bundled(suite, &["probe:podman", "derived:podman"])?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    podman.run("derived", &["/bin/cat", "/derived"])?;
    podman.cli(&["rmi", "probe", "derived"])?;
    assert_eq!(podman.cli(&["images", "--all", "--quiet"])?, "");
    let store = target.path().join("var/lib/containers/storage");
    assert_eq!(questions::layers(&store.join("overlay"))?, [""; 0]);
    assert!(questions::names(&store.join("overlay/l"))?.is_empty());
    for list in ["overlay-layers/layers.json", "overlay-images/images.json"] {
        assert_eq!(fs::read_to_string(store.join(list))?.trim(), "[]", "{list}");
    }
    Ok(())
}
