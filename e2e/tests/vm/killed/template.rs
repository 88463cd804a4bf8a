//! Makers of templates that are killed: a template is whole or it is none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::guest;
use e2e::random::Random;
use rustix::process::{Pid, Signal, kill_process};
use vcontainer_guest::{Arch, Engine};

use super::{Victim, setting, strike};
use crate::machine::{Machine, finish, names};
use crate::moment::{Moment, Watch};

/// How the directories begin in which templates are made.
const MAKING: &str = ".making-";

pub fn maker() -> Result<()> {
    let seed = setting("VCONTAINER_SEED")?.unwrap_or_else(super::by_clock);
    println!("VCONTAINER_SEED={seed}");
    let mut random = Random::new(seed);
    // A cache of their own, so that there is no template yet.
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
    let cache = person.directory("cache")?;
    person.directory("cache/vcontainer")?;
    let templates = person.directory("cache/vcontainer/templates")?;
    let person = person.with("XDG_CACHE_HOME", cache);
    let machine = Machine::new(&person, Engine::Podman, "machine")?;

    // The supervisor, when the new machine is written down.
    let (client, making) = start(&machine, &templates)?;
    ensure!(
        Watch::new(&making)?.wait(Moment::Made("devices.new"), &client)?,
        "no template was made: {:?}",
        finish(client, "images")?
    );
    strike(&machine, Victim::Supervisor, Pid::from_child(&client))?.context("there is no supervisor")?;
    let outcome = finish(client, "images")?;
    ensure!(outcome.status.code() == Some(125), "{outcome:?}");
    person.alone()?;
    ensure!(
        visible(&templates)?.is_empty(),
        "a template that is not whole: {:?}",
        names(&templates)?
    );

    // QEMU, while it boots: the machine boots from its own disk then.
    let (client, making) = start(&machine, &templates)?;
    let watch = Watch::new(&making)?;
    let moment = Moment::After(Duration::from_millis(random.below(3000) as u64));
    ensure!(watch.wait(moment, &client)?, "it ended within {moment}");
    let limit = Instant::now() + Duration::from_secs(60);
    let qemu = loop {
        if let Some(qemu) = machine.qemu_in(&making)? {
            break qemu;
        }
        ensure!(Instant::now() < limit, "there is no QEMU");
    };
    kill_process(qemu, Signal::KILL).context("killing QEMU")?;
    let outcome = finish(client, "images")?;
    ensure!(
        outcome.status.success()
            && outcome
                .stderr
                .starts_with("[vpdmn] the machine boots without a template: "),
        "{outcome:?}"
    );
    // What the one before had left is gone, too.
    let left = names(&templates)?;
    ensure!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
    machine.stop()?;
    machine.command(&["clean"]).output()?;

    // The client: what it had begun goes on, and whoever comes next has it.
    let machine = Machine::new(&person, Engine::Podman, "machine")?;
    let (client, _) = start(&machine, &templates)?;
    strike(&machine, Victim::Client, Pid::from_child(&client))?;
    finish(client, "images")?;
    ensure!(machine.images()?.is_empty());
    machine.stop()?;
    let left = names(&templates)?;
    ensure!(
        visible(&templates)?.len() == 1 && !left.iter().any(|name| name.starts_with(MAKING)),
        "{left:?}"
    );
    let other = Machine::new(&person, Engine::Podman, "other")?;
    let outcome = other.command(&["--verbose", "images"]).outcome()?;
    ensure!(
        outcome.status.success()
            && outcome.stderr.contains("[vpdmn] resuming the aarch64 machine\n")
            && !outcome.stderr.contains("boot"),
        "{outcome:#?}"
    );
    other.stop()
}

/// A command that makes the template; gives the directory in which that happens.
fn start(machine: &Machine<'_>, templates: &Path) -> Result<(std::process::Child, PathBuf)> {
    let before = names(templates)?;
    let watch = Watch::new(templates)?;
    let client = machine.start(&["images"])?;
    ensure!(
        watch.wait(Moment::Begun(MAKING), &client)?,
        "no template was made: {:?}",
        finish(client, "images")?
    );
    let now = names(templates)?;
    let mut new = now.difference(&before).filter(|name| name.starts_with(MAKING));
    let making = templates.join(new.next().context("it is gone already")?);
    Ok((client, making))
}

/// Templates that machines would start from.
fn visible(templates: &Path) -> Result<BTreeSet<String>> {
    let mut all = names(templates)?;
    all.retain(|name| !name.starts_with(MAKING) && !name.ends_with(".lock"));
    Ok(all)
}
