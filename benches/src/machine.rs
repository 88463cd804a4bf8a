//! The machine: how long it takes to go on, to be suspended, to boot; what its channel carries; what `vdkr` costs beside
//! the engine's own command in the guest; how long guest files take to make. Under whatever accelerator this host has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::guest;
use e2e::machine::scratch_directory;
use e2e::person::Person;
use e2e::tool;
use vcontainer_guest::{Arch, Engine, GuestFiles};
use vcontainer_vm::{Accelerator, BootFiles, Client, MachineSpec, Place};
use vcontainer_wire::{Channel, Event, Exec, ExitStatus, Reply, Request, Stream};

use crate::contest::Times;

/// Bytes sent through the channel in one go.
const BULK: usize = 200 << 20;
/// Commands in a row, of which the mean counts.
const IN_A_ROW: u32 = 5;
/// Round trips in a row.
const TRIPS: usize = 200;

/// Measures machines of both architectures with Docker in them, and the making of all guests.
pub(crate) fn measure(rounds: usize) -> Result<()> {
    for arch in Arch::ALL {
        println!("\n== Machine: Docker on {arch}, {rounds} rounds, medians (range)");
        let files = guest::guest_files(Engine::Docker, arch)?;
        let bench = Bench::new(arch, &files)?;
        bench.boots(rounds.min(3))?;
        bench.suspends(rounds)?;
        bench.channel(rounds)?;
        commands(arch, rounds)?;
    }
    builds()
}

/// A row of the result: what, its times, and the target in the same unit.
fn row(what: &str, times: &Times, target: &str) {
    println!("{what:<58} {} {target}", times.show());
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

struct Bench {
    spec: MachineSpec,
    state: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Bench {
    fn new(arch: Arch, files: &Path) -> Result<Self> {
        let scratch = scratch_directory()?;
        let state = scratch.path().join("state");
        let spec = MachineSpec {
            engine: Engine::Docker,
            arch,
            guest: BootFiles::from(&GuestFiles::open(files, Engine::Docker, arch)?),
            cpus: MachineSpec::default_cpus(),
            memory: MachineSpec::DEFAULT_MEMORY,
            disk: MachineSpec::DEFAULT_DISK,
            accelerator: Accelerator::Auto,
            network: true,
            place: Place::Persistent(state.clone()),
            cache: scratch.path().join("cache"),
            linger: Duration::from_secs(600),
            program: tool::binary()?.to_owned(),
            search_path: std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
        };
        let bench = Self {
            spec,
            state,
            _scratch: scratch,
        };
        let start = Instant::now();
        let client = bench.connect()?;
        println!(
            "{:<58} {:6.2}",
            "first command ever: boot, template, start from it (once)",
            seconds(start.elapsed())
        );
        client.stop()?;
        Ok(bench)
    }

    fn connect(&self) -> Result<Client> {
        let client = Client::connect(&self.spec, &mut |_| ())?;
        client.ask(Request::Status, "asking for the first word")?;
        Ok(client)
    }

    /// From the disk: to the agent's first word, to a ready engine; and what the guest itself says about its time.
    fn boots(&self, rounds: usize) -> Result<()> {
        let (mut agent, mut engine) = (Vec::new(), Vec::new());
        let mut steps = String::new();
        for _ in 0..rounds {
            fs::remove_file(self.state.join("pair.json"))
                .context("removing the record of the suspended machine")?;
            let start = Instant::now();
            let client = self.connect()?;
            agent.push(seconds(start.elapsed()));
            client.ask(Request::StartEngine, "waiting for the engine")?;
            engine.push(seconds(start.elapsed()));
            steps = run(&client, "dmesg | grep -F 'vcontainer-agent:' | head -4")?;
            client.stop()?;
        }
        row("cold boot to the agent's first word", &Times::new(agent), "");
        row("cold boot to a ready engine", &Times::new(engine), "");
        for step in steps.lines() {
            println!("    {step}");
        }
        Ok(())
    }

    fn suspends(&self, rounds: usize) -> Result<()> {
        let (mut resumes, mut suspends) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let start = Instant::now();
            let client = self.connect()?;
            resumes.push(seconds(start.elapsed()));
            ensure!(client.started, "the machine was still up");
            let start = Instant::now();
            client.stop()?;
            suspends.push(seconds(start.elapsed()));
        }
        let target = match self.spec.arch {
            Arch::Aarch64 => "target 0.6",
            Arch::X86_64 => "target 0.9",
        };
        row(
            "resume to the agent's first word, engine inside",
            &Times::new(resumes),
            target,
        );
        row("suspend", &Times::new(suspends), "target 1.0");
        Ok(())
    }

    fn channel(&self, rounds: usize) -> Result<()> {
        let client = self.connect()?;
        let (mut out, mut into, mut trips) = (Vec::new(), Vec::new(), Vec::new());
        let blocks = format!("count={}", BULK >> 16);
        let rate = |duration: Duration| BULK as f64 / 1e6 / seconds(duration);
        for _ in 0..rounds {
            let start = Instant::now();
            let channel = exec(&client, &["dd", "if=/dev/zero", "bs=64k", &blocks], false)?;
            ensure!(drain(channel)? == BULK, "bytes are missing");
            out.push(rate(start.elapsed()));

            let start = Instant::now();
            let (sender, mut receiver) = exec(&client, &["dd", "of=/dev/null", "bs=64k"], true)?.split();
            let piece = vec![0; 1 << 20];
            for _ in 0..BULK >> 20 {
                sender.data(Stream::In, &piece)?;
            }
            sender.eof(Stream::In)?;
            while !matches!(receiver.next()?, Event::Reply(Reply::Exited(ExitStatus::Code(0)))) {}
            into.push(rate(start.elapsed()));

            let (sender, mut receiver) = exec(&client, &["cat"], true)?.split();
            for _ in 0..TRIPS {
                let start = Instant::now();
                sender.data(Stream::In, b"x")?;
                ensure!(matches!(receiver.next()?, Event::Data(..)), "no echo");
                trips.push(seconds(start.elapsed()) * 1e3);
            }
        }
        row("channel, guest to host, MB/s", &Times::new(out), "target 80");
        row("channel, host to guest, MB/s", &Times::new(into), "target 80");
        row(
            "a byte to `cat` in the guest and back, ms",
            &Times::new(trips),
            "target 2",
        );
        client.stop()?;
        Ok(())
    }
}

/// `vdkr` itself, as an ordinary user calls it.
fn commands(arch: Arch, rounds: usize) -> Result<()> {
    let owner = guest::owner(&[(Engine::Docker, arch)])?;
    let vdkr = |words: &[&str]| owner.command("vdkr").args(["-a", arch.name()]).args(words);
    vdkr(&["images"]).output()?;
    let (mut after, mut up, mut own, mut over) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        vdkr(&["vmemres", "stop"]).output()?;
        let start = Instant::now();
        vdkr(&["images"]).output()?;
        after.push(seconds(start.elapsed()));
    }
    vdkr(&["vmemres", "start"]).output()?;
    let several = f64::from(IN_A_ROW);
    // The guest's clock has hundredths of a second.
    let script = format!(
        "read -r a rest </proc/uptime; for i in $(seq {IN_A_ROW}); do docker images >/dev/null; done; \
         read -r b rest </proc/uptime; echo $a $b\n"
    );
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..IN_A_ROW {
            vdkr(&["images"]).output()?;
        }
        let whole = seconds(start.elapsed()) / several;
        let inside = vdkr(&["vshell"]).output_with(script.as_bytes())?;
        let clock: Vec<f64> = inside.split_whitespace().flat_map(str::parse).collect();
        let &[from, to] = clock.as_slice() else {
            bail!("the guest's clock says {inside:?}");
        };
        let inside = (to - from) / several;
        up.push(whole);
        own.push(inside);
        over.push((whole - inside) * 1e3);
    }
    vdkr(&["vmemres", "stop"]).output()?;
    row(
        "`vdkr images` after a suspend",
        &Times::new(after),
        "target 2.0 (aarch64)",
    );
    row("`vdkr images`, machine up", &Times::new(up), "");
    row(
        "`docker images` by the guest's clock, same rounds",
        &Times::new(own),
        "",
    );
    row("the difference of each pair, ms", &Times::new(over), "target 50");
    Ok(())
}

