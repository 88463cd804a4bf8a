//! What cannot be imported fails the bundle, and then nothing has been written.

use std::fs;

use anyhow::{Context, Result};
use e2e::layout::{Image, digest};
use e2e::person;
use e2e::process::Command;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::tree;
use e2e::trials::Trials;
use vcontainer_guest::Engine;

use crate::images::{self, Images};

pub fn add(trials: &mut Trials) {
    for engine in Engine::ALL {
        trials.anywhere(&format!("refused::{engine}_refuses_an_image"), move || {
            refuses(engine)
        });
    }
    trials.anywhere("refused::a_damaged_image", damaged);
}

/// An image that is whole and has a layer which is none: only the engine finds that out.
fn refuses(engine: Engine) -> Result<()> {
    let images = Images::new(engine)?;
    let directory = images.person.path("work/images");
    images::add(&directory, "good", &image("arm64", layer("good\n")))?;
    images::add(
        &directory,
        "bad",
        &image("arm64", b"no archive, but long enough for a header".repeat(40)),
    )?;
    person::give_all(&directory)?;
    let engine_name = match engine {
        Engine::Docker => "Docker",
        Engine::Podman => "Podman",
    };
    let bad = images.shown("bad:latest");
    fails(
        &images,
        &["good", "bad"],
        &format!(
            "error: cannot bundle for {engine_name}\n  caused by: {engine} could not import `{bad}` from images/bad: "
        ),
        "archive/tar: invalid tar header",
    )
}

/// Images that are found to be wrong before the machine is started, or on the way into it.
fn damaged() -> Result<()> {
    let images = Images::new(Engine::Docker)?;
    let directory = images.person.path("work/images");
    images::add(&directory, "good", &image("arm64", layer("good\n")))?;
    let missing = images::add(&directory, "missing", &image("arm64", layer("missing\n")))?;
    let blob = |name: &str, digest: &str| directory.join(name).join("blobs").join(digest.replace(':', "/"));
    fs::remove_file(blob("missing", &missing.layers[0]))?;
    let changed = images::add(&directory, "changed", &image("arm64", layer("changed\n")))?;
    let changed = &changed.layers[0];
    let mut bytes = fs::read(blob("changed", changed))?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("the layer is empty")? ^= 1;
    fs::write(blob("changed", changed), &bytes)?;
    images::add(&directory, "foreign", &image("amd64", layer("foreign\n")))?;
    person::give_all(&directory)?;
    let missing = &missing.layers[0];
    fails(
        &images,
        &["good", "missing"],
        &format!(
            "error: entry `missing:docker`: cannot use the image\n  caused by: the layer 1 of 1: {missing} of image \
             `images/missing` is missing (blobs/{} is not there): copy or build the image again\n",
            missing.replace(':', "/")
        ),
        "",
    )?;
    fails(
        &images,
        &["good", "foreign"],
        "error: entry `foreign:docker`: cannot use the image\n  caused by: image `images/foreign` is not for linux/arm64: \
         it is for linux/amd64\n",
        "",
    )?;
    fails(
        &images,
        &["good", "changed"],
        &format!(
            "error: cannot bundle for Docker\n  caused by: cannot import `images/changed`\n  caused by: cannot send \
             layer 1 of image `images/changed`\n  caused by: its content is {} and not {changed}: it is damaged, copy \
             or build the image again\n",
            digest(&bytes)
        ),
        "",
    )
}

/// The bundle of these images fails with an error of these words (and then some that have `engine_says`, if there is
/// any), into a tar file and into a directory, and leaves everything as it was.
fn fails(images: &Images, names: &[&str], words: &str, engine_says: &str) -> Result<()> {
    images.person.directory("work/root")?;
    let entries: Vec<String> = names.iter().map(|name| images.entry(name)).collect();
    let before = images.person.belongings()?;
    for place in [
        &["--tar", "store.tar"][..],
        &["--rootfs", "root", "--no-target-check"],
    ] {
        let outcome = vm(images, place).args(&entries).outcome()?;
        assert_eq!(
            (outcome.status.code(), outcome.stdout.as_str()),
            (Some(1), ""),
            "{outcome:?}"
        );
        let more = outcome.stderr.strip_prefix(words);
        assert!(
            more.is_some_and(|more| more.is_empty() == engine_says.is_empty() && more.contains(engine_says)),
            "expected {words}{engine_says}\nfound {}",
            outcome.stderr
        );
        images.person.alone()?;
        let differences = tree::differences(&before, &images.person.belongings()?);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    Ok(())
}

fn vm(images: &Images, place: &[&str]) -> Command {
    images.bundle().args(["--import", "vm"]).args(place)
}

fn layer(content: &str) -> Vec<u8> {
    Tarball::new(Format::Pax)
        .file("file", Meta::mode(0o644), content)
        .finish(0)
}

fn image(architecture: &str, layer: Vec<u8>) -> Image {
    Image {
        architecture: architecture.into(),
        layers: vec![layer],
        config: serde_json::json!({"Cmd": ["/none"]}),
    }
}
