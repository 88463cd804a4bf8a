//! What is found to be wrong only while a machine is up. It stays up, and keeps what it has.

use std::fs;

use anyhow::{Context, Result};
use e2e::guest;
use e2e::layout::{Compression, Image, Layout, digest};
use e2e::person::{self, Person};
use e2e::process::Command;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

use crate::bench::{Bench, error, no_start};
use crate::images;

pub fn add(trials: &mut Trials) {
    trials.anywhere("inside::a_machine_in_a_directory_with_spaces", machine);
    trials.anywhere("inside::a_store_that_breaks_off_or_is_none", stores);
}

fn machine() -> Result<()> {
    let person = guest::owner(&[
        (Engine::Docker, Arch::Aarch64),
        (Engine::Docker, Arch::X86_64),
        (Engine::Podman, Arch::Aarch64),
    ])?;
    let bench = Bench { person };
    let directory = bench.work("state dir, with 'quotes'");
    let vdkr = |words: &[&str]| bench.vdkr(&["--state-dir", &directory]).args(words);
    guest::layout(&bench.person, Arch::Aarch64, "app")?;
    vdkr(&["vmemres", "start"]).output()?;
    vdkr(&["vimport", "app", "app:1"]).output()?;
    archives(&bench.person, &vdkr)?;
    damaged(&bench, &vdkr)?;
    outputs(&bench.person, &vdkr)?;
    for registry in ["localhost", "127.0.0.1"] {
        nobody_listens(vdkr(&["pull", &format!("{registry}:1/app:1")]), registry)?;
    }
    others(&bench, &directory)?;
    // Nothing of all that is left.
    let list = ["images", "--all", "--format", "{{.Repository}}:{{.Tag}}"];
    vdkr(&list).ends(0, "app:1\n", "")?;
    let script = b"find /var/lib/docker/tmp -mindepth 1; exit 3";
    vdkr(&["vshell"]).outcome_with(script)?.is(3, "", "")?;
    vdkr(&["vmemres", "stop"]).ends(0, "", "")?;
    bench.person.alone()?;
    others(&bench, &directory)?;
    // It goes on, not anew: that would be a notice.
    vdkr(&list).ends(0, "app:1\n", "")?;
    vdkr(&["vmemres", "stop"]).ends(0, "", "")?;
    bench.person.alone()
}

/// Archives that are none: the engine says so.
fn archives(person: &Person, vdkr: &dyn Fn(&[&str]) -> Command) -> Result<()> {
    person.write("work/garbage", [0x5a; 100_000])?;
    let invalid = "archive/tar: invalid tar header\n";
    vdkr(&["load", "-i", "garbage"]).ends(1, "", invalid)?;
    vdkr(&["load"])
        .outcome_with(&[0x5a; 100_000])?
        .is(1, "", invalid)?;
    let daemon = format!("Error response from daemon: {invalid}");
    vdkr(&["import", "garbage", "garbage:1"]).ends(1, "", &daemon)?;
    let empty = vdkr(&["load"]).outcome()?;
    assert_eq!((empty.status.code(), empty.stdout.as_str()), (Some(1), ""));
    assert!(empty.stderr.contains("no such file or directory"), "{empty:?}");
    Ok(())
}

