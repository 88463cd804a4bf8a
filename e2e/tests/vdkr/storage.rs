//! The whole store as a tar, out of a machine and into another, and as a device unpacks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Saved;
use e2e::layout::Image;
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::process::Command;
use e2e::{guest, probe};
use vcontainer_guest::{Arch, Engine};

use crate::core::SERVICE;
use crate::user::{User, holds};

/// What the probe image prints of its own files: owners, modes, what is hidden and what is not.
const PROBED: [&str; 4] = [
    "regular file 4755 1:2 odd/setuid\n",
    "regular file 644 0:0 opq/three\n",
    "character special file 620 0:5 odd/char\n",
    "through a link\n",
];

/// Somebody with the image that has everything odd in it.
fn with_probe(engine: Engine, arch: Arch) -> Result<(User, Image)> {
    let user = User::new(engine, arch)?;
    let image = probe::image(arch.debian(), &guest::busybox(arch)?);
    user.layout("probe", &image)?;
    Ok((user, image))
}

pub fn goes_out_and_in(engine: Engine, arch: Arch) -> Result<()> {
    let (user, image) = with_probe(engine, arch)?;
    let work = user.person.path("work");
    // Without a machine, and from one that goes on afterwards.
    let words = [
        "--storage",
        "one store.tar",
        "--stateless",
        "vimport",
        "probe",
        "probe:1",
    ];
    holds(&user.output(&words)?, &["probe"])?;
    user.person.alone()?;
    has_everything(&work.join("one store.tar"), engine)?;
    user.output(&["vmemres", "start"])?;
    user.output(&["vimport", "probe", "probe:1"])?;
    user.prints(&["--storage", "two.tar", "tag", "probe:1", "other:1"], "")?;
    let both = user.list(&[("probe:1", &image), ("other:1", &image)]);
    assert_eq!(user.images()?, both);
    has_everything(&work.join("two.tar"), engine)?;

    // Nothing is written after a failure, nor while files of containers change.
    fs::write(work.join("three.tar"), "mine").context("writing three.tar")?;
    let failed = user.call(&["--storage", "three.tar", "rmi", "nothing:1"])?;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    holds(
        &failed.stderr,
        &["three.tar` was not written, because the command failed"],
    )?;
    let service = [
        "run", "-d", "--name", "service", "probe:1", "/bin/sh", "-c", SERVICE,
    ];
    let failed = user.call(&[&["--storage", "three.tar"][..], &service].concat())?;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    holds(&failed.stderr, &["while containers run (1 do): stop them first"])?;
    user.remove_running("service")?;
    assert_eq!(fs::read(work.join("three.tar"))?, b"mine");
    user.stop()?;

    // In again: by itself, and not into the machine that there is.
    let run = user.output(&["--input-storage", "two.tar", "run", "--rm", "probe:1"])?;
    holds(&run, &PROBED)?;
    let words = ["tag", "probe:1", "third:1"];
    let more = ["--input-storage", "one store.tar", "--storage", "four.tar"];
    user.prints(&[&more[..], &words].concat(), "")?;
    let expected = user.list(&[("probe:1", &image), ("third:1", &image)]);
    assert_eq!(user.images_of(&["--input-storage", "four.tar"])?, expected);
    assert_eq!(user.images()?, both);
    user.leave()
}

/// The tar has one root, and what a file can have besides its content.
fn has_everything(tar: &Path, engine: Engine) -> Result<()> {
    let list = Command::new("tar").args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-tvvf"]);
    let list = list.arg(tar).output()?;
    let (mut previous, mut found) = ("", BTreeSet::new());
    for line in list.lines() {
        // Below a member, its extended attributes.
        if line.starts_with("  x:") {
            let attribute = line.split_whitespace().last().unwrap_or_default();
            for name in ["odd/capability", "odd/attribute"] {
                if previous.ends_with(name) {
                    found.insert(format!("{name} {attribute}"));
                }
            }
            continue;
        }
        previous = line;
        // Mode, owner, size (of a device: its numbers), date, time, name.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, size, _, _, name, ..] = words[..] else {
            bail!("no name in {line}");
        };
        let is_inside = match engine {
            Engine::Docker => name.starts_with("docker/"),
            Engine::Podman => name.starts_with("./"),
        };
        ensure!(is_inside && !name.contains("/lost+found"), "{name}");
        for odd in ["odd/setuid", "odd/setgid", "odd/char", "odd/no-permissions"] {
            if name.ends_with(odd) {
                found.insert(format!("{odd} {mode} {owner} {size}"));
            }
        }
    }
    let expected = [
        "odd/attribute user.note",
        "odd/capability security.capability",
        "odd/char crw--w---- 0/5 1,3",
        "odd/no-permissions ---------- 0/0 0",
        "odd/setgid -rwx--s--x 70000/70001 7",
        "odd/setuid -rwsr-xr-x 1/2 7",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    Ok(())
}

/// The store of a guest, unpacked as root on a Debian with the real engine.
pub fn a_device_takes_it(engine: Engine) -> Result<()> {
    let (user, image) = with_probe(engine, Arch::X86_64)?;
    let words = [
        "--stateless",
        "--storage",
        "store.tar",
        "vimport",
        "probe",
        "probe:latest",
    ];
    user.output(&words)?;
    user.person.alone()?;
    let scratch = scratch_directory()?;
    Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(user.person.path("work/store.tar"))
        .arg("-C")
        .arg(scratch.path())
        .output()?;
    match engine {
        Engine::Docker => {
            let store = scratch.path().join("docker");
            let machine = Builder::new(Suite::Trixie)
                .bind(store, "/var/lib/docker")
                .start()?;
            let docker = Docker::start(&machine, Store::Overlay2)?;
            judge(&docker, &image, "probe:latest\n")?;
            docker.stop()
        }
        Engine::Podman => {
            let machine = Builder::new(Suite::Trixie)
                .bind(scratch.path(), "/var/lib/containers/storage")
                .start()?;
            judge(&Podman::new(&machine)?, &image, "localhost/probe:latest\n")
        }
    }
}

fn judge(engine: &impl e2e::engine::Engine, image: &Image, listed: &str) -> Result<()> {
    assert_eq!(
        engine.cli(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?,
        listed
    );
    holds(&engine.run("probe", &[])?, &PROBED)?;
    let tree = engine.merged_tree("probe")?;
    assert_eq!(tree["odd/hard-2"].kind, "hard link to odd/hard-1");
    ensure!(tree["odd/capability"].xattrs.contains_key("security.capability"));
    ensure!(
        !tree.contains_key("opq/one") && !tree.contains_key("gone"),
        "{:?}",
        tree.keys()
    );
    assert_eq!(engine.save("probe")?, Saved::of(image));
    Ok(())
}
