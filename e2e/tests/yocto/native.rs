//! Stores that are written as data, for both machines: BUNDLED_CONTAINERS and two bundle packages for each engine, all of
//! which share layers.

use anyhow::{Result, ensure};
use e2e::machine::Builder;
use e2e::person::Person;
use e2e::trials::Trials;
use e2e::units;
use vcontainer_guest::Arch;

use crate::content;
use crate::example::{Example, Rootfs};
use crate::judged::{self, SUITE};

/// What starts at boot, by which engine.
const UNITS: [&str; 4] = [
    "/run/systemd/generator/app-container.service",
    "/run/systemd/generator/tool-container.service",
    "/lib/systemd/system/container-app-container.service",
    "/lib/systemd/system/container-tool-container.service",
];

pub fn add(trials: &mut Trials) {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let name = format!("trixie::engines_take_what_was_built_for_{arch}");
        trials.when(crate::possible(), &name, move || taken(arch));
    }
}

fn taken(arch: Arch) -> Result<()> {
    let example = Example::new(Person::new()?, arch)?;
    let rootfs = example.build("host", "")?;
    judged::docker_takes(&example, &rootfs, &content::ALL)?;
    judged::podman_takes(&example, &rootfs, &content::ALL)?;
    services(&rootfs)?;
    ensure!(
        !rootfs.path("/usr/share/container-bundles").exists(),
        "the folder of bundle packages is still there"
    );
    example.person.alone()
}

fn services(rootfs: &Rootfs) -> Result<()> {
    let machine = Builder::new(SUITE).start()?;
    let mut files = rootfs.files("/etc/containers/systemd")?;
    files.extend(rootfs.files("/lib/systemd/system")?);
    let found = units::install(&machine, &files)?;
    assert_eq!(found, UNITS);
    units::verify(&machine, &found)
}
