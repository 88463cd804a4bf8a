//! Runs that do not get to their end: killed, interrupted, without space, without a reader, beside another run.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::layout::Compression;
use e2e::mount::Mount;
use e2e::process::{Command, Outcome};
use e2e::tarball::{Format, Meta, Tarball};
use e2e::trials::Trials;
use e2e::{privilege, tree};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{BUNDLE, Bench, check_refusal, image, layer, noise, small};
use crate::unprivileged::same;
use crate::who::Who;

/// How many runs are killed in each test.
const KILLS: u32 = 20;

pub fn add(trials: &mut Trials) {
    let root = |reason| if privilege::is_root() { Ok(()) } else { Err(reason) };
    trials.when(
        root("needs root: under fakeroot owners die with the session"),
        "interrupted::killed_at_any_moment",
        killed,
    );
    trials.anywhere("interrupted::killed_while_a_tar_file_is_written", killed_tar);
    for (name, signal) in [("interrupt", Signal::INT), ("termination", Signal::TERM)] {
        trials.anywhere(&format!("interrupted::{name}_leaves_nothing"), move || {
            signalled(signal)
        });
    }
    trials.anywhere("interrupted::two_at_once", two_at_once);
    trials.anywhere("interrupted::nobody_reads_the_stream", nobody_reads);
    trials.anywhere("interrupted::standard_output_is_full", full_output);
    let mounts = || root("needs root to mount a small file system");
    trials.when(mounts(), "interrupted::the_root_filesystem_is_full", full_root);
    trials.when(
        mounts(),
        "interrupted::the_temporary_directory_is_full",
        full_temporary,
    );
    trials.when(
        mounts(),
        "interrupted::the_directory_of_the_tar_file_is_full",
        full_tar,
    );
}

/// Starts a bundle.
fn start(bench: &Bench, who: Who, words: &[&str]) -> Result<Child> {
    bench
        .command(who, &[BUNDLE, words].concat())
        .std()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting a bundle")
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    // Nobody has waited for it yet, so that the number is still its own.
    kill_process(Pid::from_child(child), signal).context("sending a signal")
}