/// Images whose layers turn out to be damaged on their way into the machine, or in it.
fn damaged(bench: &Bench, vdkr: &dyn Fn(&[&str]) -> Command) -> Result<()> {
    let blobs = images::layout(bench, "changed", "arm64")?;
    let layer = &blobs.layers[0];
    let path = images::blob(bench, "changed", layer);
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("the layer is empty")? ^= 1;
    fs::write(&path, &bytes)?;
    let place = bench.work("changed");
    let told = error(
        &format!("cannot import `{place}`"),
        &[
            &format!("cannot send layer 1 of image `{place}`"),
            &format!(
                "its content is {} and not {layer}: it is damaged, copy or build the image again",
                digest(&bytes)
            ),
        ],
    );
    vdkr(&["vimport", "changed", "changed:1"]).ends(1, "", &told)?;
    // Its digests are right, and it is no archive.
    let garbage = Image {
        layers: vec![vec![0x5a; 2000]],
        ..images::image("arm64")
    };
    let path = bench.person.path("work/garbage-layer");
    let mut layout = Layout::create(&path)?;
    let descriptor = layout.add(&garbage, Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    person::give_all(&path)?;
    let told = format!(
        "archive/tar: invalid tar header\n{}",
        error(&format!("docker could not import `{}`", path.display()), &[])
    );
    vdkr(&["vimport", "garbage-layer", "garbage:1"]).ends(1, "", &told)?;
    Ok(())
}

/// Where the output goes there is no room for it, or there is no output.
fn outputs(person: &Person, vdkr: &dyn Fn(&[&str]) -> Command) -> Result<()> {
    let unknown = "Error response from daemon: reference does not exist\n";
    vdkr(&["save", "-o", "unknown.tar", "unknown:1"]).ends(1, "", unknown)?;
    person.write("work/kept.tar", "mine")?;
    vdkr(&["save", "-o", "kept.tar", "unknown:1"]).ends(1, "", unknown)?;
    assert_eq!(fs::read_to_string(person.path("work/kept.tar"))?, "mine");
    let full = error(
        "cannot write the output",
        &["cannot write `/dev/full`: No space left on device (os error 28)"],
    );
    vdkr(&["save", "-o", "/dev/full", "app:1"]).ends(1, "", &full)?;
    let mut left = Vec::new();
    for entry in fs::read_dir(person.path("work"))? {
        left.push(entry?.file_name().to_string_lossy().into_owned());
    }
    left.retain(|name| name.starts_with("unknown") || name.ends_with(".part"));
    assert_eq!(left, [""; 0]);
    Ok(())
}

/// The engine cannot pull from where nobody listens.
fn nobody_listens(command: Command, registry: &str) -> Result<()> {
    let outcome = command.outcome()?;
    assert_eq!(
        (outcome.status.code(), outcome.stdout.as_str()),
        (Some(1), ""),
        "{outcome:?}"
    );
    let begin = format!("Error response from daemon: Get \"http://{registry}:1/v2/\": dial tcp ");
    let end = ":1: connect: connection refused\n";
    assert!(
        outcome.stderr.starts_with(&begin) && outcome.stderr.ends_with(end),
        "{outcome:?}"
    );
    Ok(())
}

/// A machine of another engine or architecture is not this one, and it says so, whether this one is up or not.
fn others(bench: &Bench, directory: &str) -> Result<()> {
    for (tool, arch, wanted) in [
        ("vpdmn", "aarch64", "podman on aarch64"),
        ("vdkr", "x86_64", "docker on x86_64"),
    ] {
        let command = bench
            .person
            .command(tool)
            .args(["-a", arch, "--state-dir", directory, "images"]);
        let told = no_start(&[&format!(
            "{directory} holds the state of docker on aarch64, not of {wanted}: use another directory"
        )]);
        let told = told.replacen("vdkr", tool, 1).replacen("aarch64", arch, 1);
        command.ends(125, "", &told)?;
    }
    Ok(())
}

fn stores() -> Result<()> {
    let bench = Bench::new()?;
    let whole = Tarball::new(Format::Pax)
        .directory("docker/", Meta::mode(0o710))
        .directory("docker/image/", Meta::mode(0o700))
        .directory("docker/image/overlay2/", Meta::mode(0o700))
        .file(
            "docker/image/overlay2/repositories.json",
            Meta::mode(0o600),
            "{broken",
        )
        .file("docker/big", Meta::mode(0o600), vec![0; 1_000_000])
        .finish(0);
    bench.person.write("work/half.tar", &whole[..500_000])?;
    bench.refused(
        &["--input-storage", "half.tar", "images"],
        &error(
            &format!(
                "the store in `{}` cannot be unpacked in the machine: tar: Unexpected EOF in archive\ntar: Unexpected EOF \
                 in archive\ntar: Error is not recoverable: exiting now",
                bench.work("half.tar")
            ),
            &[],
        ),
    )?;
    bench.person.write("work/broken.tar", whole)?;
    let what = format!(
        "the engine cannot use the store in `{}`",
        bench.work("broken.tar")
    );
    bench.fails(
        bench.vdkr(&["--input-storage", "broken.tar", "images"]),
        125,
        &error(
            &what,
            &["starting the engine: dockerd in the guest ended with code 1; the end of its log:\nfailed to start daemon: \
               Couldn't create reference store repository: invalid character 'b' looking for beginning of object key \
               string"],
        ),
    )
}
