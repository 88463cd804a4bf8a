//! Files in and out as tar streams, mounts, and what is asked of the guest itself.

use anyhow::{Result, ensure};
use e2e::tarball::{Format, Meta, Tarball};
use vcontainer_vm::Error;
use vcontainer_wire::{Exec, Reply, Request};

use super::Check;
use crate::program::{Program, output, run, run_with, sh, words};
use crate::up::Up;

pub const CHECKS: &[Check] = &[
    ("tar streams", tar_streams),
    ("mounts", mounts),
    ("status and sync", status_and_sync),
];

/// Names, kinds, modes, owners, sizes, times and content of all files below a directory.
const LISTING: &str = "find . -exec stat -c '%n|%F|%a|%u:%g|%h|%Y' {} ';' | sort; find . -type f | sort | tr '\\n' '\\0' | xargs -0 sha256sum";

const WRITE_TAR: &[&str] = &[
    "tar",
    "-C",
    "/var/lib/containers/in",
    "--xattrs",
    "--xattrs-include=*",
    "--numeric-owner",
    "--sort=name",
    "--format=pax",
    "-cf",
    "-",
    ".",
];

fn unpack(to: &str) -> Exec {
    words([
        "tar",
        "-C",
        to,
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-xpf",
        "-",
    ])
}

fn tar_streams(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let directory = |mode| Meta::mode(mode).mtime(1_500_000_000, 0);
    let tar = Tarball::new(Format::Pax)
        .directory("./", directory(0o711).owner(7, 8))
        .directory("sticky/", directory(0o1770).owner(3, 4))
        .file(
            "sticky/setuid",
            Meta::mode(0o4755).owner(70_000, 70_001).mtime(1_600_000_001, 0),
            "x",
        )
        .file("na\u{ef}ve ' \" \\", Meta::mode(0).mtime(1, 0), "odd")
        .file(
            "noted",
            Meta::mode(0o640).xattr("user.note", b"kept").mtime(2, 0),
            vec![0xff; 300_000],
        )
        .hardlink("twice", "noted", Meta::mode(0o640).mtime(2, 0))
        .symlink("dangling", "/no/such/target")
        .char_device("null", Meta::mode(0o666).mtime(3, 0), (1, 3))
        .fifo("fifo", Meta::mode(0o604).mtime(4, 0))
        .finish(0);
    output(mux, "mkdir /var/lib/containers/in /var/lib/containers/again")?;
    run_with(mux, unpack("/var/lib/containers/in"), &tar)?.is(0, "", "")?;
    let listing = |at: &str| output(mux, &format!("cd /var/lib/containers/{at} && {LISTING}"));
    let found = listing("in")?;
    let mut lines: Vec<&str> = found
        .lines()
        .filter(|line| !line.starts_with("./dangling"))
        .collect();
    let noted = format!("{}  ./noted", &e2e::layout::digest(&vec![0xff; 300_000])[7..]);
    let twice = format!("{}  ./twice", &e2e::layout::digest(&vec![0xff; 300_000])[7..]);
    let odd = format!("{}  ./na\u{ef}ve ' \" \\", &e2e::layout::digest(b"odd")[7..]);
    let setuid = format!("{}  ./sticky/setuid", &e2e::layout::digest(b"x")[7..]);
    let mut expected = vec![
        ".|directory|711|7:8|3|1500000000",
        "./fifo|fifo|604|0:0|1|4",
        "./na\u{ef}ve ' \" \\|regular file|0|0:0|1|1",
        "./noted|regular file|640|0:0|2|2",
        "./null|character special file|666|0:0|1|3",
        "./sticky|directory|1770|3:4|2|1500000000",
        "./sticky/setuid|regular file|4755|70000:70001|1|1600000001",
        "./twice|regular file|640|0:0|2|2",
        &noted,
        &twice,
        &odd,
        &setuid,
    ];
    lines.sort();
    expected.sort();
    ensure!(lines == expected, "{found}");
    // Out again: what comes makes the same files.
    let out = run(mux, words(WRITE_TAR))?;
    out.is(0, &out.out, "")?;
    ensure!(
        out.out.windows(21).any(|part| part == b"SCHILY.xattr.user.not"),
        "the attribute is not in the tar stream"
    );
    run_with(mux, unpack("/var/lib/containers/again"), &out.out)?.is(0, "", "")?;
    ensure!(listing("again")? == found, "{}", listing("again")?);
    // An archive that ends in the middle is an error of tar's.
    let half = run_with(mux, unpack("/tmp"), &tar[..tar.len() / 2])?;
    ensure!(
        half.status.shell_code() == 2 && half.err.starts_with(b"tar: Unexpected EOF"),
        "{half:?}"
    );
    Ok(())
}

