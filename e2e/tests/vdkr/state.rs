//! The machine between commands and beside others: suspended and resumed, several at a time, under other names, and
//! without any state.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use e2e::person;
use e2e::process::{Command, Outcome};
use vcontainer_guest::{Arch, Engine};

use crate::user::{User, holds};

/// Its clock, and what it draws by chance.
const ASK: &str = "date +%s; cat /proc/sys/kernel/random/uuid; od -An -N16 -tx1 /dev/urandom; exit 0\n";

/// How far the clocks of this computer and of the guest may be apart, in seconds.
const APART: u64 = 3;

/// Long past the end of any supervisor whose machine is suspended.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn suspended_and_resumed(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::new(engine, arch)?;
    let image = user.image()?;
    user.layout("oci", &image)?;
    user.output(&["--idle-timeout", "0", "vimport", "oci", "myapp:1"])?;
    // Suspends itself after the prompt has returned.
    user.person.alone()?;
    suspended(&user.state(), engine)?;
    let expected = user.list(&[("myapp:1", &image)]);
    let resumed = user.call(&["-v", "--idle-timeout", "0", "images", "-q"])?;
    holds(&resumed.stderr, &[&format!("resuming the {arch} machine")])?;
    resumed.success()?;
    user.person.alone()?;
    if engine == Engine::Docker {
        assert_eq!(user.images()?, expected);
        return user.leave();
    }
    // Other options, other machine: it boots, and nothing is lost.
    let booted = user.call(&["-v", "--memory", "768M", "vmemres", "start"])?;
    holds(&booted.stderr, &[&format!("booting the {arch} machine")])?;
    booted.success()?;
    assert_eq!(user.images()?, expected);
    user.leave()
}

/// Accounting of the kernel's memory, which comes and goes with the first container, on and off again, while programs use it.
/// Each time the kernel changes its own code in places that every program passes.
const ACCOUNTING: &str = "
    echo +memory > /sys/fs/cgroup/cgroup.subtree_control
    (while : < /proc/self/status; do :; done) &
    (while :; do date > /dev/null; done) &
    n=0
    while [ $n -lt 200 ]; do mkdir /sys/fs/cgroup/x; rmdir /sys/fs/cgroup/x; n=$((n + 1)); done
    echo $n times
";

/// An emulated kernel changes its own code. With two processors most runs of this end in a panic.
pub fn code_changes() -> Result<()> {
    let user = User::new(Engine::Podman, Arch::X86_64)?;
    user.output(&["vmemres", "start"])?;
    user.command(&["vshell"])
        .outcome_with(ACCOUNTING.as_bytes())?
        .is(0, "200 times\n", "")?;
    user.leave()
}

/// The first start takes long enough to ask for it meanwhile, and to think better of it.
pub fn a_start_is_given_up(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::with_own_cache(engine, arch)?;
    let words = ["--memory", "257M", "images"];
    let started = user
        .command(&words)
        .std()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting a machine")?;
    let starting = |outcome: &Outcome| outcome.stdout.starts_with("Daemon starting (PID: ");
    let begin = Instant::now();
    let status = loop {
        let outcome = user.call(&["vmemres", "status"])?;
        if starting(&outcome) {
            break outcome;
        }
        outcome.is(1, "Daemon not running\n", "")?;
        ensure!(begin.elapsed() < PATIENCE, "nothing starts");
    };
    let pid = user.supervisor(&user.state())?.as_raw_nonzero();
    status.is(1, &format!("Daemon starting (PID: {pid})\n"), "")?;
    let tool = engine.tool();
    user.prints(
        &["vmemres", "list"],
        &format!("Running memres instances:\n  {arch}  PID {pid}      starting\n"),
    )?;
    holds(
        &user.output(&["vstorage", "list"])?,
        &[&format!("    Status: memres starting (PID {pid})\n")],
    )?;
    user.call(&["vshell"])?.is(
        1,
        "",
        &format!(
            "[{tool}] error: the machine is not up yet: process {pid} starts it (`{tool} vmemres start` waits for it)\n"
        ),
    )?;
    user.prints(&["vmemres", "stop"], "")?;
    let outcome = started.wait_with_output().context("waiting for the command")?;
    let told = String::from_utf8_lossy(&outcome.stderr);
    let last = format!(
        "[{tool}] error: the {arch} machine cannot be started\n  caused by: the machine was stopped while it was starting\n"
    );
    ensure!(
        outcome.status.code() == Some(125)
            && outcome.stdout.is_empty()
            && told.ends_with(&last)
            && !told.contains(" boots "),
        "{outcome:?}"
    );
    user.person.alone()?;
    user.call(&["vmemres", "status"])?
        .is(1, "Daemon not running\n", "")
}

