//! The process that owns a machine: starts it, serves its clients, suspends it when nobody needs it, and ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::Shutdown;
use serde::{Deserialize, Serialize};
use vcontainer_wire::message::{Machine as Description, MachineRequest};
use vcontainer_wire::{Failure, Mux, Reply, Request, Sender, Side};

use crate::error::{During, Error};
use crate::instance::{Lock, StateDir};
use crate::json::{read_json, write_json};
use crate::machine::within;
use crate::pair::Pair;
use crate::progress::Progress;
use crate::relay::Relay;
use crate::spec::{MachineSpec, Place};
use crate::start::{Abort, Plan, Running, answer, start, suspend, sync};
use crate::stop;

/// How long clients may take to hear how their requests ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// How many clients may wait to be taken.
const BACKLOG: i32 = 128;
/// How long the agent may take to say what runs in the guest.
const STATUS: Duration = Duration::from_secs(60);

/// What a supervisor is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) spec: MachineSpec,
    /// The machine's directory; its lock is inherited.
    pub(crate) directory: PathBuf,
}

/// What a supervisor tells the process that started it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Progress(Progress),
    Ready,
    Failed(String),
}

/// What the supervisor's main thread waits for.
enum Event {
    ClientGone,
    /// This QEMU is gone, or its guest can't go on.
    Ended(u32),
    /// Somebody wants the machine to be suspended, and perhaps waits for it.
    Stop(Option<Sender>),
}

/// What all threads of a supervisor share.
struct Shared {
    state: Mutex<State>,
    events: mpsc::Sender<Event>,
    description: Description,
    relay: Relay,
}

