//! QEMU is missing, too old or does not work; the host has too little memory. It is told before anything is written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::{Context, Result};
use e2e::process::Command;
use e2e::trials::Trials;

use crate::bench::{Bench, CACHE, LEFT, no_start};

pub fn add(trials: &mut Trials) {
    trials.anywhere("programs::qemu_is_missing", missing);
    trials.anywhere("programs::qemu_does_not_serve", unfit);
    trials.anywhere("programs::the_host_has_too_little_memory", memory);
}

/// Somebody whose only programs are in a directory of their own.
struct Programs(Bench);

impl Programs {
    fn new() -> Result<Self> {
        let programs = Self(Bench::new()?);
        programs.0.person.directory("work/programs")?;
        Ok(programs)
    }

    /// A program of the system.
    fn link(&self, name: &str) -> Result<()> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("there is no {name}"))?;
        Ok(symlink(found, self.0.person.path("work/programs").join(name))?)
    }

    /// A program that does this.
    fn script(&self, name: &str, text: &str) -> Result<String> {
        let path = self
            .0
            .person
            .write(&format!("work/programs/{name}"), format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    }

    /// `vdkr` with these words and a cache of its own, which remembers no QEMU.
    fn vdkr(&self, words: &[&str]) -> Result<Command> {
        let person = &self.0.person;
        let cache = person.directory(&format!("work/{CACHE}"))?;
        let path = format!(
            "PATH={}:{}",
            self.0.work("programs"),
            person.path("bin").display()
        );
        let command = person.command("env").arg(path).args(["vdkr", "-a", "aarch64"]);
        Ok(command.args(words).env("XDG_CACHE_HOME", cache))
    }
}

fn missing() -> Result<()> {
    let programs = Programs::new()?;
    let told = |program: &str, package: &str| {
        no_start(&[&format!(
            "{program} was not found on PATH: install it (Debian and Ubuntu: apt install {package})"
        )])
    };
    let no_qemu = told("qemu-system-aarch64", "qemu-system-arm");
    programs
        .0
        .fails_and_leaves(programs.vdkr(&["images"])?, 125, &no_qemu, &LEFT)?;
    programs
        .0
        .fails(programs.vdkr(&["--stateless", "images"])?, 125, &no_qemu)?;
    programs.link("qemu-system-aarch64")?;
    let no_tool = told("qemu-img", "qemu-utils");
    programs.0.fails(programs.vdkr(&["images"])?, 125, &no_tool)?;
    programs
        .0
        .fails(programs.vdkr(&["--stateless", "images"])?, 125, &no_tool)
}

fn unfit() -> Result<()> {
    let programs = Programs::new()?;
    programs.link("qemu-img")?;
    let name = "qemu-system-aarch64";
    let path = programs.script(name, "echo 'QEMU emulator version 7.0.0 (old)'")?;
    programs.0.fails_and_leaves(
        programs.vdkr(&["images"])?,
        125,
        &no_start(&[&format!(
            "{path} is version 7.0.0 (old), and 7.2 or newer is needed: install that"
        )]),
        &LEFT,
    )?;
    for (script, detail) in [
        ("echo hello", "it said \"hello\""),
        (
            "echo 'error while loading shared libraries' >&2; exit 127",
            "error while loading shared libraries",
        ),
    ] {
        programs.script(name, script)?;
        programs.0.fails(
            programs.vdkr(&["images"])?,
            125,
            &no_start(&[&format!("asking {path} for its version: {detail}")]),
        )?;
    }
    // One that is new enough and ends at once: told once, and no memory is left.
    programs.script(
        name,
        "case $1 in --version) echo 'QEMU emulator version 9.0.0';; *) echo 'no such machine' >&2; exit 1;; esac",
    )?;
    let path = programs.0.person.path("home/.vdkr/aarch64");
    programs.0.fails(
        programs.vdkr(&["--stateless", "images"])?,
        125,
        &no_start(&["QEMU did not start; QEMU said: no such machine"]),
    )?;
    let outcome = programs.vdkr(&["images"])?.outcome()?;
    assert_eq!(
        outcome.stderr,
        no_start(&["QEMU did not start; QEMU said: no such machine"])
    );
    assert_eq!(outcome.status.code(), Some(125));
    programs.0.person.alone()?;
    let mut left: Vec<_> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    left.sort();
    assert_eq!(left, ["lock", "qemu.log", "state.json"]);
    Ok(())
}

fn memory() -> Result<()> {
    let bench = Bench::new()?;
    let outcome = bench.vdkr(&["--memory", "100T", "images"]).outcome()?;
    let begin =
        no_start(&["a machine with 104857600 MiB of memory needs 52428800 MiB of the host's, which has "]);
    let end = " MiB left: end other programs, or give the machine less with --memory\n";
    let left = outcome
        .stderr
        .strip_prefix(begin.trim_end_matches('\n'))
        .and_then(|rest| rest.strip_suffix(end));
    let left: u64 = left.with_context(|| format!("{outcome:?}"))?.parse()?;
    assert!(left < 52_428_800);
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(125), ""));
    bench.person.alone()?;
    assert!(!bench.person.path("home/.vdkr/aarch64/memory").exists());
    Ok(())
}
