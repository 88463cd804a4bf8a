//! `vcontainer guest build` as an ordinary user calls it.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use e2e::guest;
use e2e::person::Person;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine, GuestFiles};

fn main() -> ExitCode {
    let mut trials = Trials::new();
    trials.anywhere("two_people_make_the_same_guest", two_people_make_the_same_guest);
    trials.anywhere("one_error_names_every_mirror", one_error_names_every_mirror);
    trials.anywhere("a_read_only_output_is_told", a_read_only_output_is_told);
    trials.run()
}

/// Everything but the packages and the agent differs: place, person, time, the machine's settings.
fn two_people_make_the_same_guest() -> Result<()> {
    let (engine, arch) = (Engine::Podman, Arch::Aarch64);
    let first = guest::guest_files(engine, arch)?;
    let person = Person::new()?
        .with("SOURCE_DATE_EPOCH", "1234567890")
        .with("TZ", "Asia/Tokyo")
        .with("LANG", "de_DE.UTF-8");
    let second = guest::build(&person, engine, arch)?;
    let files = GuestFiles::open(&first, engine, arch)?;
    files.verify(&person.path("tmp/memory"))?;
    // A mirror that moved on between the two gives other packages.
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(second.join("manifest.json"))?)?;
    if manifest["packages"] != serde_json::to_value(&files.manifest().packages)? {
        println!("the mirror has new packages since the first guest was made: nothing to compare");
        return Ok(());
    }
    for path in [
        files.kernel(),
        files.initramfs(),
        files.rootfs(),
        files.directory().join("manifest.json"),
    ] {
        let other = second.join(path.file_name().unwrap_or_default());
        ensure!(
            fs::read(&path)? == fs::read(&other)?,
            "{} differs",
            path.display()
        );
    }
    ensure!(
        fs::metadata(files.rootfs())?.len() < 130_000_000,
        "the root filesystem is too large"
    );
    person.alone()
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
