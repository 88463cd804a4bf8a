//! A state directory whose file system is full: one clear error, and after room was made all is there.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::mount::Mount;
use e2e::person::{self, Person};
use e2e::trials::Trials;
use e2e::{guest, privilege};
use rustix::fs::{FallocateFlags, fallocate};
use vcontainer_guest::{Arch, Engine};

use crate::machine::{Imported, Machine, Way, names};

/// The memory of a machine, a state disk, and some room.
const BYTES: u64 = 1_700 << 20;

/// What to do about it.
const FULL: &str = "the disk that holds its state is full: make room there and try again";

pub fn add(trials: &mut Trials) {
    let mounts = match privilege::is_root() {
        true => Ok(()),
        false => Err("needs root to mount a small file system"),
    };
    trials.when(mounts, "full::disk_of_the_state", disk_of_the_state);
}

/// A small file system for states.
struct Small {
    mount: Mount,
}

impl Small {
    fn new(person: &Person) -> Result<Self> {
        let mount = Mount::ext4(person.path("small"), BYTES)?;
        person::give(mount.path())?;
        Ok(Self { mount })
    }

    fn filler(&self) -> PathBuf {
        self.mount.path().join("filler")
    }

    /// Leaves so many bytes of room.
    fn fill(&self, leave: u64) -> Result<()> {
        let file = File::create(self.filler()).context("making the filler")?;
        let (mut size, mut step) = (0, 1 << 30);
        while step >= 4096 {
            match fallocate(&file, FallocateFlags::empty(), size, step) {
                Ok(()) => size += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error).context("filling"),
            }
        }
        ensure!(size > leave, "there was only room for {size} bytes");
        file.set_len(size - leave).context("making a little room")
    }

    fn make_room(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("removing the filler")
    }
}

fn disk_of_the_state() -> Result<()> {
    let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
    let small = Small::new(&person)?;
    let machine = Machine {
        person: &person,
        engine: Engine::Podman,
        state: small.mount.path().join("state"),
    };
    let first = import(&machine, 1, 3_000_000)?;
    during_import(&machine, &small, &first)?;
    during_suspend(&machine, &small, std::slice::from_ref(&first))?;
    at_the_first_start(&machine, &small)?;
    machine.intact(&[first])?;
    machine.stop()
}

fn import(machine: &Machine<'_>, number: usize, bytes: usize) -> Result<Imported> {
    let (words, image) = machine.image(number, bytes, Way::Vimport)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    machine.command(&words).output()?;
    machine.has(std::slice::from_ref(&image))?;
    Ok(image)
}

/// Exactly this is said.
fn fails(machine: &Machine<'_>, words: &[&str], said: &str) -> Result<()> {
    let outcome = machine.command(words).outcome()?;
    ensure!(
        outcome.status.code() == Some(125) && outcome.stdout.is_empty() && outcome.stderr == said,
        "{outcome:#?}"
    );
    machine.person.alone()
}

/// It fails because of the machine, and says all of this.
fn tells(machine: &Machine<'_>, words: &[&str], said: &[&str]) -> Result<()> {
    let outcome = machine.command(words).outcome()?;
    let tells = said.iter().all(|part| outcome.stderr.contains(part));
    ensure!(
        outcome.status.code() == Some(125) && outcome.stdout.is_empty() && tells,
        "{outcome:#?}"
    );
    machine.person.alone()
}

fn during_import(machine: &Machine<'_>, small: &Small, first: &Imported) -> Result<()> {
    small.fill(8 << 20)?;
    let (words, second) = machine.image(2, 60_000_000, Way::Vimport)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let error = format!("[vpdmn] error: the machine cannot run `vimport`: the machine ended: {FULL}\n");
    fails(machine, &words, &error)?;
    small.make_room()?;
    // What had been reported is there, and what had not can be done now.
    machine.has(std::slice::from_ref(first))?;
    machine.command(&words).output()?;
    machine.intact(&[first.clone(), second])
}

fn during_suspend(machine: &Machine<'_>, small: &Small, images: &[Imported]) -> Result<()> {
    machine.has(images)?;
    small.fill(0)?;
    tells(
        machine,
        &["vmemres", "stop"],
        &[
            "No space left on device",
            "the next command boots it from its disk",
        ],
    )?;
    small.make_room()?;
    machine.has(images)
}

fn at_the_first_start(machine: &Machine<'_>, small: &Small) -> Result<()> {
    let other = Machine {
        state: small.mount.path().join("other"),
        ..*machine
    };
    tells(
        &other,
        &["images"],
        &["No space left on device", "--memory", "other/memory"],
    )?;
    let left = names(&other.state)?;
    ensure!(
        !left
            .iter()
            .any(|name| name == "memory" || name.contains("state.img")),
        "what takes room was left: {left:?}"
    );
    Ok(())
}
