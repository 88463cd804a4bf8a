//! Guests that die and conversations that break in the middle of something: always an error, never a success.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use e2e::person::ended;
use rustix::process::Pid;
use vcontainer_vm::{Client, Error};
use vcontainer_wire::{Reply, Request};

use crate::program::{Program, output, run, sh};
use crate::up::{Up, kill};

pub fn broken() -> Result<()> {
    let up = Up::new()?;
    let up = guest_dies(up)?;
    let up = supervisor_dies(up)?;
    let up = machine_is_stopped(up)?;
    up.stop()
}

/// A program in the middle of its work.
fn busy(client: &Client) -> Result<Program> {
    let mut program = Program::start(&client.mux, sh("echo begun; sleep 1000; echo done"))?;
    program.until("begun\n")?;
    Ok(program)
}

fn until_gone(pid: u32) -> Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("{pid} is no process");
    };
    ensure!(
        ended(pid, Duration::from_secs(60))?,
        "process {} lives",
        pid.as_raw_nonzero()
    );
    Ok(())
}

fn guest_dies(up: Up) -> Result<Up> {
    output(
        &up.client.mux,
        "echo safe > /var/lib/containers/kept; echo lost > /tmp/kept",
    )?;
    ensure!(up.client.ask(Request::Sync, "writing out")? == Reply::Done);
    let mut program = busy(&up.client)?;
    let about = up.client.describe()?;
    kill(about.qemu_pid)?;
    match program.outcome()? {
        Reply::Failed(failure)
            if failure
                .message
                .starts_with("the machine ended: QEMU was ended by signal 9") => {}
        other => bail!("{other:?} from a guest that is dead"),
    }
    // Nothing more can be had of it, and the supervisor does not stay.
    ensure!(run(&up.client.mux, sh("true")).is_err());
    until_gone(about.pid)?;
    ensure!(up.client.describe().is_err());
    for name in ["daemon.pid", "daemon.sock", "pair.json"] {
        ensure!(!up.state().join(name).exists(), "{name} is left");
    }
    ensure!(Client::running(up.state())?.up().is_none());
    // What had been written out is there, and the rest is as after a power cut.
    let up = up.anew()?;
    let script = "cat /var/lib/containers/kept; test -e /tmp/kept || echo booted";
    ensure!(output(&up.client.mux, script)? == "safe\nbooted\n");
    Ok(up)
}

fn supervisor_dies(up: Up) -> Result<Up> {
    let mut program = busy(&up.client)?;
    let about = up.client.describe()?;
    kill(about.pid)?;
    match program.outcome() {
        Err(error) if error.is::<vcontainer_wire::Error>() => {}
        other => bail!("{other:?} from a conversation that broke"),
    }
    match up.client.ask(Request::Status, "asking") {
        Err(Error::Wire { .. }) => {}
        other => bail!("{other:?} from a conversation that broke"),
    }
    until_gone(about.pid)?;
    until_gone(about.qemu_pid)?;
    ensure!(Client::running(up.state())?.up().is_none());
    up.anew()
}

/// The program does not survive it, the guest does.
fn machine_is_stopped(up: Up) -> Result<Up> {
    output(&up.client.mux, "echo here > /tmp/kept")?;
    let other = up.connect()?;
    let mut program = busy(&other)?;
    let waiting = thread::spawn(move || program.outcome());
    let up = up.again()?;
    match waiting.join() {
        Ok(Ok(Reply::Failed(failure))) if failure.message == "the machine was stopped" => {}
        other => bail!("{other:?} from a guest that is frozen"),
    }
    output(
        &up.client.mux,
        "while pidof sleep > /dev/null; do sleep 0.05; done; cat /tmp/kept",
    )?;
    Ok(up)
}