/// Two machines that go on from one template, a third in a folder of an odd name, and one command that outlasts others.
pub fn several_machines_and_clients(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::new(engine, arch)?;
    let work = user.person.path("work");
    let (one, two) = (
        user.state().with_file_name("one"),
        user.state().with_file_name("two"),
    );
    user.output(&["-I", "one", "vmemres", "start"])?;
    user.output(&["-I", "two", "vmemres", "start"])?;
    for state in [&one, &two] {
        ensure!(suspended(state, engine).is_err(), "{} is not up", state.display());
    }
    let (first, second) = (chance(&user, "one")?, chance(&user, "two")?);
    let drawn: BTreeSet<&String> = first.iter().chain(&second).collect();
    ensure!(drawn.len() == 4, "{first:?} and {second:?}");
    // The same machine, before and after a resume.
    let supervisor = user.supervisor(&one)?;
    user.prints(&["-I", "one", "vmemres", "stop"], "")?;
    ensure!(
        person::ended(supervisor, PATIENCE)?,
        "the supervisor does not end"
    );
    suspended(&one, engine)?;
    user.output(&["-I", "one", "vmemres", "start"])?;
    let third = chance(&user, "one")?;
    let drawn: BTreeSet<&String> = drawn.into_iter().chain(&third).collect();
    ensure!(drawn.len() == 6, "{first:?}, {second:?} and {third:?}");

    let list = user.output(&["vmemres", "list"])?;
    let pids = [&one, &two].map(|state| user.supervisor(state));
    for (name, pid) in ["one", "two"].into_iter().zip(pids) {
        let words = format!("{name} PID {} {arch} ", pid?.as_raw_nonzero());
        let list: Vec<&str> = list.split_whitespace().collect();
        holds(&list.join(" "), &[&words])?;
    }
    ensure!(!user.state().exists(), "{} was made", user.state().display());

    // A command that waits for its input doesn't hold up others; both are in one machine.
    let mut waiting = user
        .command(&["-I", "one", "vshell"])
        .std()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a shell")?;
    let (shown, said) = (user.image()?, "said");
    user.layout("oci", &shown)?;
    user.output(&["-I", "one", "vimport", "oci", "myapp:1"])?;
    let expected = user.list(&[("myapp:1", &shown)]);
    assert_eq!(user.images_of(&["-I", "one"])?, expected);
    assert_eq!(user.images_of(&["-I", "two"])?, BTreeSet::new());
    let mut input = waiting.stdin.take().context("no input")?;
    std::io::Write::write_all(&mut input, format!("echo {said}\n").as_bytes())?;
    drop(input);
    let output = waiting.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{said}\n"));
    for name in ["one", "two"] {
        user.prints(&["-I", name, "vmemres", "stop"], "")?;
    }
    user.person.alone()?;

    // Everybody starts the machine; one of them does.
    let odd = work.join("a folder; with $odd 'name'");
    let option = ["--state-dir", "a folder; with $odd 'name'"];
    let words = [&option[..], &["images", "-q"]].concat();
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| user.call(&words))).collect();
        started.into_iter().try_for_each(|thread| {
            let outcome = thread.join().map_err(|_| anyhow::anyhow!("a thread broke"))??;
            outcome.success().map(drop)
        })
    })?;
    let processes = user.person.processes()?;
    let supervisors = processes
        .iter()
        .filter(|(_, words)| words.contains("__supervise"));
    assert_eq!(supervisors.count(), 1, "{processes:?}");
    let status = user.output(&[&option[..], &["vmemres", "status"]].concat())?;
    holds(
        &status,
        &[&format!("Socket: {}\n", odd.join("daemon.sock").display())],
    )?;
    user.prints(&[&option[..], &["vmemres", "stop"]].concat(), "")?;
    user.person.alone()?;
    suspended(&odd, engine)?;
    let expected = format!("{}\n", odd.display());
    user.prints(&[&option[..], &["vstorage", "path"]].concat(), &expected)
}