#[derive(Default)]
struct State {
    /// Connected clients.
    clients: Vec<(u64, Option<Mux>)>,
    next: u64,
    stays: bool,
    /// No new client is taken.
    closing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a machine's supervisor, as [`crate::Client`] starts it: the machine's lock is the standard input, and the
/// conversation with the client the standard output. Returns when the machine has ended.
///
/// # Errors
/// The machine could not be started, or died. The client has been told.
pub fn supervise() -> Result<(), Error> {
    let lock = rustix::stdio::stdin()
        .try_clone_to_owned()
        .during(|| "taking over the lock".into())?;
    let lock = Lock(lock.into());
    // QEMU inherits it. When this process is killed, QEMU ends a moment later: until then nobody may boot from its disk.
    fcntl_setfd(&lock.0, FdFlags::empty()).during(|| "taking over the lock".into())?;
    let control: OwnedFd = rustix::stdio::stdout()
        .try_clone_to_owned()
        .during(|| "taking over the conversation".into())?;
    let control = UnixStream::from(control);
    // Out of the terminal's reach. It fails only for a process that is out of it already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut first = String::new();
    BufReader::new(&control)
        .read_line(&mut first)
        .during(|| "reading what machine to run".into())?;
    let order: Order = serde_json::from_str(&first)
        .map_err(|error| Error::Supervisor(format!("this command is for the tool itself ({error})")))?;
    let place = order.spec.place.clone();
    let state = StateDir::create(&order.directory)?;
    let result = run(order, &state, &control);
    if let Err(error) = &result {
        tell(&control, &Message::Failed(error.chain()));
    }
    let _ = state.remove("daemon.sock");
    let _ = state.remove("daemon.pid");
    let pair = match (&place, &result) {
        (Place::Persistent(_), Ok(pair)) => pair.clone(),
        (Place::Persistent(_), Err(_)) => None,
        (Place::Stateless, _) => {
            drop(stop::delete(&state));
            None
        }
    };
    // From here on others may start the machine.
    let _ = flock(&lock.0, FlockOperation::Unlock);
    drop(control);
    if let Some((pair, disk)) = pair {
        settle(&state, &lock, pair, disk);
    }
    result.map(drop)
}

/// Writes a suspended machine out to the host's disk, and then says in its record that this is so, if nobody has
/// started it meanwhile.
fn settle(state: &StateDir, lock: &Lock, mut pair: Pair, disk: &str) {
    if sync(state, disk).is_err() || !lock.take(state).unwrap_or(false) {
        return;
    }
    if let Ok(Some(now)) = read_json::<Pair>(&state.file("pair.json"))
        && now == pair
    {
        pair.synced = true;
        // Without it the machine boots after the host's next boot, nothing else.
        let _ = write_json(&state.file("pair.json"), &pair);
    }
}

/// Writes down who holds the lock.
fn note_holder(state: &StateDir) -> Result<(), Error> {
    let path = state.file("daemon.pid");
    std::fs::write(&path, format!("{}\n", std::process::id())).on("writing", &path)
}

fn tell(mut control: &UnixStream, message: &Message) {
    if let Ok(mut line) = serde_json::to_vec(message) {
        line.push(b'\n');
        // Whoever started the machine may be gone; it runs all the same.
        let _ = control.write_all(&line);
    }
}

/// Runs the machine. Gives the record of the suspended machine and the name of its disk, when there is one.
fn run(order: Order, state: &StateDir, control: &UnixStream) -> Result<Option<(Pair, &'static str)>, Error> {
    note_holder(state)?;
    let socket = state.bind()?;
    let (events, arriving) = mpsc::channel();
    let abort = Arc::new(Abort::default());
    watch_signals(events.clone(), Arc::clone(&abort))?;
    let ended = events.clone();
    let ended: Arc<dyn Fn(u32) + Send + Sync> = Arc::new(move |pid| {
        let _ = ended.send(Event::Ended(pid));
    });
    let mut progress = |progress| tell(control, &Message::Progress(progress));
    let plan = Plan::new(order.spec, Arc::clone(&ended), Arc::clone(&abort), &mut progress)?;
    let Running {
        machine,
        agent,
        incoming,
        plan,
    } = start(plan, state, &mut progress)?;

    abort.disarm();
    let qemu = machine.pid();
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            clients: vec![(0, None)],
            next: 1,
            ..State::default()
        }),
        events: events.clone(),
        description: Description {
            engine: plan.spec.engine.to_string(),
            architecture: plan.spec.arch.to_string(),
            pid: std::process::id(),
            qemu_pid: qemu,
            stays: false,
            accelerator: if plan.hardware.kvm { "kvm" } else { "tcg" }.into(),
        },
        relay: Relay::new(agent.clone()),
    });
    let relay = shared.relay.clone();
    spawn("agent", move || {
        relay.serve_agent(incoming);
        ended(qemu);
    })?;
    // Whoever connects from here on is served.
    rustix::net::listen(&socket, BACKLOG).on("listening on", &state.file("daemon.sock"))?;
    let listener = Arc::new(UnixListener::from(socket));
    let (accepting, to_accept) = (Arc::clone(&listener), Arc::clone(&shared));
    let acceptor = spawn("accept", move || accept(&accepting, &to_accept))?;
    // The process that started this counts as a client until it has connected.
    let mut starter = control
        .try_clone()
        .during(|| "duplicating the conversation".into())?;
    let gone = Arc::clone(&shared);
    tell(control, &Message::Ready);
    spawn("starter", move || {
        let _ = starter.read(&mut [0]);
        forget(&gone, 0);
    })?;

    let outcome = serve(&arriving, &shared, &plan.spec, qemu, &agent);
    shared.state().closing = true;
    let _ = rustix::net::shutdown(listener.as_fd(), Shutdown::Both);
    let _ = acceptor.join();
    let _ = state.remove("daemon.sock");
    drop(listener);

    let stateless = plan.spec.place == Place::Stateless;
    let disk = StateDir::disk_name(plan.spec.engine);
    let (result, mut waiting) = match outcome {
        Outcome::Ended => {
            // The reason must be known before the conversation breaks.
            let why = machine.kill("the machine ended");
            shared.relay.ended(&why);
            (Err(Error::Ended(why)), Vec::new())
        }
        Outcome::Suspend(waiting) if stateless => {
            shared.relay.ended("the machine was stopped");
            drop(machine);
            (Ok(None), waiting)
        }
        Outcome::Suspend(waiting) => {
            shared.relay.ended("the machine was stopped");
            let pair = suspend(machine, &agent, &plan, state);
            (pair.map(|pair| Some((pair, disk))), waiting)
        }
    };
    drop(agent);
    // Others may have asked for the same meanwhile.
    waiting.extend(arriving.try_iter().filter_map(|event| match event {
        Event::Stop(sender) => sender,
        _ => None,
    }));
    for sender in waiting {
        let _ = sender.reply(match &result {
            Ok(_) => Reply::Done,
            Err(error) => Reply::Failed(Failure {
                message: format!(
                    "the machine could not be suspended ({}); the next command boots it from its disk",
                    error.chain()
                ),
                errno: None,
            }),
        });
    }
    shared.relay.wait_until_idle(FAREWELL);
    let clients: Vec<Mux> = shared
        .state()
        .clients
        .drain(..)
        .filter_map(|(_, mux)| mux)
        .collect();
    for client in clients {
        client.end();
    }
    result
}

