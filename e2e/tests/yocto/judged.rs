//! What engines say of a store that the layer has filled.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::machine::{Builder, Machine};
use e2e::podman::Podman;
use e2e::tree::{self, Tree};
use vcontainer_guest::Arch;

use crate::content::Container;
use crate::example::{Example, Rootfs};

/// The release whose engines judge.
pub const SUITE: Suite = Suite::Trixie;

/// The stores of both engines.
pub const DOCKER: &str = "/var/lib/docker";
pub const PODMAN: &str = "/var/lib/containers/storage";

/// Docker takes the store of a root filesystem, with these containers in it and no others.
///
/// # Errors
/// It does not.
pub fn docker_takes(example: &Example, rootfs: &Rootfs, containers: &[Container]) -> Result<()> {
    let layers = layers(&rootfs.path(DOCKER).join("overlay2"))?;
    let machine = machine(rootfs, DOCKER)?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    takes(&docker, "", example, containers)?;
    assert_eq!(layers, once(&docker, containers)?, "layers in {DOCKER}");
    docker.stop()
}

/// The same for Podman.
///
/// # Errors
/// It does not, or says that something in its storage is damaged.
pub fn podman_takes(example: &Example, rootfs: &Rootfs, containers: &[Container]) -> Result<()> {
    let layers = layers(&rootfs.path(PODMAN).join("overlay"))?;
    let machine = machine(rootfs, PODMAN)?;
    let podman = Podman::new(&machine)?;
    podman.command().args(["system", "check"]).ends(0, "", "")?;
    takes(&podman, "localhost/", example, containers)?;
    podman.command().args(["system", "check"]).ends(0, "", "")?;
    assert_eq!(layers, once(&podman, containers)?, "layers in {PODMAN}");
    Ok(())
}

/// How many layers are in a store's directory, before any engine makes one of its own.
fn layers(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let name = entry?.file_name();
        // A machine's engine may have directories of its own beside them.
        count += usize::from(name.len() == 64 && name.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }
    Ok(count)
}

/// A machine whose store is that of a root filesystem.
///
/// # Errors
/// It cannot be started.
pub fn machine(rootfs: &Rootfs, store: &str) -> Result<Machine> {
    Builder::new(SUITE).bind(rootfs.path(store), store).start()
}

fn takes(engine: &impl Engine, prefix: &str, example: &Example, containers: &[Container]) -> Result<()> {
    let names = containers
        .iter()
        .map(|container| format!("{prefix}{}:latest", container.name));
    assert_eq!(images(engine)?, names.collect::<Vec<_>>());
    for container in containers {
        let name = container.name;
        shows(engine, example.arch, container).with_context(|| format!("looking at {name}"))?;
        let expected = container.tree(&example.busybox)?;
        let mut merged = engine.merged_tree(name)?;
        // Engines look at no archive for the mode of the root: with Podman it is 0555, with Docker 0755.
        merged.remove(".");
        same(name, &expected, &merged)?;
        let exported = exported(engine, name).with_context(|| format!("exporting {name}"))?;
        same(name, &as_exported(&expected), &as_exported(&exported))?;
        if example.arch.name() == std::env::consts::ARCH {
            let (words, printed) = container.prints;
            assert_eq!(engine.run(name, words)?, printed, "{name}");
        }
    }
    Ok(())
}

/// The names of all images, sorted; the engine lists them without a complaint.
///
/// # Errors
/// It has one.
pub fn images(engine: &impl Engine) -> Result<Vec<String>> {
    let list = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let outcome = engine.command().args(list).outcome()?;
    ensure!(outcome.stderr.is_empty(), "{outcome:?}");
    let mut names: Vec<String> = outcome.success()?.lines().map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

fn shows(engine: &impl Engine, arch: Arch, container: &Container) -> Result<()> {
    let shown = engine.inspect(container.name)?;
    assert_eq!(shown["Architecture"], arch.debian());
    assert_eq!(shown["Os"], "linux");
    let layers = shown["RootFS"]["Layers"].as_array().map(Vec::len);
    assert_eq!(layers, Some(container.layers.len()));
    let history = engine.cli(&["history", "--quiet", "--no-trunc", container.name])?;
    ensure!(
        history.lines().count() >= container.layers.len(),
        "the history of {} is shorter than its layers are many:\n{history}",
        container.name
    );
    Ok(())
}

/// The files of a container that is made and not run: its architecture may be another one.
fn exported(engine: &impl Engine, name: &str) -> Result<Tree> {
    let path = export(engine, name)?;
    let tree = tree::read_archive(File::open(&path)?);
    fs::remove_file(&path)?;
    tree
}

/// The same as a tar file.
///
/// # Errors
/// The engine cannot make or export the container.
pub fn export(engine: &impl Engine, name: &str) -> Result<PathBuf> {
    let create = ["create", "--network=none", name];
    let id = engine.cli(&create)?;
    let id = id.trim();
    engine.cli(&["export", "--output", "/shared/exported.tar", id])?;
    engine.cli(&["rm", id])?;
    Ok(engine.machine().shared().join("exported.tar"))
}

/// What an export has of a tree: no attributes of users and no time of directories; the engines add files of their own.
fn as_exported(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.retain(|path, _| !e2e::docker::is_of_engine(path));
    for entry in tree.values_mut() {
        if entry.kind == "directory" {
            entry.mtime = None;
        }
        entry.xattrs.retain(|name, _| !name.starts_with("user."));
    }
    tree
}

fn same(name: &str, expected: &Tree, found: &Tree) -> Result<()> {
    let mut expected = expected.clone();
    for entry in expected.values_mut().filter(|entry| entry.kind == "directory") {
        entry.mtime = None;
    }
    let differences = tree::differences(&expected, found);
    ensure!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    Ok(())
}

/// How many layers images have, those that several share counted once.
fn once(engine: &impl Engine, containers: &[Container]) -> Result<usize> {
    let mut chains = BTreeSet::new();
    for container in containers {
        let shown = engine.inspect(container.name)?;
        let layers: Vec<String> = serde_json::from_value(shown["RootFS"]["Layers"].clone())?;
        chains.extend((1..=layers.len()).map(|number| layers[..number].to_vec()));
    }
    let systems = chains.iter().filter(|chain| chain.len() == 1).count();
    assert_eq!(systems, 1, "all stand on the same layer");
    Ok(chains.len())
}