fn finish(child: Child) -> Result<Outcome> {
    let output = child.wait_with_output()?;
    Ok(Outcome {
        command: "the bundle".into(),
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The images `one`, `two` and `three`, which share a layer, each of this many bytes.
fn three(bench: &Bench, bytes: usize) -> Result<()> {
    for (seed, name) in (1..).zip(["one", "two", "three"]) {
        let layers = vec![
            layer(&[("etc/base", "base")]),
            noise("big", bytes, seed),
            layer(&[("etc/top", name)]),
        ];
        bench.image(name, &image(layers))?;
    }
    Ok(())
}

/// A moment between 0 and the duration of a run, another for each number.
fn moment(number: u32, whole: Duration) -> Duration {
    whole * number / KILLS + whole / KILLS * (number * 7 % 10) / 10
}

fn killed() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 1_500_000)?;
    bench
        .bundle(Who::Tester, &["--rootfs=root", "one:docker:always", "one:podman"])?
        .success()?;
    bench.copy("root", "new")?;
    let words = [
        "two:docker:always",
        "three:docker",
        "two:podman",
        "three:podman:always",
    ];
    let begun = Instant::now();
    bench
        .bundle(Who::Tester, &[&["--rootfs=new"], &words[..]].concat())?
        .success()?;
    let whole = begun.elapsed();
    let expected = bench.tree("new")?;
    let stores = ["var/lib/docker", "var/lib/containers/storage"];
    // Podman's layers are listed before its images: layers without an image harm nobody.
    let listing = |root: &str, store: &str| -> Result<String> {
        let said = bench.inspect(&format!("{root}/{store}"))?;
        Ok(said[0]["images"].to_string())
    };
    for number in 0..KILLS {
        bench.copy("root", "killed")?;
        let child = start(&bench, Who::Tester, &[&["--rootfs=killed"], &words[..]].concat())?;
        thread::sleep(moment(number, whole));
        signal(&child, Signal::KILL)?;
        finish(child)?;
        for store in stores {
            let found = listing("killed", store)?;
            ensure!(
                found == listing("root", store)? || found == listing("new", store)?,
                "{store} is neither old nor new after kill {number}:\n{found}"
            );
        }
        bench
            .bundle(Who::Tester, &[&["--rootfs=killed"], &words[..]].concat())?
            .success()?;
        let mut found = bench.tree("killed")?;
        // Between making something in the directory itself and giving it its time back a kill can come, too.
        found.insert(".".into(), expected["."].clone());
        same(&expected, &found).with_context(|| format!("after kill {number}"))?;
        fs::remove_dir_all(bench.path("killed"))?;
        // What a killed run has left in the directory for temporary files is the system's to remove.
        for name in crate::bench::names(&bench.path("tmp"))? {
            fs::remove_file(bench.path("tmp").join(name))?;
        }
    }
    Ok(())
}

fn killed_tar() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 1_500_000)?;
    let words = ["--rootfs=root", "--tar=out/x.tar", "one:docker", "two:podman"];
    let begun = Instant::now();
    bench.bundle(Who::Ordinary, &words)?.success()?;
    let whole = begun.elapsed();
    let new = fs::read(bench.path("out/x.tar"))?;
    let before = bench.tree("root")?;
    for number in 0..KILLS / 4 {
        fs::write(bench.path("out/x.tar"), "old")?;
        let child = start(&bench, Who::Ordinary, &words)?;
        thread::sleep(moment(number * 4, whole));
        signal(&child, Signal::KILL)?;
        finish(child)?;
        let found = fs::read(bench.path("out/x.tar"))?;
        ensure!(
            found == b"old" || found == new,
            "{} bytes of a stream",
            found.len()
        );
    }
    same(&before, &bench.tree("root")?)
}

/// Starts a bundle into `root` and gives it as soon as it has begun there.
fn begun(bench: &Bench, words: &[&str]) -> Result<Child> {
    let mut child = start(bench, Who::writer(), &[&["--rootfs=root"], words].concat())?;
    while !bench.path("root/.vcontainer-staging").exists() {
        if let Some(status) = child.try_wait()? {
            bail!("the bundle ended at once ({status})");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(child)
}

fn signalled(which: Signal) -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 20_000_000)?;
    bench.image("old", &small("old"))?;
    bench
        .bundle(Who::writer(), &["--rootfs=root", "old:docker", "old:podman"])?
        .success()?;
    let before = bench.tree("root")?;
    let words = ["one:docker:always", "two:docker", "three:podman"];
    let child = begun(&bench, &words)?;
    // Under fakeroot the program is a child of the one that was started: both get the signal, as from a terminal.
    for pid in tree_of(&child)? {
        kill_process(pid, which)?;
    }
    let outcome = finish(child)?;
    ensure!(
        outcome.status.code() == Some(128 + which.as_raw()) || !privilege::is_root(),
        "ended with {}:\n{}",
        outcome.status,
        outcome.stderr
    );
    ensure!(
        outcome.stderr.contains("error: interrupted"),
        "{}",
        outcome.stderr
    );
    same(&before, &bench.tree("root")?)?;
    bench.nothing_left()?;
    bench
        .bundle(Who::writer(), &[&["--rootfs=root"], &words[..]].concat())?
        .success()?;
    // A tar file, too.
    let mut child = start(
        &bench,
        Who::Ordinary,
        &[&["--arch=aarch64", "--tar=out/x.tar"], &words[..]].concat(),
    )?;
    while crate::bench::names(&bench.path("out"))?.is_empty() {
        if let Some(status) = child.try_wait()? {
            bail!("the bundle ended at once ({status})");
        }
        thread::sleep(Duration::from_millis(1));
    }
    signal(&child, which)?;
    let outcome = finish(child)?;
    ensure!(
        outcome.stderr.contains("error: interrupted"),
        "{}",
        outcome.stderr
    );
    bench.nothing_left()
}