/// How serving ended.
enum Outcome {
    /// QEMU is gone, or the guest can't go on.
    Ended,
    /// It is to be suspended; these want to know when that is done.
    Suspend(Vec<Sender>),
}

/// Waits until the machine ends or is not needed any more.
fn serve(
    arriving: &mpsc::Receiver<Event>,
    shared: &Shared,
    spec: &MachineSpec,
    qemu: u32,
    agent: &Mux,
) -> Outcome {
    let mut idle_since: Option<Instant> = None;
    loop {
        let event = match idle_since {
            None => arriving.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(since) => {
                arriving.recv_timeout((since + spec.linger).saturating_duration_since(Instant::now()))
            }
        };
        match event {
            Ok(Event::Ended(pid)) if pid == qemu => return Outcome::Ended,
            Ok(Event::Ended(_)) => {}
            Ok(Event::Stop(waiting)) => return Outcome::Suspend(waiting.into_iter().collect()),
            Ok(Event::ClientGone) if spec.place == Place::Stateless => {
                if close_if_unused(shared) {
                    return Outcome::Suspend(Vec::new());
                }
            }
            Ok(Event::ClientGone) => {
                let state = shared.state();
                idle_since = (state.clients.is_empty() && !state.stays).then(Instant::now);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                idle_since = None;
                if !shared.state().clients.is_empty() {
                    continue;
                }
                if containers_run(agent) {
                    idle_since = Some(Instant::now() + Duration::from_secs(10).saturating_sub(spec.linger));
                } else if close_if_unused(shared) {
                    return Outcome::Suspend(Vec::new());
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Outcome::Ended,
        }
    }
}

/// Takes no more clients, unless there is one.
fn close_if_unused(shared: &Shared) -> bool {
    let mut state = shared.state();
    state.closing |= state.clients.is_empty() && !state.stays;
    state.closing
}

/// Whether containers run in the guest. A guest that doesn't tell isn't kept up for that.
fn containers_run(agent: &Mux) -> bool {
    let agent = agent.clone();
    let reply = within(STATUS, move || {
        answer(&agent, Request::Status, "asking the guest what it does")
    });
    matches!(reply, Ok(Some(Ok(Reply::Status(status)))) if status.containers > 0)
}

/// A signal suspends the machine; one that is still starting is given up.
fn watch_signals(events: mpsc::Sender<Event>, abort: Arc<Abort>) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .during(|| "catching signals".into())?;
    spawn("signals", move || {
        for _ in signals.forever() {
            abort.abort();
            let _ = events.send(Event::Stop(None));
        }
    })
    .map(drop)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .during(|| "starting a thread".into())
}

/// Takes clients until the supervisor closes.
fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        let number = {
            let mut state = shared.state();
            if state.closing {
                return;
            }
            let number = state.next;
            state.next += 1;
            state.clients.push((number, None));
            number
        };
        let client = Arc::clone(shared);
        let started = spawn("client", move || {
            serve_client(stream, number, &client);
            forget(&client, number);
        });
        if started.is_err() {
            forget(shared, number);
        }
    }
}

fn forget(shared: &Shared, number: u64) {
    shared.state().clients.retain(|(client, _)| *client != number);
    let _ = shared.events.send(Event::ClientGone);
}

fn serve_client(stream: UnixStream, number: u64, shared: &Arc<Shared>) {
    let Ok(writer) = stream.try_clone() else { return };
    let Ok((mux, incoming)) = Mux::start(Side::Guest, stream, writer) else {
        return;
    };
    if let Some(client) = shared
        .state()
        .clients
        .iter_mut()
        .find(|(client, _)| *client == number)
    {
        client.1 = Some(mux.clone());
    }
    let relayed = shared.relay.client(&mux);
    for (request, channel) in incoming {
        let Request::Machine(request) = request else {
            relayed.relay(request, channel);
            continue;
        };
        let (sender, _receiver) = channel.split();
        let reply = match request {
            MachineRequest::Stay => {
                shared.state().stays = true;
                Reply::Done
            }
            MachineRequest::Stop => {
                let _ = shared.events.send(Event::Stop(Some(sender)));
                continue;
            }
            MachineRequest::Describe => {
                let stays = shared.state().stays;
                Reply::Machine(Description {
                    stays,
                    ..shared.description.clone()
                })
            }
            MachineRequest::ForwardToHost { guest, host } => shared.relay.forward_to_host(guest, host),
        };
        let _ = sender.reply(reply);
    }
}
