//! What `vcontainer bundle --tar` has written becomes the store of a machine: the real engine there lists, runs and saves
//! the images. What the machine's store is afterwards, another machine starts from.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::engine::Saved;
use e2e::process::Command;
use e2e::tree;
use e2e::trials::Trials;
use vcontainer_guest::Engine;

use crate::images::Images;
use crate::listing;

pub fn add(trials: &mut Trials) {
    for engine in Engine::ALL {
        trials.anywhere(&format!("taken::{engine}_takes_a_bundle"), move || takes(engine));
    }
}

fn takes(engine: Engine) -> Result<()> {
    let images = Images::new(engine)?;
    // One of them is compressed.
    let bundle = match engine {
        Engine::Docker => "bundle.tar",
        Engine::Podman => "bundle.tar.zst",
    };
    let entries = [images.entry("probe"), images.entry("derived")];
    images.bundle().args(["--tar", bundle]).args(&entries).output()?;
    let with = |store: &str| images.tool().args(["--input-storage", store]);
    lists(&images, with(bundle))?;
    let mut expected = listing::expected(&tree::of_layers(&images.derived.layers)?);
    expected.insert("aarch64".into());
    let run = with(bundle).args(["--storage", "from machine.tar", "run", "--rm", "--network=none"]);
    assert_eq!(prints(run, &images.shown("derived"))?, expected);
    saves(&images, with("from machine.tar"))?;
    images.person.alone()
}

/// The engine's list has both images, by the digests that they have in their layouts.
fn lists(images: &Images, command: Command) -> Result<()> {
    let outcome = command
        .args(["images", "--no-trunc", "--digests", "--format"])
        .arg("{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}")
        .outcome()?;
    let found: BTreeSet<&str> = outcome.stdout.lines().collect();
    let line = |name: &str, digest: &str, id: &str| format!("{} latest {digest} {id}", images.shown(name));
    let (probe, derived) = (&images.probe_blobs, &images.derived_blobs);
    let expected = [
        line("probe", &probe.digest, &probe.config),
        line("derived", &derived.digest, &derived.config),
    ];
    assert_eq!(
        found,
        expected.iter().map(String::as_str).collect(),
        "{outcome:?}"
    );
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""));
    Ok(())
}

/// What a container of the image prints with the script of [`listing`].
fn prints(command: Command, image: &str) -> Result<BTreeSet<String>> {
    let output = command
        .args([image, "/bin/busybox", "sh", "-c", listing::SCRIPT])
        .std()
        .stdin(Stdio::null())
        .output()
        .context("starting the tool")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && told.is_empty(),
        "{}: {told}",
        output.status
    );
    Ok(listing::printed(&output.stdout))
}

/// The engine saves both images bit by bit.
fn saves(images: &Images, command: Command) -> Result<()> {
    let several: &[&str] = match images.engine {
        Engine::Docker => &[],
        Engine::Podman => &["--multi-image-archive"],
    };
    command
        .arg("save")
        .args(several)
        .args(["-o", "saved.tar"])
        .args([images.shown("probe"), images.shown("derived")])
        .output()?;
    let mut found = Saved::read(&images.person.path("work/saved.tar"))?;
    found.sort_by_key(|(names, _)| names.clone());
    let of = |name: &str, config: &str, layers| {
        let saved = Saved {
            config: config.to_owned(),
            layers,
        };
        (vec![format!("{}:latest", images.shown(name))], saved)
    };
    let expected = [
        of("derived", &images.derived_blobs.config, images.derived.diff_ids()),
        of("probe", &images.probe_blobs.config, images.probe.diff_ids()),
    ];
    assert_eq!(found, expected);
    Ok(())
}