/// A process and what it has started.
fn tree_of(child: &Child) -> Result<Vec<Pid>> {
    let mut pids = vec![Pid::from_child(child)];
    let mut at = 0;
    while let Some(pid) = pids.get(at) {
        let pid = pid.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let numbers = children
            .split_whitespace()
            .filter_map(|number| number.parse().ok());
        pids.extend(numbers.filter_map(Pid::from_raw));
        at += 1;
    }
    Ok(pids)
}

fn two_at_once() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 10_000_000)?;
    bench.image("small", &small("x"))?;
    let first = begun(&bench, &["one:docker:always", "two:podman"])?;
    let pids = tree_of(&first)?;
    for pid in &pids {
        kill_process(*pid, Signal::STOP)?;
    }
    let at_work = bench.path("root/.vcontainer-staging").exists();
    let second = bench.bundle(Who::writer(), &["--rootfs=root", "small:docker"]);
    // Reading is allowed meanwhile.
    let plan = bench.bundle(Who::writer(), &["--rootfs=root", "--dry-run", "small:docker"]);
    let tar = bench.bundle(
        Who::Ordinary,
        &["--rootfs=root", "--tar=out/x.tar", "small:docker"],
    );
    for pid in pids.iter().rev() {
        kill_process(*pid, Signal::CONT)?;
    }
    finish(first)?.success()?;
    ensure!(at_work, "the first run was over before it was stopped");
    check_refusal(
        &second?,
        &[
            "another vcontainer bundle is at work",
            "root",
            "wait until it has ended",
        ],
    )?;
    plan?.success()?;
    tar?.success()?;
    bench
        .bundle(Who::writer(), &["--rootfs=root", "small:docker"])?
        .success()?;
    let names = bench.inspect("root/var/lib/docker")?[0]["images"]
        .as_array()
        .map(Vec::len);
    assert_eq!(names, Some(2));
    Ok(())
}

fn nobody_reads() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 3_000_000)?;
    let before = bench.tree("root")?;
    for zstd in [&[][..], &["--zstd"]] {
        let words = [&["--rootfs=root", "--tar=-", "one:docker", "two:podman"], zstd].concat();
        let mut child = start(&bench, Who::Ordinary, &words)?;
        let mut pipe = child.stdout.take().context("no pipe")?;
        pipe.read_exact(&mut [0; 100])?;
        drop(pipe);
        check_refusal(&finish(child)?, &["cannot write the tar stream", "has ended"])?;
        bench.nothing_left()?;
    }
    // What is only looked at may be looked at in part.
    for words in [
        "bundle --images deploy --rootfs root --dry-run one",
        "inspect deploy/one-latest-oci",
    ] {
        let script = format!("./vcontainer {words} | true; echo ${{PIPESTATUS[0]}}");
        let said = bench.command(Who::Ordinary, &["bash", "-c", &script]).outcome()?;
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("0\n", ""));
    }
    same(&before, &bench.tree("root")?)
}

fn full_output() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let line = |rest: &str| format!("./vcontainer bundle --images deploy --rootfs root {rest}");
    for rest in [
        "--tar - small >/dev/full",
        "--tar - --zstd small >/dev/full",
        "--dry-run small >/dev/full",
        "--tar /dev/full small",
    ] {
        let outcome = bench
            .command(Who::Ordinary, &["sh", "-c", &line(rest)])
            .outcome()?;
        ensure!(outcome.status.code() == Some(1), "{rest}: {}", outcome.status);
        ensure!(
            outcome.stderr.contains("No space left on device"),
            "{rest}: {}",
            outcome.stderr
        );
        ensure!(!outcome.stderr.contains("panicked"), "{rest}: {}", outcome.stderr);
    }
    // Standard error that is closed or full takes nothing away from the work.
    for rest in ["--tar out/a.tar small 2>/dev/full", "--tar out/b.tar small 2>&-"] {
        bench
            .command(Who::Ordinary, &["sh", "-c", &line(rest)])
            .output()?;
    }
    assert_eq!(
        fs::read(bench.path("out/a.tar"))?,
        fs::read(bench.path("out/b.tar"))?
    );
    Ok(())
}