pub fn stateless(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::with_own_cache(engine, arch)?;
    let image = user.image()?;
    user.layout("oci", &image)?;
    user.output(&["--idle-timeout", "0", "vimport", "oci", "kept:1"])?;
    user.person.alone()?;
    let before = files(&user)?;
    assert_eq!(user.images_of(&["--stateless"])?, BTreeSet::new());
    let imported = user.call(&["--stateless", "vimport", "oci", "thrown-away:1"])?;
    holds(&imported.success()?, &["thrown-away"])?;
    user.person.alone()?;
    assert_eq!(files(&user)?, before);
    // What is thrown away is thrown away; what is kept is kept.
    assert_eq!(user.images()?, user.list(&[("kept:1", &image)]));
    user.leave()
}

/// Every file of the person: path, size, time. What is known of guest files and QEMU stays known.
fn files(user: &User) -> Result<String> {
    let list = Command::new("find")
        .arg(user.person.path(""))
        .args([
            "-path",
            "*/.cache/vcontainer/*.json",
            "-o",
            "-path",
            "*/.cache/vcontainer/guest-*",
        ])
        .args([
            "-o",
            "-path",
            "*/.cache/vcontainer",
            "-o",
            "-path",
            "*/.cache/vcontainer/stateless",
        ])
        .args(["-o", "-printf", "%P %s %T@\n"]);
    list.output()
}

/// Two random numbers of an instance's guest, whose clock is right.
fn chance(user: &User, name: &str) -> Result<Vec<String>> {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|since| since.as_secs())
    };
    let before = now()?;
    let outcome = user
        .command(&["-I", name, "vshell"])
        .outcome_with(ASK.as_bytes())?;
    let after = now()?;
    let said = outcome.success()?;
    let mut lines = said.lines().map(str::to_owned);
    let date: u64 = lines.next().context("no date")?.parse()?;
    ensure!(
        (before - APART..=after + APART).contains(&date),
        "{date} is not between {before} and {after}"
    );
    let rest: Vec<String> = lines.collect();
    ensure!(rest.len() == 2, "{rest:?}");
    Ok(rest)
}

/// The folder holds a suspended machine, as docs/formats/machine-state.md says, for its owner alone.
fn suspended(state: &Path, engine: Engine) -> Result<()> {
    let disk = format!("{engine}-state.img");
    let mut expected: BTreeSet<String> = [
        "console.log",
        "devices",
        "lock",
        "memory",
        "pair.json",
        "qemu.log",
        "state.json",
    ]
    .map(str::to_owned)
    .into();
    expected.insert(disk);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        let name = entry.file_name().to_string_lossy().into_owned();
        ensure!(mode == 0o600, "{name} has the mode {mode:o}");
        found.insert(name);
    }
    ensure!(found == expected, "{found:?} are in {}", state.display());
    let mode = fs::metadata(state)?.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "{} has the mode {mode:o}", state.display());
    Ok(())
}
