//! Archives that real engines wrote: `docker save` in its old form (20.10) and its new one (25 and later), and
//! `podman save` in both of its archive formats.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::{Engine, Saved};
use e2e::layout::docker_archive;
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::probe;
use e2e::process::Command;
use e2e::tool::Target;
use e2e::trials::Trials;
use serde_json::Value;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "docker_save_is_bundled", move || docker_saves(suite));
    trials.engine(suite, "podman_save_docker_archive_is_bundled", move || {
        podman_saves(suite, "docker-archive")
    });
    trials.engine(suite, "podman_save_oci_archive_is_bundled", move || {
        podman_saves(suite, "oci-archive")
    });
}

/// What the engine that made the image says of it.
struct Original {
    /// The name that the archive has it under.
    name: &'static str,
    /// Digest of its configuration, in hexadecimal.
    id: String,
    /// What the engine saves.
    saved: Saved,
}

/// The image that the engine is given, and the one that it makes of it.
const NAMES: [&str; 2] = ["probe:latest", "team/made:1.0"];

fn make(engine: &impl Engine, suite: Suite) -> Result<[Original; 2]> {
    let image = probe::image("amd64", &suite.busybox()?);
    fs::write(
        engine.machine().shared().join("probe.tar"),
        docker_archive(&image, NAMES[0]),
    )?;
    engine.cli(&["load", "-i", "/shared/probe.tar"])?;
    let change = "echo more > /more; rm /data/a";
    let container = ["run", "--network=none", "--name", "changed", "probe"];
    engine.cli(&[&container[..], &["/bin/sh", "-c", change]].concat())?;
    engine.cli(&["commit", "changed", NAMES[1]])?;
    let [probe, made] = NAMES.map(|name| original(engine, name));
    let (probe, made) = (probe?, made?);
    assert_eq!(probe.saved.layers, image.diff_ids());
    assert_eq!(made.saved.layers.len(), image.layers.len() + 1);
    Ok([probe, made])
}

fn original(engine: &impl Engine, name: &'static str) -> Result<Original> {
    Ok(Original {
        name,
        id: id(engine, name)?,
        saved: engine.save(name)?,
    })
}

fn id(engine: &impl Engine, name: &str) -> Result<String> {
    let id = &engine.inspect(name)?["Id"];
    let id = id.as_str().context("an image without an Id")?;
    Ok(id.trim_start_matches("sha256:").to_owned())
}

fn docker_saves(suite: Suite) -> Result<()> {
    let data = scratch_directory()?;
    let machine = Builder::new(suite).bind(data.path(), "/var/lib/docker").start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    let originals = make(&docker, suite)?;
    docker.cli(&[&["save", "-o", "/shared/both.tar"], &NAMES[..]].concat())?;
    docker.cli(&["save", "-o", "/shared/one.tar", NAMES[1]])?;
    let listing = machine.command("tar").args(["-tf", "/shared/one.tar"]).output()?;
    // The new form is an OCI layout too.
    let has_layout = listing.lines().any(|line| line == "oci-layout");
    assert_eq!(has_layout, suite != Suite::Bookworm, "{listing}");
    docker.stop()?;
    selected(suite, &machine.shared().join("both.tar"), &originals)?;
    selected(suite, &machine.shared().join("one.tar"), &originals[1..])
}

fn podman_saves(suite: Suite, format: &str) -> Result<()> {
    let data = scratch_directory()?;
    let machine = Builder::new(suite)
        .bind(data.path(), "/var/lib/containers/storage")
        .start()?;
    let podman = Podman::new(&machine)?;
    let originals = make(&podman, suite)?;
    if format == "docker-archive" {
        let save = ["save", "--multi-image-archive", "-o", "/shared/both.tar"];
        podman.cli(&[&save[..], &NAMES[..]].concat())?;
        selected(suite, &machine.shared().join("both.tar"), &originals)?;
    }
    for mut original in originals {
        let archive = "/shared/one.tar";
        podman.cli(&["save", "--format", format, "-o", archive, original.name])?;
        let path = machine.shared().join("one.tar");
        if format == "oci-archive" {
            // Podman writes a Docker configuration anew as an OCI one: it is another image with the same layers.
            original.saved.config = configuration(&path)?;
            original.id = original.saved.config.trim_start_matches("sha256:").to_owned();
        }
        selected(suite, &path, std::slice::from_ref(&original))?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Digest of the configuration of the only image in an OCI archive.
fn configuration(archive: &Path) -> Result<String> {
    let unpacked = scratch_directory()?;
    let into = unpacked.path();
    Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(into)
        .output()?;
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(into.join(name))?)?) };
    let digest = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .context("a descriptor without a digest")
    };
    let manifest = digest(&read("index.json")?["manifests"][0]["digest"])?;
    let manifest = read(&format!("blobs/{}", manifest.replace(':', "/")))?;
    digest(&manifest["config"]["digest"])
}

/// Bundles each image of the archive for both engines, selected by its name in there and called by another one, and
/// lets them list, inspect, save and run it.
fn selected(suite: Suite, archive: &Path, originals: &[Original]) -> Result<()> {
    let scratch = scratch_directory()?;
    let mut text = String::new();
    for (number, original) in originals.iter().enumerate() {
        for runtime in ["docker", "podman"] {
            text += &format!(
                "[[container]]\nsource = \"{}\"\nselect = \"{}\"\nname = \"shop/image-{number}:2.0\"\n\
                 runtime = \"{runtime}\"\n",
                archive.display(),
                original.name,
            );
        }
    }
    let config = scratch.path().join("bundle.toml");
    fs::write(&config, text)?;
    let target = Target::new(suite)?;
    target.bundle(&["--arch", "x86_64", "--config", &config.to_string_lossy()])?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    same(&docker, originals)?;
    docker.stop()?;
    same(&Podman::new(&machine)?, originals)
}

fn same(engine: &impl Engine, originals: &[Original]) -> Result<()> {
    let list = engine.cli(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    assert_eq!(list.lines().count(), originals.len(), "{list}");
    for (number, original) in originals.iter().enumerate() {
        let name = format!("shop/image-{number}:2.0");
        assert!(
            list.lines()
                .any(|line| line.trim_start_matches("localhost/") == name),
            "{name} isn't in {list}"
        );
        assert_eq!(id(engine, &name)?, original.id, "{name}");
        assert_eq!(engine.save(&name)?, original.saved, "{name}");
        let expected = if original.name == NAMES[1] {
            "more\n"
        } else {
            "three\n"
        };
        let file = if original.name == NAMES[1] {
            "/more"
        } else {
            "/opq/three"
        };
        assert_eq!(engine.run(&name, &["/bin/cat", file])?, expected);
    }
    Ok(())
}
