//! Directories that cannot hold what they should, and state that belongs to another machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use e2e::trials::Trials;

use crate::bench::{Bench, DENIED, NOT_THERE, error, no_start};

pub fn add(trials: &mut Trials) {
    trials.anywhere("places::the_home_is_read_only", home);
    trials.anywhere("places::the_state_cannot_be_there", state);
    trials.anywhere("places::the_store_cannot_be_written_there", storage);
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Why a machine's state cannot lie in a directory.
fn cannot_hold(directory: &str, why: &[&str]) -> String {
    let what = format!("{directory} cannot hold a machine's state: use another directory with --state-dir");
    no_start(&[&[what.as_str()], why].concat())
}

fn home() -> Result<()> {
    let bench = Bench::new()?;
    let home = bench.person.path("home");
    let shown = home.display();
    mode(&home, 0o500)?;
    bench.fails(
        bench.vdkr(&["images"]),
        125,
        &cannot_hold(
            &format!("{shown}/.vdkr/aarch64"),
            &[&format!("making the directory {shown}/.vdkr"), DENIED],
        ),
    )?;
    bench.refused(
        &["vconfig", "arch", "aarch64"],
        &error(
            &format!("cannot write the configuration `{shown}/.config/vdkr/config`"),
            &[DENIED],
        ),
    )?;
    // Where nothing is to be written, nothing is wrong.
    let status = bench.vdkr(&["vmemres", "status"]).outcome()?;
    assert_eq!(
        (status.stdout.as_str(), status.stderr.as_str()),
        ("Daemon not running\n", "")
    );
    let clean = bench.vdkr(&["clean"]).output()?;
    assert_eq!(
        clean,
        format!("No state directory found: {shown}/.vdkr/aarch64\n")
    );
    mode(&home, 0o755)
}

fn state() -> Result<()> {
    let bench = Bench::new()?;
    let closed = bench.person.directory("work/closed")?;
    mode(&closed, 0o500)?;
    let file = bench.person.write("work/file", "mine\n")?;
    let (closed, file) = (closed.display(), file.display());
    for (directory, why) in [
        (
            format!("{closed}/x"),
            [format!("making the directory {closed}/x"), DENIED.into()],
        ),
        (
            closed.to_string(),
            [format!("writing into {closed}"), DENIED.into()],
        ),
        (
            file.to_string(),
            [
                format!("opening the state directory {file}"),
                "Not a directory (os error 20)".into(),
            ],
        ),
        (
            format!("{file}/x"),
            [
                format!("making the directory {file}"),
                "File exists (os error 17)".into(),
            ],
        ),
    ] {
        bench.fails(
            bench.vdkr(&["--state-dir", &directory, "images"]),
            125,
            &cannot_hold(&directory, &why.each_ref().map(String::as_str)),
        )?;
    }
    // The cache, which a stateless machine cannot do without.
    let command = bench
        .vdkr(&["--stateless", "images"])
        .env("XDG_CACHE_HOME", format!("{closed}"));
    bench.fails(
        command,
        125,
        &no_start(&[
            &format!(
                "{closed}/vcontainer cannot hold what a stateless machine needs: use another directory with \
                 XDG_CACHE_HOME"
            ),
            &format!("making the directory {closed}/vcontainer/stateless"),
            DENIED,
        ]),
    )
}

/// Told before any machine is started: none is there afterwards.
fn storage() -> Result<()> {
    let bench = Bench::new()?;
    let closed = bench.person.directory("work/closed")?;
    mode(&closed, 0o500)?;
    let closed = closed.display();
    let folder = bench.work("folder");
    bench.person.directory("work/folder")?;
    for (words, what, why) in [
        (
            ["--storage", "closed/x.tar", "images"],
            format!("cannot write `{closed}/x.tar`"),
            vec![format!("no file can be made in `{closed}`"), DENIED.into()],
        ),
        (
            ["--storage", "none/x.tar", "images"],
            format!("cannot write `{}`", bench.work("none/x.tar")),
            vec![
                format!("no file can be made in `{}`", bench.work("none")),
                NOT_THERE.into(),
            ],
        ),
        (
            ["--storage", "folder", "images"],
            format!("cannot write `{folder}`: there is a folder; name a file"),
            vec![],
        ),
    ] {
        let why: Vec<&str> = why.iter().map(String::as_str).collect();
        bench.refused(&words, &error(&what, &why))?;
    }
    for (file, what, why) in [
        (
            "closed/x.tar",
            "cannot write `closed/x.tar`",
            &["no file can be made in `closed`", DENIED][..],
        ),
        (
            "none/x.tar",
            "cannot write `none/x.tar`",
            &["no file can be made in `none`", NOT_THERE],
        ),
        (
            "folder",
            "cannot write `folder`: there is a folder; name a file",
            &[],
        ),
    ] {
        bench.refused(&["save", "-o", file, "x:1"], &error(what, why))?;
    }
    Ok(())
}
