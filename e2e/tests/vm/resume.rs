//! What a guest cannot know when it goes on: the time, and random numbers that nobody else has; and its network.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use e2e::trials::Trials;
use vcontainer_wire::{Reply, Request, Wake};

use crate::program::output;
use crate::up::Up;

pub fn add(trials: &mut Trials) {
    trials.anywhere("resume::clock_and_network", clock_and_network);
    trials.anywhere("resume::random_numbers_of_one_template_differ", random_numbers);
}

fn clock_and_network() -> Result<()> {
    let up = Up::new()?;
    // Of a template that may be days old.
    clock_is_right(&up)?;
    network_works(&up)?;
    let script = "echo here > /tmp/memory; date -s '2001-02-03 04:05:06' > /dev/null; date +%Y";
    ensure!(output(&up.client.mux, script)? == "2001\n");
    let up = up.again()?;
    // It went on, and did not boot.
    ensure!(output(&up.client.mux, "cat /tmp/memory")? == "here\n");
    clock_is_right(&up)?;
    network_works(&up)?;
    // The request itself.
    let wake = |seconds: u64| {
        let request = Request::Wake(Wake {
            unix_nanoseconds: seconds * 1_000_000_000 + 999,
            entropy: vec![7; 64],
        });
        up.client.ask(request, "setting the clock")
    };
    ensure!(wake(4_000_000_000)? == Reply::Done);
    ensure!(output(&up.client.mux, "date +%Y-%m-%d")? == "2096-10-02\n");
    ensure!(wake(UNIX_EPOCH.elapsed()?.as_secs())? == Reply::Done);
    up.stop()
}

fn clock_is_right(up: &Up) -> Result<()> {
    let now = || anyhow::Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let before = now()?;
    let guest: u64 = output(&up.client.mux, "date +%s")?
        .trim()
        .parse()
        .context("reading the guest's time")?;
    let after = now()?;
    // An emulated clock on a busy host lags a little behind; days or years are what this is about.
    ensure!(
        (before.saturating_sub(60)..=after + 60).contains(&guest),
        "the guest's time is {guest}, the host's {before} to {after}"
    );
    Ok(())
}

/// A connection from the guest through its network card.
fn network_works(up: &Up) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let server = thread::spawn(move || -> Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut said = [0; 5];
        stream.read_exact(&mut said)?;
        stream.write_all(b"world")?;
        Ok(String::from_utf8(said.to_vec())?)
    });
    // 10.0.2.2 is the host as QEMU shows it.
    let heard = output(&up.client.mux, &format!("printf hello | nc 10.0.2.2 {port}"))?;
    let said = server.join().ok().context("the server panicked")??;
    ensure!(
        (said.as_str(), heard.as_str()) == ("hello", "world"),
        "{said} {heard}"
    );
    Ok(())
}

/// Two machines that go on from the same memory.
fn random_numbers() -> Result<()> {
    let script = "head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid";
    let mut found: Vec<String> = Vec::new();
    for _ in 0..2 {
        let up = Up::new()?;
        found.push(output(&up.client.mux, script)?);
        up.stop()?;
    }
    let lines: Vec<&str> = found.iter().flat_map(|text| text.lines()).collect();
    ensure!(
        lines.len() == 4 && lines[0] != lines[2] && lines[1] != lines[3],
        "{found:?}"
    );
    Ok(())
}