fn mount(target: &str, options: &str, read_only: bool) -> Request {
    Request::Mount {
        source: "none".into(),
        target: target.into(),
        file_system: "tmpfs".into(),
        options: options.into(),
        read_only,
    }
}

fn mounts(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let ask = |request| up.client.ask(request, "mounting");
    let unmount = |target: &str| {
        ask(Request::Unmount {
            target: target.into(),
        })
    };
    ensure!(ask(mount("/mnt/a b/c", "size=4096k,mode=0710", false))? == Reply::Done);
    ensure!(ask(mount("/mnt/fixed", "", true))? == Reply::Done);
    let found = output(mux, "grep /mnt/ /proc/mounts; stat -c %a '/mnt/a b/c'")?;
    ensure!(
        found.starts_with("none /mnt/a\\040b/c tmpfs rw,")
            && found.contains("size=4096k,mode=710")
            && found.contains("\nnone /mnt/fixed tmpfs ro,")
            && found.ends_with("\n710\n"),
        "{found}"
    );
    run(mux, sh("echo kept > '/mnt/a b/c/file' && cat '/mnt/a b/c/file'"))?.is(0, "kept\n", "")?;
    run(mux, words(["touch", "/mnt/fixed/file"]))?.is(
        1,
        "",
        "touch: /mnt/fixed/file: Read-only file system\n",
    )?;
    // In use: refused, and nothing has happened.
    let exec = Exec {
        cwd: Some(b"/mnt/a b/c".to_vec()),
        stdin: true,
        ..sh("echo in; read -r word; cat file")
    };
    let mut program = Program::start(mux, exec)?;
    program.until("in\n")?;
    refused(
        unmount("/mnt/a b/c"),
        "unmounting /mnt/a b/c: Device or resource busy (os error 16)",
    )?;
    program.give("go\n")?;
    program.end()?.is(0, "kept\n", "")?;
    ensure!(unmount("/mnt/a b/c")? == Reply::Done);
    ensure!(unmount("/mnt/fixed")? == Reply::Done);
    run(mux, words(["grep", "/mnt/", "/proc/mounts"]))?.is(1, "", "")?;
    refused(
        unmount("/mnt/fixed"),
        "unmounting /mnt/fixed: Invalid argument (os error 22)",
    )?;
    let strange = Request::Mount {
        source: "none".into(),
        target: "/mnt/fixed".into(),
        file_system: "no-such-thing".into(),
        options: String::new(),
        read_only: false,
    };
    refused(ask(strange), "mounting /mnt/fixed: No such device (os error 19)")?;
    refused(
        ask(mount("/mnt/fixed", "size=much", false)),
        "mounting /mnt/fixed: Invalid argument (os error 22)",
    )
}

fn refused(result: Result<Reply, Error>, why: &str) -> Result<()> {
    match result {
        Err(Error::Refused { message, .. }) if message == why => Ok(()),
        other => anyhow::bail!("{other:?} instead of {why:?}"),
    }
}

fn status_and_sync(up: &Up) -> Result<()> {
    run(
        &up.client.mux,
        Exec {
            needs_engine: true,
            ..words(["true"])
        },
    )?
    .is(0, "", "")?;
    let before = up.status()?;
    ensure!(before.engine_ready && before.containers == 0, "{before:?}");
    // A file system on a disk of 64 GiB.
    let (used, size) = before.disk;
    ensure!(size > 60 << 30 && size < 64 << 30 && used < 1 << 30, "{before:?}");
    output(
        &up.client.mux,
        "head -c 50000000 /dev/zero > /var/lib/containers/filler",
    )?;
    ensure!(up.client.ask(Request::Sync, "writing out")? == Reply::Done);
    let after = up.status()?;
    ensure!(
        after.disk.0 >= used + 50_000_000 && after.disk.1 == size,
        "{before:?} {after:?}"
    );
    output(&up.client.mux, "rm /var/lib/containers/filler").map(drop)?;
    // What only a supervisor is asked is nothing for the guest, and what a guest says is nothing that it is asked.
    refused(
        up.client.ask(Request::Accepted { listener: 1 }, "asking"),
        "this is nothing to ask the guest's agent for",
    )?;
    Ok(())
}
