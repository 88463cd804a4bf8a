//! Docker and Podman of Debian 13, on copies of the stores that were written.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::machine::{Builder, Machine, scratch_directory};
use e2e::podman::Podman;
use e2e::process::Command;

use super::images::Container;

/// Lets each engine list, inspect and save the image that was bundled for it.
pub(super) fn ask(rootfs: &Path, containers: &[Container]) -> Result<()> {
    for container in containers {
        if container.name == "demo-clock" {
            on_copy(rootfs, "/var/lib/docker", |machine| {
                let docker = Docker::start(machine, Store::Overlay2)?;
                judge(&docker, "docker", container)?;
                docker.stop()
            })?;
        } else {
            on_copy(rootfs, "/var/lib/containers/storage", |machine| {
                judge(&Podman::new(machine)?, "podman", container)
            })?;
        }
    }
    Ok(())
}

/// An engine changes the store that it starts on, so it gets a copy.
fn on_copy(rootfs: &Path, store: &str, judge: impl FnOnce(&Machine) -> Result<()>) -> Result<()> {
    let scratch = scratch_directory()?;
    let copy = scratch.path().join("store");
    Command::new("cp")
        .arg("--archive")
        .arg(rootfs.join(store.trim_start_matches('/')))
        .arg(&copy)
        .output()?;
    judge(&Builder::new(Suite::Trixie).bind(&copy, store).start()?)
}

fn judge(engine: &impl Engine, program: &str, container: &Container) -> Result<()> {
    println!("$ {program} images --digests");
    print!("{}", engine.cli(&["images", "--digests"])?);
    let inspect = engine.inspect(container.name)?;
    println!("$ {program} image inspect {}", container.name);
    println!(
        "{} {}, {} layers, {}",
        inspect["Os"].as_str().unwrap_or_default(),
        inspect["Architecture"].as_str().unwrap_or_default(),
        inspect["RootFS"]["Layers"].as_array().map_or(0, Vec::len),
        inspect["Config"]["Entrypoint"],
    );
    println!("$ {program} save {}", container.name);
    let saved = engine.save(container.name)?;
    ensure!(
        saved.config == container.config && saved.layers == container.diff_ids,
        "{program} saved other bytes than {} has: {saved:?}",
        container.name
    );
    println!("configuration and {} layers are bit-exact\n", saved.layers.len());
    Ok(())
}
