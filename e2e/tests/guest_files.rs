//! `vcontainer guest build` and `vcontainer guest pack` as an ordinary user calls them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use e2e::guest_root::Root;
use e2e::person::Person;
use e2e::trials::Trials;
use e2e::{cache, guest, guide, tool};
use vcontainer_guest::{Arch, Engine, GuestFiles};

fn main() -> ExitCode {
    let mut trials = Trials::new();
    trials.anywhere("two_people_make_the_same_guests", two_people_make_the_same_guests);
    trials.anywhere(
        "a_root_of_the_same_packages_is_the_same_guest",
        a_root_of_the_same_packages_is_the_same_guest,
    );
    trials.anywhere("a_root_of_ones_own_boots", a_root_of_ones_own_boots);
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

/// `vcontainer guest pack` for aarch64 into `work/packed`; returns the tool's directory in there.
fn pack(person: &Person, engine: Engine, root: &str, (shell, before): (&[&str], &str)) -> Result<PathBuf> {
    let script = format!(
        "{before}\nexec vcontainer guest pack --quiet --engine {engine} --arch aarch64 --rootfs {root} --kernel kernel \
         --output packed --share {}",
        cache::checkout().join("target/share/vcontainer").display()
    );
    // The person cannot build the tool.
    tool::binary()?;
    let printed = person
        .command("env")
        .args(shell)
        .args(["-euc", &script])
        .directory(person.path("work"))
        .output()?;
    ensure!(printed.is_empty(), "{printed}");
    Ok(person.path("work/packed").join(engine.tool()))
}

/// All that `build` does to packages `pack` does to a root filesystem that somebody has made of them.
fn a_root_of_the_same_packages_is_the_same_guest() -> Result<()> {
    let (engine, arch) = (Engine::Podman, Arch::Aarch64);
    let person = Person::new()?;
    let root = Root::new(&person, engine, arch)?;
    let built = GuestFiles::open(&guest::guest_files(engine, arch)?, engine, arch)?;
    let packed = GuestFiles::open(&pack(&person, engine, "root.tar", (&["sh"], ""))?, engine, arch)?;
    packed.verify(&person.path("tmp/memory"))?;
    ensure!(packed.manifest().packages.is_empty(), "it cannot know packages");
    ensure!(
        packed.manifest().kernel == built.manifest().kernel,
        "another kernel"
    );
    if root.packages != built.manifest().packages {
        println!("the mirror has new packages since the first guest was made: nothing to compare");
        return Ok(());
    }
    ensure!(
        packed.manifest().files == built.manifest().files,
        "{:?}\nis not\n{:?}",
        packed.manifest().files,
        built.manifest().files
    );
    Ok(())
}

/// Directories as Yocto has them without usrmerge, dockerd where it has it, somebody's file, and no modules.dep.
const ANOTHER_SHAPE: &str = "
    mkdir root
    tar -C root -xf root.tar
    cd root
    rm bin sbin lib
    mv usr/sbin sbin
    mkdir -p bin lib usr/sbin opt
    mv sbin/dockerd usr/bin/dockerd
    mv usr/bin/busybox bin/busybox
    ln -s busybox bin/sh
    ln -s ../../bin/busybox usr/bin/awk
    mv usr/lib/modules lib/modules
    echo mine > opt/mine
    chown 33:44 opt/mine
    cd ..";

fn a_root_of_ones_own_boots() -> Result<()> {
    let (engine, arch) = (Engine::Docker, Arch::Aarch64);
    let person = guest::newcomer()?;
    Root::new(&person, engine, arch)?;
    let packed = pack(&person, engine, "root", (&["fakeroot", "sh"], ANOTHER_SHAPE))?;
    guest::layout(&person, arch, "app")?;
    let tool = |words: &[&str]| {
        let command = person.command("vdkr").args(["-a", "aarch64", "--blob-dir"]);
        command.arg(&packed).args(words).directory(person.path("work"))
    };
    let vdkr = |words: &[&str]| tool(words).output();
    vdkr(&["vimport", "app", "app:1"])?;
    let images = vdkr(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    ensure!(images == "app:1\n", "{images}");
    let said = vdkr(&["run", "--rm", "app:1", "sh", "-c", "uname -m; echo $FOO"])?;
    ensure!(said == "aarch64\nbar\n", "{said}");
    let owners = tool(&["vshell"]).output_with(b"stat -c %u:%g /opt/mine /usr/bin/dockerd\n")?;
    ensure!(owners == "33:44\n0:0\n", "{owners}");
    vdkr(&["vmemres", "stop"])?;
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
