//! Channels of the clients, passed on to the agent, and the other way round.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vcontainer_wire::{
    Address, Channel, Event, Failure, Incoming, Mux, Receiver, Reply, Request, Sender, Stream,
};

/// How long a connection may come before the listener that it belongs to is known.
const REGISTRATION: Duration = Duration::from_secs(5);
/// How long the host may take to accept a connection from the guest.
const CONNECT: Duration = Duration::from_secs(60);

/// Passes channels on. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    agent: Mux,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Why the machine has ended, once it has.
    ended: Option<String>,
    /// Channels that are being passed on.
    open: usize,
    next: u64,
    /// The guest's listeners: where their connections go.
    listeners: HashMap<u32, Listener>,
    /// Forwards to the host, which are kept.
    forwards: HashMap<(SocketAddr, SocketAddr), Sender>,
}

#[derive(Clone)]
enum Listener {
    Host(SocketAddr),
    /// The client of this number.
    Client(u64, Mux),
}

/// The channels of one client. When it is dropped, the client is gone: its channels to the agent are closed.
pub(crate) struct Client {
    relay: Relay,
    number: u64,
    mux: Mux,
    channels: Arc<Mutex<HashMap<u64, Sender>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    pub(crate) fn new(agent: Mux) -> Self {
        Self {
            shared: Arc::new(Shared {
                agent,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// A client has come.
    pub(crate) fn client(&self, mux: &Mux) -> Client {
        Client {
            relay: self.clone(),
            number: self.number(),
            mux: mux.clone(),
            channels: Arc::default(),
        }
    }

    fn number(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// The machine has ended or is about to: why, for whoever still waits for something.
    pub(crate) fn ended(&self, why: &str) {
        self.state().ended.get_or_insert_with(|| why.to_owned());
        self.shared.changed.notify_all();
    }

    /// Waits until no channel is open any more, so that everybody has been told.
    pub(crate) fn wait_until_idle(&self, patience: Duration) {
        let limit = Instant::now() + patience;
        let mut state = self.state();
        while state.open > 0 {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn failure(&self, error: &dyn std::fmt::Display) -> Reply {
        // Whoever ends the machine says why, perhaps a moment later than the conversation breaks.
        let limit = Instant::now() + Duration::from_secs(2);
        let mut state = self.state();
        while state.ended.is_none() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let message = state
            .ended
            .clone()
            .unwrap_or_else(|| format!("the machine does not answer: {error}"));
        Reply::Failed(Failure { message, errno: None })
    }

    /// Counts a channel while `body` runs on a thread of its own.
    fn passing(&self, body: impl FnOnce() + Send + 'static) {
        self.state().open += 1;
        let relay = self.clone();
        let counted = Counted(relay);
        // When no thread can be had, the body is dropped, and with it the channel, which closes it.
        let _ = thread::Builder::new().name("relay".into()).spawn(move || {
            let _counted = counted;
            body();
        });
    }

    /// Listens in the guest, and connects each connection to an address of the host.
    pub(crate) fn forward_to_host(&self, guest: SocketAddr, host: SocketAddr) -> Reply {
        if self.state().forwards.contains_key(&(guest, host)) {
            return Reply::Done;
        }
        let opened = self.shared.agent.open(Request::Listen(Address::Tcp(guest)));
        let (sender, mut receiver) = match opened {
            Ok(channel) => channel.split(),
            Err(error) => return self.failure(&error),
        };
        loop {
            match receiver.next() {
                Ok(Event::Reply(Reply::Listening { listener })) => {
                    self.register(listener, Listener::Host(host));
                    self.state().forwards.insert((guest, host), sender);
                    return Reply::Done;
                }
                Ok(Event::Reply(reply)) => return reply,
                Ok(Event::Closed) => return self.failure(&"it closed the channel"),
                Ok(_) => {}
                Err(error) => return self.failure(&error),
            }
        }
    }

    fn register(&self, number: u32, listener: Listener) {
        self.state().listeners.insert(number, listener);
        self.shared.changed.notify_all();
    }

    fn listener(&self, number: u32) -> Option<Listener> {
        let limit = Instant::now() + REGISTRATION;
        let mut state = self.state();
        loop {
            if let Some(listener) = state.listeners.get(&number) {
                return Some(listener.clone());
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Passes on what the agent opens, until the conversation with it is over.
    pub(crate) fn serve_agent(&self, incoming: Incoming) {
        for (request, channel) in incoming {
            let Request::Accepted { listener } = request else {
                refuse(channel, "the host takes only connections from the guest");
                continue;
            };
            let relay = self.clone();
            self.passing(move || match relay.listener(listener) {
                Some(Listener::Host(address)) => connect(channel, address),
                Some(Listener::Client(_, mux)) => match mux.open(request) {
                    Ok(onward) => pass(
                        channel,
                        onward,
                        |_| (),
                        |error| {
                            Reply::Failed(Failure {
                                message: error.to_string(),
                                errno: None,
                            })
                        },
                    ),
                    Err(error) => refuse(channel, &error.to_string()),
                },
                None => refuse(channel, "nobody listens there any more"),
            });
        }
    }
}

struct Counted(Relay);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state().open -= 1;
        self.0.shared.changed.notify_all();
    }
}

impl Client {
    /// Passes a request and its channel on to the agent.
    pub(crate) fn relay(&self, request: Request, channel: Channel) {
        let (relay, number, mux) = (self.relay.clone(), self.relay.number(), self.mux.clone());
        let (client, channels) = (self.number, Arc::clone(&self.channels));
        self.relay.passing(move || {
            let onward = match relay.shared.agent.open(request) {
                Ok(onward) => onward,
                Err(error) => {
                    let _ = channel.split().0.reply(relay.failure(&error));
                    return;
                }
            };
            let (to_agent, from_agent) = onward.split();
            lock(&channels).insert(number, to_agent.clone());
            let heard = |reply: &Reply| {
                if let Reply::Listening { listener } = reply {
                    relay.register(*listener, Listener::Client(client, mux.clone()));
                }
            };
            pass_parts(channel.split(), (to_agent, from_agent), heard, |error| {
                relay.failure(&error)
            });
            lock(&channels).remove(&number);
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Also wakes whoever waits for a program that doesn't take its input.
        for sender in lock(&self.channels).values() {
            sender.close();
        }
        let mut state = self.relay.state();
        state
            .listeners
            .retain(|_, listener| !matches!(listener, Listener::Client(number, _) if *number == self.number));
    }
}

fn refuse(channel: Channel, message: &str) {
    let _ = channel.split().0.reply(Reply::Failed(Failure {
        message: message.into(),
        errno: None,
    }));
}

fn pass(
    one: Channel,
    other: Channel,
    heard: impl Fn(&Reply),
    broken: impl Fn(vcontainer_wire::Error) -> Reply,
) {
    pass_parts(one.split(), other.split(), heard, broken);
}

/// Passes everything on between the channel of the side that opened (`one`) and the one that was opened for it, until
/// both directions have ended. `heard` sees the reply; `broken` makes one when the other side is gone.
fn pass_parts(
    one: (Sender, Receiver),
    other: (Sender, Receiver),
    heard: impl Fn(&Reply),
    broken: impl Fn(vcontainer_wire::Error) -> Reply,
) {
    let (to_one, from_one) = one;
    let (to_other, from_other) = other;
    thread::scope(|scope| {
        scope.spawn(|| {
            // What the opener says; when it lets go, so do we.
            let _ = copy(from_one, &to_other, |_| ());
            to_other.close();
        });
        match copy(from_other, &to_one, heard) {
            Ok(()) => {}
            Err(error @ vcontainer_wire::Error::Broken { .. }) => {
                let _ = to_one.reply(broken(error));
            }
            Err(_) => {}
        }
        // After the reply the opener closes; without one this tells it that there won't be any.
        to_one.close();
    });
}

/// Passes on until the end. An error is about the receiving side; when the sending side is gone, that is the end too.
fn copy(mut from: Receiver, to: &Sender, heard: impl Fn(&Reply)) -> Result<(), vcontainer_wire::Error> {
    loop {
        let passed = match from.next()? {
            Event::Data(stream, bytes) => to.data(stream, &bytes),
            Event::Eof(stream) => to.eof(stream),
            Event::Control(control) => to.control(control),
            Event::Reply(reply) => {
                heard(&reply);
                let stays = matches!(reply, Reply::Listening { .. });
                let passed = to.reply(reply);
                if !stays {
                    return Ok(());
                }
                passed
            }
            Event::Closed => return Ok(()),
        };
        if passed.is_err() {
            return Ok(());
        }
    }
}

/// Connects a connection of the guest to an address of the host, and carries bytes until both have ended.
fn connect(channel: Channel, address: SocketAddr) {
    let (sender, mut receiver) = channel.split();
    let stream = match TcpStream::connect_timeout(&address, CONNECT) {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!("connecting the guest to {address} on the host: {error}");
            let _ = sender.reply(Reply::Failed(Failure {
                message,
                errno: error.raw_os_error(),
            }));
            return;
        }
    };
    let _ = stream.set_nodelay(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let passed = match receiver.next() {
                    Ok(Event::Data(_, bytes)) => (&stream).write_all(&bytes),
                    Ok(Event::Eof(_)) => stream.shutdown(Shutdown::Write),
                    Ok(Event::Closed) | Err(_) => break,
                    Ok(_) => Ok(()),
                };
                if passed.is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 1 << 16];
        loop {
            match (&stream).read(&mut buffer) {
                Ok(0) => break,
                Ok(got)
                    if sender
                        .data(Stream::Out, buffer.get(..got).unwrap_or_default())
                        .is_err() =>
                {
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.eof(Stream::Out);
        let _ = sender.reply(Reply::Done);
    });
}
