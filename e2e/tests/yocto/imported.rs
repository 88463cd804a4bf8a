//! Stores that a real engine has filled in a machine (`VCONTAINER_IMPORT = "vm"`), under pseudo, from a task of BitBake.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::guest;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

use crate::content;
use crate::example::{self, Example};
use crate::judged;

/// The machine that is emulated the fastest.
const ARCH: Arch = Arch::Aarch64;

pub fn add(trials: &mut Trials) {
    trials.when(
        crate::possible(),
        "trixie::engines_take_what_a_machine_imported",
        imports,
    );
}

fn imports() -> Result<()> {
    let both = [(Engine::Docker, ARCH), (Engine::Podman, ARCH)];
    let example = Example::new(guest::owner(&both)?, ARCH)?;
    example::share_templates(&example)?;
    let guests = guest::directory()?;
    let conf = format!(
        "VCONTAINER_IMPORT = \"vm\"\nVCONTAINER_GUEST_DIR = \"{}\"\nPSEUDO_IGNORE_PATHS .= \",{}\"\n",
        guests.display(),
        guest::shared_cache()?.display()
    );
    let rootfs = example.build("host-docker", &conf)?;
    by_a_machine(&example.top(), "host-docker")?;
    judged::docker_takes(&example, &rootfs, &[content::APP])?;
    // Now the guest files come from recipes, by a multiconfig.
    let conf = conf + "BBMULTICONFIG = \"vruntime-aarch64\"\n";
    let rootfs = example.build("host-podman", &conf)?;
    by_a_machine(&example.top(), "host-podman")?;
    let deployed = example
        .top()
        .join("tmp-vruntime-aarch64/deploy/images/qemuarm64/vpdmn/aarch64");
    ensure!(
        deployed.join("manifest.json").exists(),
        "there is nothing in {}",
        deployed.display()
    );
    judged::podman_takes(&example, &rootfs, &[content::APP])?;
    example.person.alone()
}

/// The log of do_rootfs says that it was so.
fn by_a_machine(top: &Path, image: &str) -> Result<()> {
    let log = top.join(format!("tmp/work/qemuarm64/{image}/1.0/temp/log.do_rootfs"));
    let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    ensure!(text.contains(" --import vm"), "no machine was used:\n{text}");
    Ok(())
}
