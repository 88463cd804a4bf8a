//! A machine that somebody keeps up, and conversations with it.
//!
//! An ordinary user starts it with their own command, so supervisor and QEMU are theirs. The conversations are held by
//! the tests, which may be root.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::guest;
use e2e::person::Person;
use rustix::process::{Pid, Signal, kill_process};
use vcontainer_guest::{Arch, Engine};
use vcontainer_vm::Client;
use vcontainer_wire::message::Machine as Description;
use vcontainer_wire::{Reply, Request, Status};

/// Who does not get to the end of a test in this time hangs.
const HUNG: Duration = Duration::from_secs(900);

/// A machine that stays up.
pub struct Up {
    pub client: Client,
    pub person: Person,
    state: PathBuf,
    _watched: mpsc::Sender<()>,
}

impl Up {
    /// An aarch64 machine with Podman, which boots fastest.
    pub fn new() -> Result<Self> {
        let person = guest::owner(&[(Engine::Podman, Arch::Aarch64)])?;
        let state = person.path("home/.vpdmn/aarch64");
        Self::start(person, state)
    }

    /// Starts the machine with its state in a directory.
    pub fn start(person: Person, state: PathBuf) -> Result<Self> {
        start(&person, &state)?;
        let client = connect(&state)?;
        // A guest that boots answers before its state disk is there.
        client.ask(Request::StartEngine, "waiting for the engine")?;
        let about = client.describe()?;
        let (watched, ends) = mpsc::channel::<()>();
        thread::spawn(move || watch(&about, &ends));
        Ok(Self {
            client,
            person,
            state,
            _watched: watched,
        })
    }

    /// One more conversation.
    pub fn connect(&self) -> Result<Client> {
        connect(&self.state)
    }

    /// What the guest is doing.
    pub fn status(&self) -> Result<Status> {
        match self.client.ask(Request::Status, "asking for the status")? {
            Reply::Status(status) => Ok(status),
            other => bail!("{other:?} instead of a status"),
        }
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Suspends the machine and starts it again.
    pub fn again(self) -> Result<Self> {
        let Self {
            client,
            person,
            state,
            _watched: watched,
        } = self;
        drop((client, watched));
        stop(&person, &state)?;
        Self::start(person, state)
    }

    /// Starts it again after its end.
    pub fn anew(self) -> Result<Self> {
        let Self { person, state, .. } = self;
        Self::start(person, state)
    }

    /// Suspends the machine; nothing of it may be left running.
    pub fn stop(self) -> Result<()> {
        let Self {
            client,
            person,
            state,
            _watched: watched,
        } = self;
        drop((client, watched));
        stop(&person, &state)?;
        person.alone()
    }
}

/// Without an end of the test in time the machine is ended, so that whoever waits for it sees an error.
fn watch(about: &Description, ends: &mpsc::Receiver<()>) {
    if ends.recv_timeout(HUNG) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("the test hangs: its machine is ended");
        for pid in [about.pid, about.qemu_pid] {
            let _ = kill(pid);
        }
    }
}

fn memres(person: &Person, state: &Path, what: &str) -> Result<String> {
    person
        .command("vpdmn")
        .args(["-a", "aarch64", "--state-dir"])
        .arg(state)
        .args(["vmemres", what])
        .output()
}

fn start(person: &Person, state: &Path) -> Result<()> {
    memres(person, state, "start").map(drop)
}

fn stop(person: &Person, state: &Path) -> Result<()> {
    memres(person, state, "stop").map(drop)
}

fn connect(state: &Path) -> Result<Client> {
    Client::running(state)?
        .up()
        .with_context(|| format!("the machine of {} is not up", state.display()))
}

/// Ends a process of a machine by its number, which the machine has told.
pub fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.context("this is no process")?, Signal::KILL).context("killing a process")
}
