//! Byte streams to and from sockets in the guest.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use vcontainer_wire::{Address, Channel, Event, Mux, Reply, Request, Sender, Stream};

use crate::failure::Doing;

/// A connected socket.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        };
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.write_all(bytes),
            Self::Unix(socket) => socket.write_all(bytes),
        }
    }
}

/// Connects, and carries bytes until both directions have ended.
pub fn connect(address: &Address, channel: Channel) {
    let socket = match address {
        Address::Tcp(address) => TcpStream::connect(address).map(|socket| {
            let _ = socket.set_nodelay(true);
            Socket::Tcp(socket)
        }),
        Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
    };
    match socket.doing(format!("connecting to {address:?} in the guest")) {
        Ok(socket) => carry(socket, channel, Stream::In, Stream::Out),
        Err(failure) => drop(channel.split().0.reply(Reply::Failed(failure))),
    }
}

/// Bytes of `from` go into the socket, and what it says becomes `to`. The side that was opened replies at the end.
fn carry(socket: Socket, channel: Channel, from: Stream, to: Stream) {
    let (sender, mut receiver) = channel.split();
    let Ok(mut reading) = socket.try_clone() else {
        sender.close();
        return;
    };
    let mut writing = socket;
    let replies = to == Stream::Out;
    let answering = sender.clone();
    let reader = thread::Builder::new().name("tunnel".into()).spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reading.read(&mut buffer) {
                Ok(0) => return answering.eof(to).is_ok(),
                Ok(count) => {
                    if answering
                        .data(to, buffer.get(..count).unwrap_or_default())
                        .is_err()
                    {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    });
    let whole = loop {
        match receiver.next() {
            Ok(Event::Data(stream, bytes)) if stream == from => {
                if writing.write_all(&bytes).is_err() {
                    break false;
                }
            }
            Ok(Event::Eof(stream)) if stream == from => {
                writing.shutdown(Shutdown::Write);
                break true;
            }
            Ok(Event::Reply(_)) => break true,
            Ok(Event::Closed) | Err(_) => {
                writing.shutdown(Shutdown::Both);
                break false;
            }
            Ok(_) => {}
        }
    };
    if !whole {
        writing.shutdown(Shutdown::Both);
    }
    // The host may let go while the socket still speaks.
    let watching = writing.try_clone();
    let watcher = thread::Builder::new().name("tunnel-watch".into()).spawn(move || {
        while !matches!(receiver.next(), Ok(Event::Closed) | Err(_)) {}
        if let Ok(socket) = watching {
            socket.shutdown(Shutdown::Both);
        }
    });
    let read_all = reader.is_ok_and(|reader| reader.join().unwrap_or(false));
    if whole && read_all && replies {
        let _ = sender.reply(Reply::Done);
    } else if replies {
        sender.close();
    }
    drop((sender, watcher));
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, String),
}

impl Listener {
    fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => {
                let socket = listener.accept()?.0;
                let _ = socket.set_nodelay(true);
                Socket::Tcp(socket)
            }
            Self::Unix(listener, _) => Socket::Unix(listener.accept()?.0),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens until the channel is closed; every connection becomes a channel to the host.
pub fn listen(mux: &Mux, address: &Address, channel: Channel) {
    static NUMBERS: AtomicU32 = AtomicU32::new(1);
    let (sender, mut receiver) = channel.split();
    let bound = match address {
        Address::Tcp(address) => TcpListener::bind(address).map(Listener::Tcp),
        Address::Unix(path) => {
            UnixListener::bind(path).map(|listener| Listener::Unix(listener, path.clone()))
        }
    };
    let start = || {
        let listener = bound.doing(format!("listening on {address:?} in the guest"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).doing("making an event")?;
        Ok((listener, Arc::new(stop)))
    };
    let (listener, stop) = match start() {
        Ok(started) => started,
        Err(failure) => return drop::<Result<_, _>>(sender.reply(Reply::Failed(failure))),
    };
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let (mux, stopping) = (mux.clone(), Arc::clone(&stop));
    let accepting = thread::Builder::new()
        .name("listen".into())
        .spawn(move || accept(&mux, &listener, number, &stopping));
    if accepting.is_ok() && reply_listening(&sender, number) {
        while !matches!(receiver.next(), Ok(Event::Closed) | Err(_)) {}
    }
    let _ = rustix::io::write(&*stop, &1u64.to_ne_bytes());
    if let Ok(accepting) = accepting {
        let _ = accepting.join();
    }
}

fn reply_listening(sender: &Sender, listener: u32) -> bool {
    sender.reply(Reply::Listening { listener }).is_ok()
}

/// After a connection that could not be taken.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

fn accept(mux: &Mux, listener: &Listener, number: u32, stop: &OwnedFd) {
    loop {
        let fd = match listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let [_, stopped] = &fds;
        if !stopped.revents().is_empty() {
            return;
        }
        let Ok(socket) = listener.accept() else {
            // It was given up already, or there are no descriptors left: that does not get better at once.
            let _ = rustix::event::poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&PAUSE));
            continue;
        };
        let Ok(channel) = mux.open(Request::Accepted { listener: number }) else {
            return;
        };
        let _ = thread::Builder::new()
            .name("accepted".into())
            .spawn(move || carry(socket, channel, Stream::Out, Stream::In));
    }
}