/// All guests, from packages that are there.
fn builds() -> Result<()> {
    println!("\n== Guest files, packages fetched before");
    let person = Person::new()?;
    for engine in Engine::ALL {
        for arch in Arch::ALL {
            guest::build(&person, engine, arch)?;
            let start = Instant::now();
            guest::build(&person, engine, arch)?;
            let what = format!("vcontainer guest build, {engine} {arch}");
            row(&what, &Times::new(vec![seconds(start.elapsed())]), "target 60");
        }
    }
    Ok(())
}

fn exec(client: &Client, words: &[&str], stdin: bool) -> Result<Channel> {
    let exec = Exec {
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        stdin,
        ..Exec::default()
    };
    Ok(client.mux.open(Request::Exec(exec))?)
}

/// Reads all output; how many bytes that were.
fn drain(channel: Channel) -> Result<usize> {
    let (_sender, mut receiver) = channel.split();
    let mut count = 0;
    loop {
        match receiver.next()? {
            Event::Data(Stream::Out, bytes) => count += bytes.len(),
            Event::Reply(Reply::Exited(ExitStatus::Code(0))) => return Ok(count),
            Event::Reply(reply) => bail!("the program in the guest failed: {reply:?}"),
            _ => {}
        }
    }
}

fn run(client: &Client, script: &str) -> Result<String> {
    let (_sender, mut receiver) = exec(client, &["sh", "-c", script], false)?.split();
    let mut text = Vec::new();
    loop {
        match receiver.next()? {
            Event::Data(_, bytes) => text.extend(bytes),
            Event::Reply(_) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => {}
        }
    }
}
