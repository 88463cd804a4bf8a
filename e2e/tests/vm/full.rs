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
    // The template lies on another file system.
    ensure!(machine.images()?.is_empty());
    let first = import(&machine, 1, 3_000_000)?;
    during_import(&machine, &small, &first).context("during an import")?;
    during_suspend(&machine, &small, std::slice::from_ref(&first)).context("during a suspend")?;
    at_the_first_start(&machine, &small).context("at the first start")?;
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
    let alone = machine.person.alone();
    alone.with_context(|| format!("after {words:?}"))
}

fn during_import(machine: &Machine<'_>, small: &Small, first: &Imported) -> Result<()> {
    small.fill(2 << 20)?;
    let (words, second) = machine.image(2, 12_000_000, Way::Vimport)?;
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
    let told = |why: &str| {
        format!(
            "[vpdmn] error: suspending the machine: the machine could not be suspended ({why}); the next command boots \
             it from its disk\n"
        )
    };
    // There is no room for what the machine needs to go on.
    machine.has(images)?;
    small.fill(0)?;
    let devices = machine.state.join("devices.new");
    let why = format!(
        "writing {}: No space left on device (os error 28)",
        devices.display()
    );
    fails(machine, &["vmemres", "stop"], &told(&why))?;
    small.make_room()?;
    machine.has(images)?;
    // There is none for what the guest has still to write, and writes only when it is told to.
    let lazy =
        "mount -o remount,commit=3600 /var/lib/containers && echo 0 > /proc/sys/vm/dirty_writeback_centisecs";
    machine.command(&["vshell"]).output_with(lazy.as_bytes())?;
    small.fill(0)?;
    machine
        .command(&["vshell"])
        .output_with(b"head -c 2000000 /dev/urandom > /var/lib/containers/unwritten")?;
    fails(
        machine,
        &["vmemres", "stop"],
        &told(&format!("the machine ended: {FULL}")),
    )?;
    small.make_room()?;
    machine.has(images)
}

/// There is no room for the memory of a second machine, and nothing of it stays to take what room there is.
fn at_the_first_start(machine: &Machine<'_>, small: &Small) -> Result<()> {
    machine.stop()?;
    let other = Machine {
        state: small.mount.path().join("other"),
        ..*machine
    };
    let error = format!(
        "[vpdmn] error: the aarch64 machine cannot be started\n  caused by: reserving 1024 MiB for the machine's memory \
         (see --memory) in {}: No space left on device (os error 28)\n",
        other.state.join("memory").display()
    );
    fails(&other, &["images"], &error)?;
    let left = names(&other.state)?;
    ensure!(
        left.iter()
            .map(String::as_str)
            .eq(["lock", "qemu.log", "state.json"]),
        "{left:?}"
    );
    other.command(&["clean"]).output()?;
    ensure!(!other.state.exists());
    Ok(())
}
