//! `vcontainer guest build` as an ordinary user calls it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use e2e::person::Person;
use e2e::trials::Trials;
use e2e::{cache, guest, guide};
use vcontainer_guest::{Arch, Engine, GuestFiles};

fn main() -> ExitCode {
    let mut trials = Trials::new();
    trials.anywhere("two_people_make_the_same_guests", two_people_make_the_same_guests);
    trials.anywhere("one_error_names_every_mirror", one_error_names_every_mirror);
    trials.anywhere("a_read_only_output_is_told", a_read_only_output_is_told);
    trials.run()
}

/// Everything but the packages and the agent differs: place, person, time, the machine's settings. The second person
/// does what the guide says.
fn two_people_make_the_same_guests() -> Result<()> {
    let person = guest::newcomer()?
        .with("SOURCE_DATE_EPOCH", "1234567890")
        .with("TZ", "Asia/Tokyo")
        .with("LANG", "de_DE.UTF-8");
    let mut lines = String::new();
    for block in guide::blocks(&cache::checkout().join("docs/guide/guest-files.md"))? {
        if block.info == ["sh", "machine"] {
            lines.push_str(&block.text);
        }
    }
    person.command("sh").args(["-euc", &lines]).output()?;
    for engine in Engine::ALL {
        for arch in Arch::ALL {
            let made = person.path("home/.local/share/vcontainer").join(engine.tool());
            same_guest(&made, engine, arch, &person)?;
        }
    }
    person.alone()
}

/// The guest is the same as that of all tests.
fn same_guest(made: &Path, engine: Engine, arch: Arch, person: &Person) -> Result<()> {
    let first = GuestFiles::open(&guest::guest_files(engine, arch)?, engine, arch)?;
    let second = GuestFiles::open(made, engine, arch)?;
    second.verify(&person.path("tmp/memory"))?;
    // A mirror that moved on between the two gives other packages.
    if first.manifest().packages != second.manifest().packages {
        println!("the mirror has new packages since the first guest was made: nothing to compare");
        return Ok(());
    }
    for entry in fs::read_dir(first.directory())? {
        let name = entry?.file_name();
        let files = [&first, &second].map(|guest| fs::read(guest.directory().join(&name)));
        let [first, second] = files;
        ensure!(first? == second?, "{engine} {arch}: {} differs", name.display());
    }
    ensure!(
        fs::metadata(second.rootfs())?.len() < 130_000_000,
        "{engine} {arch}: the root filesystem is too large"
    );
    Ok(())
}

fn one_error_names_every_mirror() -> Result<()> {
    let person = Person::new()?;
    let empty = person.directory("work/empty")?;
    let outcome = person
        .command("vcontainer")
        .args(["guest", "build", "--engine", "docker", "--arch", "aarch64"])
        .arg("--share")
        .arg(e2e::cache::checkout().join("target/share/vcontainer"))
        .arg("--mirror")
        .arg(format!("file:{}", empty.display()))
        // This machine's own apt: one without sources.
        .env(
            "APT_CONFIG",
            person.write("work/apt.conf", "Dir::Etc \"/nonexistent\";\n")?,
        )
        .outcome()?;
    ensure!(!outcome.status.success(), "it succeeded");
    let said = &outcome.stderr;
    ensure!(
        said.contains("no mirror serves Debian trixie") && said.contains("work/empty"),
        "{said}"
    );
    ensure!(
        !person.path("home/.local/share/vcontainer/vdkr/aarch64").exists(),
        "something was made"
    );
    Ok(())
}

fn a_read_only_output_is_told() -> Result<()> {
    let person = Person::new()?;
    let outcome = person
        .command("vcontainer")
        .args([
            "guest",
            "build",
            "--engine",
            "docker",
            "--arch",
            "aarch64",
            "--output",
            "/proc/none",
        ])
        .arg("--share")
        .arg(e2e::cache::checkout().join("target/share/vcontainer"))
        .outcome()?;
    ensure!(outcome.status.code() == Some(1), "{outcome:?}");
    ensure!(
        outcome.stderr.contains("cannot make the directory `/proc/none"),
        "{}",
        outcome.stderr
    );
    Ok(())
}
