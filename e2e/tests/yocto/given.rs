//! Images that `cargo xtask test-yocto` has built with the real openembedded-core, before real engines: what lies in the
//! directory that [`IMAGES`] names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::podman::Podman;
use e2e::trials::Trials;
use e2e::yocto::IMAGES;
use vcontainer_guest::Arch;

use crate::example::Rootfs;
use crate::judged::{self, DOCKER, PODMAN};

/// What the test's `BUNDLED_CONTAINERS` and its bundle package put into Docker's store
/// (`meta-vcontainer/tests/test_container_cross_install.py`, `test_slow_host_image`).
const IN_DOCKER: [&str; 2] = ["autostart-test-container:latest", "container-base:latest"];
const IN_PODMAN: [&str; 1] = ["localhost/app-container-multilayer:latest"];

/// One trial for each image, called by its name. No directory, no trials: there is nothing that could be skipped.
pub fn add(trials: &mut Trials) {
    let Some(directory) = std::env::var_os(IMAGES) else {
        return;
    };
    let Ok(entries) = fs::read_dir(&directory) else {
        return;
    };
    let mut images: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    images.sort();
    for image in images {
        let name = image
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        trials.when(
            crate::possible(),
            &format!("trixie::engines_take::{name}"),
            move || taken(&image),
        );
    }
}

fn taken(image: &Path) -> Result<()> {
    let name = image.to_string_lossy();
    let rootfs = match image.extension().and_then(|ending| ending.to_str()) {
        Some("tar") => Rootfs::unpack(image)?,
        Some("ext4") => Rootfs::copy(image)?,
        _ => bail!("{name} is neither a tar nor an ext4 file"),
    };
    let arch = match name.contains("qemuarm64") {
        true => Arch::Aarch64,
        false => Arch::X86_64,
    };
    let machine = judged::machine(&rootfs, DOCKER)?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    has(&docker, &IN_DOCKER, arch).context("asking Docker")?;
    docker.stop()?;
    drop(machine);
    let machine = judged::machine(&rootfs, PODMAN)?;
    let podman = Podman::new(&machine)?;
    podman.command().args(["system", "check"]).ends(0, "", "")?;
    has(&podman, &IN_PODMAN, arch).context("asking Podman")?;
    podman.command().args(["system", "check"]).ends(0, "", "")
}

fn has(engine: &impl Engine, images: &[&str], arch: Arch) -> Result<()> {
    assert_eq!(judged::images(engine)?, images);
    for image in images {
        assert_eq!(engine.inspect(image)?["Architecture"], arch.debian(), "{image}");
        let size = fs::metadata(judged::export(engine, image)?)?.len();
        // busybox is in each of them.
        ensure!(size > 500_000, "{image} has {size} bytes of files only");
        if arch.name() == std::env::consts::ARCH {
            let words = [
                "run",
                "--rm",
                "--network=none",
                "--entrypoint",
                "/bin/echo",
                image,
                "runs",
            ];
            assert_eq!(engine.cli(&words)?, "runs\n", "{image}");
        }
    }
    Ok(())
}