fn full_root() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 3_000_000)?;
    let many = (0..300).fold(Tarball::new(Format::Pax), |tarball, number| {
        tarball.file(format!("f{number}"), Meta::mode(0o644), "")
    });
    bench.image("many", &image(vec![many.finish(0)]))?;
    for (options, image) in [("size=2m,mode=755", "one"), ("nr_inodes=150,mode=755", "many")] {
        let mount = Mount::tmpfs(bench.path("small"), options)?;
        Command::new("cp")
            .arg("-a")
            .arg(bench.path("root/."))
            .arg(mount.path())
            .output()?;
        let before = bench.tree("small")?;
        for words in [
            &[":docker:always"][..],
            &[":podman"],
            &[":docker", "--docker-store=containerd"],
        ] {
            let entry = format!("{image}{}", words[0]);
            let words = [&["--rootfs=small", &entry], &words[1..]].concat();
            let outcome = bench.bundle(Who::Tester, &words)?;
            check_refusal(&outcome, &["No space left on device", "`/var/lib/"])?;
            same(&before, &bench.tree("small")?)?;
            bench.nothing_left()?;
        }
        drop(mount);
    }
    Ok(())
}

fn full_temporary() -> Result<()> {
    let bench = Bench::new()?;
    let image = image(vec![noise("big", 3_000_000, 1)]);
    let archive = Compression::Gzip.compress(&e2e::layout::docker_archive(&image, "big:1"))?;
    bench.write("deploy/big.tar.gz", archive)?;
    // Names that don't compress, so that a record of them takes more than is kept in memory.
    let many = (0..12_000u64).fold(Tarball::new(Format::Pax), |tarball, number| {
        let name = e2e::layout::digest(&number.to_le_bytes());
        tarball.file(name.trim_start_matches("sha256:"), Meta::mode(0o644), "")
    });
    bench.image("many", &crate::bench::image(vec![many.finish(0)]))?;
    let mount = Mount::tmpfs(bench.path("full"), "size=64k,mode=1777")?;
    let before = bench.tree("root")?;
    for words in [
        &["--image=big=deploy/big.tar.gz", "big:docker"][..],
        &["many:docker"],
        &["many:podman"],
    ] {
        for (who, output) in [(Who::Ordinary, &["--tar=out/x.tar"][..]), (Who::Tester, &[])] {
            let words = [&["--rootfs=root", "--temp-dir=full"], output, words].concat();
            let outcome = bench.bundle(who, &words)?;
            check_refusal(&outcome, &["No space left on device", "full"])?;
            ensure!(
                fs::read_dir(mount.path())?.next().is_none(),
                "something is left in the full directory"
            );
            bench.nothing_left()?;
        }
    }
    same(&before, &bench.tree("root")?)
}

fn full_tar() -> Result<()> {
    let bench = Bench::new()?;
    three(&bench, 3_000_000)?;
    let mount = Mount::tmpfs(bench.path("full"), "size=1m,mode=1777")?;
    fs::write(mount.path().join("x.tar"), "old")?;
    fs::set_permissions(
        mount.path().join("x.tar"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )?;
    let before = tree::read(mount.path())?;
    for words in [&["one:docker"][..], &["--zstd", "one:docker"]] {
        let outcome = bench.bundle(
            Who::Ordinary,
            &[&["--rootfs=root", "--tar=full/x.tar"], words].concat(),
        )?;
        check_refusal(&outcome, &["full/x.tar", "No space left on device"])?;
        same(&before, &tree::read(mount.path())?)?;
    }
    bench.nothing_left()
}
