//! Who may use a state directory: one machine at a time, of this version, for as many commands as there are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use e2e::guest;
use e2e::person::give;
use e2e::trials::Trials;
use rustix::fs::{FlockOperation, flock};
use vcontainer_guest::{Arch, Engine};

use crate::machine::Machine;

pub fn add(trials: &mut Trials) {
    trials.anywhere("state::commands_at_once_share_one_machine", at_once);
    trials.anywhere(
        "state::commands_while_a_machine_suspends_itself",
        while_it_suspends_itself,
    );
    trials.anywhere("state::that_others_hold_is_left_alone", held_by_others);
    trials.anywhere("state::of_a_newer_version_is_left_alone", newer);
}

fn at_once() -> Result<()> {
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
    let machine = Machine::new(&person, Engine::Podman, "machine")?;
    // Into an empty state, and into a suspended machine.
    for _ in 0..2 {
        together(4, || succeeds(&machine, &["vmemres", "start"]).map(drop))?;
        let words: Vec<String> = person.processes()?.into_iter().map(|(_, words)| words).collect();
        let count = |part: &str| words.iter().filter(|words| words.contains(part)).count();
        ensure!(
            (count("__supervise"), count("qemu-system-")) == (1, 1),
            "{words:?}"
        );
        machine.stop()?;
    }
    Ok(())
}

/// Who comes while the machine suspends itself starts it again, and never gets a machine that goes away.
fn while_it_suspends_itself() -> Result<()> {
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?.with("VPDMN_IDLE_TIMEOUT", "0");
    let machine = Machine::new(&person, Engine::Podman, "machine")?;
    together(3, || {
        for _ in 0..4 {
            let said = succeeds(&machine, &["images", "--quiet"])?;
            ensure!(said.is_empty(), "{said}");
        }
        Ok(())
    })?;
    person.alone()?;
    machine.stop()
}

/// Does the same several times at once.
fn together(count: usize, body: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&body)).collect();
        for thread in threads {
            thread.join().ok().context("a thread panicked")??;
        }
        Ok(())
    })
}

/// The output of a command that has nothing to complain about.
fn succeeds(machine: &Machine<'_>, words: &[&str]) -> Result<String> {
    let outcome = machine.command(words).outcome()?;
    ensure!(
        outcome.status.success() && outcome.stderr.is_empty(),
        "{outcome:#?}"
    );
    Ok(outcome.stdout)
}

fn held_by_others() -> Result<()> {
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
    let machine = Machine::new(&person, Engine::Podman, "machine")?;
    let path = machine.state.join("lock");
    let lock = File::create(&path)?;
    give(&path)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let why = format!(
        "{} is in use by another process, which does not answer: wait for it, or end it\n",
        machine.state.display()
    );
    for (words, error) in [
        (
            &["images"][..],
            "the aarch64 machine cannot be started".to_owned(),
        ),
        (
            &["clean"],
            format!("cannot remove the machine of `{}`", machine.state.display()),
        ),
    ] {
        let outcome = machine.command(words).outcome()?;
        ensure!(
            outcome.status.code() == Some(125)
                && outcome.stderr == format!("[vpdmn] error: {error}\n  caused by: {why}"),
            "{outcome:#?}"
        );
        ensure!(
            crate::machine::names(&machine.state)?
                .into_iter()
                .eq(["lock".to_owned()])
        );
    }
    drop(lock);
    machine.command(&["images"]).output()?;
    machine.stop()
}

/// The content of all files in a directory.
fn contents(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    crate::machine::names(directory)?
        .into_iter()
        .map(|name| Ok((name.clone(), fs::read(directory.join(&name))?)))
        .collect()
}

fn newer() -> Result<()> {
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
    let machine = Machine::new(&person, Engine::Podman, "machine")?;
    for name in [
        "podman-state.img",
        "memory",
        "devices",
        "devices.new",
        "console.log",
        "qemu.log",
        "pair.json",
        "something new",
    ] {
        person.write(&format!("home/machine/{name}"), format!("the {name} of tomorrow"))?;
    }
    person.write(
        "home/machine/state.json",
        r#"{"format": 2, "engine": {"of": "tomorrow"}}"#,
    )?;
    let before = contents(&machine.state)?;
    for words in [&["images"][..], &["vmemres", "start"]] {
        let outcome = machine.command(words).outcome()?;
        let why = format!(
            "{} was written by a newer version of this tool (format 2, this one knows 1): update the tool, or use \
             another directory with --state-dir",
            machine.state.display()
        );
        ensure!(
            outcome.status.code() == Some(125)
                && outcome.stdout.is_empty()
                && outcome.stderr
                    == format!("[vpdmn] error: the aarch64 machine cannot be started\n  caused by: {why}\n"),
            "{outcome:#?}"
        );
        person.alone()?;
        let mut after = contents(&machine.state)?;
        after.remove("lock");
        ensure!(after == before, "it was changed: {:?}", after.keys());
    }
    Ok(())
}
