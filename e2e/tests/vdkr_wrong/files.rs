//! Files of this computer that are missing, closed, or something else than is expected. It is told before a machine is
//! started.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::trials::Trials;

use crate::bench::{Bench, DENIED, NOT_THERE, error};

pub fn add(trials: &mut Trials) {
    trials.anywhere("files::archives_that_are_none", archives);
    trials.anywhere("files::stores_that_are_none", stores);
}

/// Somebody with a folder, a closed file, a text, and half an archive.
fn bench() -> Result<Bench> {
    let bench = Bench::new()?;
    bench.person.directory("work/folder")?;
    let closed = bench.person.write("work/closed", "secret")?;
    fs::set_permissions(closed, fs::Permissions::from_mode(0o000))?;
    bench.person.write("work/text", "no archive\n")?;
    Ok(bench)
}

fn archives() -> Result<()> {
    let bench = bench()?;
    let folder = "`folder` is a folder, and a file is needed: OCI directories are imported with `vimport`";
    for command in [&["load", "-i"][..], &["import"]] {
        let with = |file: &'static str| [command, &[file]].concat();
        bench.refused(&with("none"), &error("cannot read `none`", &[NOT_THERE]))?;
        bench.refused(&with("closed"), &error("cannot read `closed`", &[DENIED]))?;
        bench.refused(&with("folder"), &error(folder, &[]))?;
        bench.refused(
            &with("text/x"),
            &error("cannot read `text/x`", &["Not a directory (os error 20)"]),
        )?;
    }
    Ok(())
}

fn stores() -> Result<()> {
    let bench = bench()?;
    let with = |file: &'static str| ["--input-storage", file, "images"];
    let read = |file: &str| format!("cannot read `{}`", bench.work(file));
    let no_store = |file: &str| {
        error(
            &format!(
                "`{}` holds no store of docker: expected is what --storage or `vcontainer bundle --tar` has written",
                bench.work(file)
            ),
            &[],
        )
    };
    bench.refused(&with("none"), &error(&read("none"), &[NOT_THERE]))?;
    bench.refused(&with("closed"), &error(&read("closed"), &[DENIED]))?;
    bench.refused(
        &with("folder"),
        &error(
            &format!(
                "`{}` is a folder, and a file is needed: pack the store with tar",
                bench.work("folder")
            ),
            &[],
        ),
    )?;
    let unreadable =
        |file: &str, why: &[&str]| error(&format!("cannot read the store in `{}`", bench.work(file)), why);
    bench.refused(
        &with("text"),
        &unreadable(
            "text",
            &["the archive ends at byte 11, in the middle of an entry: it is truncated"],
        ),
    )?;
    bench.person.write("work/garbage", [0x5a; 2000])?;
    bench.refused(
        &with("garbage"),
        &unreadable(
            "garbage",
            &["the block at byte 0 is no tar header: its checksum is wrong"],
        ),
    )?;
    bench.person.write("work/empty", "")?;
    bench.refused(&with("empty"), &no_store("empty"))?;
    let tar = Tarball::new(Format::Pax)
        .file("etc/passwd", Meta::mode(0o644), "x")
        .finish(0);
    bench.person.write("work/other.tar", &tar)?;
    bench.refused(&with("other.tar"), &no_store("other.tar"))?;
    bench.person.write("work/half.tar", &tar[..300])?;
    bench.refused(
        &with("half.tar"),
        &unreadable(
            "half.tar",
            &["the archive ends at byte 300, in the middle of an entry: it is truncated"],
        ),
    )?;
    // The other engine's.
    let podmans = Tarball::new(Format::Pax)
        .directory("overlay/", Meta::mode(0o700))
        .directory("overlay-images/", Meta::mode(0o700))
        .finish(0);
    bench.person.write("work/podman.tar", podmans)?;
    bench.refused(&with("podman.tar"), &no_store("podman.tar"))
}
