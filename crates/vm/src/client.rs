//! A conversation with a machine.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use vcontainer_wire::message::{Machine, MachineRequest};
use vcontainer_wire::{Incoming, Mux, Reply, Request, Side};

use crate::error::{During, Error};
use crate::instance::{self, Lock, Owner, StateDir, Waiting};
use crate::pair::FORMAT;
use crate::progress::Progress;
use crate::spec::{MachineSpec, Place};
use crate::start::{answer, stateless_places};
use crate::stop;
use crate::supervisor::{Message, Order};

/// How long another process may hold the lock without serving: it suspends the machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a machine that ends between its start and the first word is started.
const STARTS: usize = 3;

/// A conversation with a machine: with its supervisor, and through it with the agent in the guest. When it is dropped,
/// its programs in the guest are ended.
pub struct Client {
    /// What the machine is asked.
    pub mux: Mux,
    /// What the guest opens: connections to listeners that were asked for.
    pub incoming: Incoming,
    /// Whether this machine was started for this client.
    pub started: bool,
}

/// Whether a machine is there.
pub enum Presence {
    /// It is up.
    Up(Client),
    /// This process starts it.
    Starting(u32),
    /// It is not up, or is just being suspended.
    Down,
}

impl Presence {
    /// The conversation with a machine that is up.
    #[must_use]
    pub fn up(self) -> Option<Client> {
        match self {
            Self::Up(client) => Some(client),
            Self::Starting(_) | Self::Down => None,
        }
    }
}

impl Client {
    /// Connects to the machine. When it isn't up, its supervisor is started first, which lets it go on or boots it.
    ///
    /// # Errors
    /// The machine can't be started, or is in use by a process that doesn't serve it.
    pub fn connect(spec: &MachineSpec, progress: &mut dyn FnMut(Progress)) -> Result<Self, Error> {
        // The supervisor gets them as JSON; nothing is made for a machine that cannot be started.
        serde_json::to_string(spec).map_err(|error| {
            Error::Supervisor(format!("a path of the machine cannot be passed on: {error}"))
        })?;
        let mut state = directory(spec)?;
        let owner = Owner {
            format: FORMAT,
            engine: spec.engine,
            arch: spec.arch,
        };
        let mut starts = 0;
        let mut starter = None;
        let mut waiting: Option<(Waiting, Instant)> = None;
        loop {
            if !state.is_there() {
                // It was cleaned away; who makes it anew may be somebody else.
                state = directory(spec)?;
            }
            if let Some(mut client) = greet(&state)? {
                // One that is up may be of another engine or architecture.
                state.belongs_to(owner)?;
                client.started = starter.is_some();
                return Ok(client);
            }
            starter = None;
            if let Some(lock) = state.try_lock()? {
                if starts == STARTS {
                    return Err(Error::Supervisor(format!(
                        "the machine of {} ends as soon as it is started; its last words are in qemu.log and \
                         console.log there",
                        state.path().display()
                    )));
                }
                state.belongs_to(owner)?;
                starts += 1;
                starter = Some(start(spec, &state, lock, progress)?);
                continue;
            }
            if !state.is_there() {
                continue;
            }
            let (waiting, since) = waiting.get_or_insert_with(|| {
                progress(Progress::WaitingForOther);
                (Waiting::new(), Instant::now())
            });
            let holder = state.holder();
            if let Some(pid) = holder
                && since.elapsed() > PATIENCE
            {
                // A start has limits of its own.
                if state.starting().is_some() {
                    *since = Instant::now();
                    continue;
                }
                return Err(Error::Locked {
                    directory: state.path().into(),
                    holder: format!("process {pid}"),
                });
            }
            waiting.goes_on(&state, holder.is_some())?;
        }
    }

    /// Connects to the machine of a state directory if it is up; never starts one, and never waits for one that starts.
    ///
    /// # Errors
    /// The directory can't be read, or another version of this tool runs the machine.
    pub fn running(state: &Path) -> Result<Presence, Error> {
        let Some(state) = StateDir::open(state)? else {
            return Ok(Presence::Down);
        };
        Ok(match greet(&state)? {
            Some(client) => Presence::Up(client),
            None => state.starting().map_or(Presence::Down, Presence::Starting),
        })
    }

    /// Sends a request that has one reply and no bytes.
    ///
    /// # Errors
    /// It was refused, or the conversation broke.
    pub fn ask(&self, request: Request, doing: &str) -> Result<Reply, Error> {
        answer(&self.mux, request, doing)
    }

    /// Which machine this is.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn describe(&self) -> Result<Machine, Error> {
        match self.ask(
            Request::Machine(MachineRequest::Describe),
            "asking the machine what it is",
        )? {
            Reply::Machine(machine) => Ok(machine),
            other => Err(Error::Supervisor(format!(
                "the machine gave an unexpected answer: {other:?}"
            ))),
        }
    }

    /// Keeps the machine up until it is told to stop.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn stay(&self) -> Result<(), Error> {
        self.ask(Request::Machine(MachineRequest::Stay), "keeping the machine up")
            .map(drop)
    }

    /// Suspends the machine now; returns when that is done. Programs that others run in it are ended.
    ///
    /// # Errors
    /// It could not be suspended: the next start boots it from its disk.
    pub fn stop(&self) -> Result<(), Error> {
        self.ask(Request::Machine(MachineRequest::Stop), "suspending the machine")
            .map(drop)
    }

    /// Listens in the guest and connects each connection to an address of the host, as long as the machine is up.
    ///
    /// # Errors
    /// As [`Client::ask`]; the guest can't listen there.
    pub fn forward_to_host(&self, guest: SocketAddr, host: SocketAddr) -> Result<(), Error> {
        let request = Request::Machine(MachineRequest::ForwardToHost { guest, host });
        self.ask(
            request,
            &format!("forwarding {guest} of the guest to {host} of the host"),
        )
        .map(drop)
    }
}

/// Talks to the supervisor, if one listens and takes clients.
fn greet(state: &StateDir) -> Result<Option<Client>, Error> {
    let Some(stream) = state.connect()? else {
        return Ok(None);
    };
    let writer = stream.try_clone().during(|| "duplicating a socket".into())?;
    match Mux::start(Side::Host, stream, writer) {
        Ok((mux, incoming)) => Ok(Some(Client {
            mux,
            incoming,
            started: false,
        })),
        Err(source @ vcontainer_wire::Error::Version { .. }) => Err(Error::Wire {
            doing: format!(
                "talking to the machine of {}, which another version of this tool runs{}",
                state.path().display(),
                state.holder().map_or(String::new(), |pid| format!(
                    ": end it with `kill {pid}`, which suspends it"
                ))
            ),
            source,
        }),
        // It is ending.
        Err(_) => Ok(None),
    }
}

/// The directory of a machine.
fn directory(spec: &MachineSpec) -> Result<StateDir, Error> {
    match &spec.place {
        Place::Persistent(path) => StateDir::create(path)
            .and_then(|state| state.writable().map(|()| state))
            .map_err(|error| cannot_hold(error, path, "a machine's state", "--state-dir")),
        Place::Stateless => stateless(&spec.cache).map_err(|error| {
            cannot_hold(
                error,
                &spec.cache,
                "what a stateless machine needs",
                "XDG_CACHE_HOME",
            )
        }),
    }
}

fn cannot_hold(error: Error, directory: &Path, what: &'static str, option: &'static str) -> Error {
    match error {
        Error::Io { .. } => Error::Place {
            directory: directory.into(),
            what,
            option,
            source: Box::new(error),
        },
        other => other,
    }
}

/// A directory for a machine that leaves nothing behind. Removes what killed ones have left.
fn stateless(cache: &Path) -> Result<StateDir, Error> {
    let all = stateless_places(cache);
    std::fs::create_dir_all(&all).on("making the directory", &all)?;
    for entry in std::fs::read_dir(&all).on("reading", &all)?.flatten() {
        if let Ok(Some(state)) = StateDir::open(&entry.path())
            && let Ok(Some(_lock)) = state.try_left_lock()
        {
            let _ = stop::delete(&state);
        }
    }
    let made = tempfile::Builder::new()
        .prefix("machine-")
        .tempdir_in(&all)
        .on("making a directory in", &all)?;
    StateDir::create(&made.keep())
}

/// Starts a supervisor, which inherits the lock, and waits until the machine is ready. The machine stays up as long as
/// the result is held.
fn start(
    spec: &MachineSpec,
    state: &StateDir,
    lock: Lock,
    progress: &mut dyn FnMut(Progress),
) -> Result<UnixStream, Error> {
    let path: PathBuf = state.file("qemu.log");
    instance::remove(&path)?;
    let log = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .on("making", &path)?;
    let (ours, theirs) = UnixStream::pair().during(|| "making a pair of sockets".into())?;
    let mut child = Command::new(&spec.program)
        .arg0("vcontainer")
        .arg(crate::SUPERVISE)
        .current_dir("/")
        // Whoever pretends to be root (fakeroot, pseudo) does so in the command alone: the machine may outlive the server
        // that remembers the pretence, and its files are no part of that.
        .env_remove("LD_PRELOAD")
        .env("PSEUDO_UNLOAD", "1")
        .stdin(Stdio::from(lock.0))
        .stdout(OwnedFd::from(theirs))
        .stderr(log)
        .spawn()
        .on("starting", &spec.program)?;
    let order = Order {
        spec: spec.clone(),
        directory: state.path().into(),
    };
    let mut line = serde_json::to_vec(&order)
        .map_err(|error| Error::Supervisor(format!("a path of the machine cannot be passed on: {error}")))?;
    line.push(b'\n');
    let sent = (&ours).write_all(&line);
    for line in BufReader::new(&ours).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Message::Progress(step)) => progress(step),
            Ok(Message::Ready) => {
                // It is nobody's child to wait for when this process ends; until then a thread does.
                let _ = thread::Builder::new().spawn(move || child.wait());
                return Ok(ours);
            }
            Ok(Message::Failed(text)) => {
                let _ = child.wait();
                return Err(Error::Supervisor(text));
            }
            Err(_) => {}
        }
    }
    let _ = sent;
    let status = child
        .wait()
        .during(|| "waiting for the machine's supervisor".into())?;
    let said = std::fs::read(&path).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Err(Error::Supervisor(format!(
        "the supervisor of the machine ended before the machine was ready ({status}): {}",
        said.trim()
    )))
}
