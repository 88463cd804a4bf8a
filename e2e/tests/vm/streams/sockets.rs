//! Streams to sockets in the guest, and from them to the host.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use vcontainer_vm::Client;
use vcontainer_wire::{Address, Channel, Event, Failure, Mux, Receiver, Reply, Request, Sender, Stream};

use super::Check;
use super::bulk::send;
use crate::program::{Program, output, run_with, sh, words};
use crate::up::Up;

pub const CHECKS: &[Check] = &[
    ("TCP and unix sockets, both ways", both_ways),
    ("one side ends first", half_closed),
    ("what is refused", refused),
    ("programs at the other end", programs),
    ("forwards to the host", forwards),
];

fn tcp(port: u16) -> Address {
    Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn unix(path: &str) -> Address {
    Address::Unix(path.into())
}

/// A listener in the guest, as long as it is held.
struct Listening {
    number: u32,
    _sender: Sender,
    _receiver: Receiver,
}

fn listen(mux: &Mux, address: Address) -> Result<Listening> {
    let (sender, mut receiver) = mux.open(Request::Listen(address))?.split();
    match receiver.next()? {
        Event::Reply(Reply::Listening { listener }) => Ok(Listening {
            number: listener,
            _sender: sender,
            _receiver: receiver,
        }),
        other => bail!("{other:?} instead of a listener"),
    }
}

/// The next connection to this listener.
fn accepted(client: &mut Client, listening: &Listening) -> Result<Channel> {
    let (request, channel) = client.incoming.next().context("the conversation is over")?;
    let expected = Request::Accepted {
        listener: listening.number,
    };
    ensure!(request == expected, "{request:?}");
    Ok(channel)
}

/// Takes a stream to its end, and returns size and hash.
fn take(receiver: &mut Receiver, stream: Stream) -> Result<(usize, Vec<u8>)> {
    let (mut size, mut hash) = (0, Sha256::new());
    loop {
        match receiver.next()? {
            Event::Data(found, bytes) if found == stream => {
                size += bytes.len();
                hash.update(&bytes);
            }
            Event::Eof(found) if found == stream => return Ok((size, hash.finalize().to_vec())),
            other => bail!("{other:?} instead of bytes"),
        }
    }
}

/// A connection through the guest, with both of its ends here.
fn both_ways(up: &Up) -> Result<()> {
    const BYTES: usize = 10_000_000;
    for address in [tcp(7001), unix("/tmp/socket with spaces")] {
        let mut client = up.connect()?;
        let listening = listen(&client.mux, address.clone())?;
        for _ in 0..2 {
            let near = client.mux.open(Request::Connect(address.clone()))?;
            let far = accepted(&mut client, &listening)?;
            let (near_sender, mut near) = near.split();
            let (far_sender, mut far) = far.split();
            thread::scope(|scope| {
                let there = scope.spawn(|| send(&near_sender, Stream::In, 1, BYTES));
                let back = scope.spawn(|| send(&far_sender, Stream::Out, 2, BYTES));
                let arrived = scope.spawn(|| take(&mut far, Stream::In));
                let (size, hash) = take(&mut near, Stream::Out)?;
                let join = "a thread panicked";
                let sent = back.join().ok().context(join)??;
                ensure!(
                    size == BYTES && hash == sent,
                    "{address:?}: {size} bytes came back"
                );
                let sent = there.join().ok().context(join)??;
                let (size, hash) = arrived.join().ok().context(join)??;
                ensure!(
                    size == BYTES && hash == sent,
                    "{address:?}: {size} bytes went there"
                );
                Ok(())
            })?;
            ensure!(near.next()? == Event::Reply(Reply::Done));
            far_sender.reply(Reply::Done)?;
        }
    }
    Ok(())
}

fn half_closed(up: &Up) -> Result<()> {
    let mut client = up.connect()?;
    for address in [tcp(7002), unix("/tmp/half")] {
        let listening = listen(&client.mux, address.clone())?;
        let (near_sender, mut near) = client.mux.open(Request::Connect(address.clone()))?.split();
        let (far_sender, mut far) = accepted(&mut client, &listening)?.split();
        near_sender.data(Stream::In, b"question")?;
        near_sender.eof(Stream::In)?;
        ensure!(far.next()? == Event::Data(Stream::In, b"question".to_vec()));
        ensure!(far.next()? == Event::Eof(Stream::In));
        far_sender.data(Stream::Out, b"answer")?;
        far_sender.eof(Stream::Out)?;
        ensure!(near.next()? == Event::Data(Stream::Out, b"answer".to_vec()));
        ensure!(near.next()? == Event::Eof(Stream::Out));
        ensure!(near.next()? == Event::Reply(Reply::Done));
        far_sender.reply(Reply::Done)?;
        // One that is dropped is over for the other side, too; never with a good reply.
        let near = client.mux.open(Request::Connect(address.clone()))?;
        let (_far_sender, mut far) = accepted(&mut client, &listening)?.split();
        drop(near);
        ensure!(far.next()? == Event::Eof(Stream::In));
        let (near_sender, mut near) = client.mux.open(Request::Connect(address))?.split();
        drop(accepted(&mut client, &listening)?);
        ensure!(near.next()? == Event::Eof(Stream::Out));
        // That it takes nothing either shows when something is sent, as with any socket.
        while near_sender.data(Stream::In, b"anybody?").is_ok() {}
        ensure!(near.next()? == Event::Closed);
    }
    Ok(())
}

fn failure(mux: &Mux, request: Request) -> Result<Failure> {
    let (_sender, mut receiver) = mux.open(request)?.split();
    match receiver.next()? {
        Event::Reply(Reply::Failed(failure)) => Ok(failure),
        other => bail!("{other:?} instead of a failure"),
    }
}

fn refused(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    for (address, what, errno) in [
        (tcp(1), "Connection refused", Errno::CONNREFUSED),
        (unix("/tmp/none"), "No such file or directory", Errno::NOENT),
        (unix("/etc/passwd"), "Connection refused", Errno::CONNREFUSED),
    ] {
        let found = failure(mux, Request::Connect(address.clone()))?;
        let number = errno.raw_os_error();
        let message = format!("connecting to {address:?} in the guest: {what} (os error {number})");
        ensure!(
            found.message == message && found.errno == Some(number),
            "{found:?}"
        );
    }
    for address in [tcp(7003), unix("/tmp/taken")] {
        let listening = listen(mux, address.clone())?;
        let found = failure(mux, Request::Listen(address.clone()))?;
        ensure!(found.errno == Some(Errno::ADDRINUSE.raw_os_error()), "{found:?}");
        // Listening ends with its channel; a moment later the guest has heard of it.
        drop(listening);
        output(
            mux,
            "while netstat -ltn | grep -q :7003 || [ -e /tmp/taken ]; do sleep 0.05; done",
        )?;
        failure(mux, Request::Connect(address.clone()))?;
        // The same place can be had again.
        drop(listen(mux, address)?);
    }
    Ok(())
}

fn programs(up: &Up) -> Result<()> {
    let mut client = up.connect()?;
    let listening = listen(&client.mux, tcp(7004))?;
    let mux = client.mux.clone();
    let caller = thread::spawn(move || run_with(&mux, words(["nc", "127.0.0.1", "7004"]), b"from the guest"));
    let (sender, mut receiver) = accepted(&mut client, &listening)?.split();
    ensure!(receiver.next()? == Event::Data(Stream::In, b"from the guest".to_vec()));
    sender.data(Stream::Out, b"from the host")?;
    sender.eof(Stream::Out)?;
    caller
        .join()
        .ok()
        .context("a thread panicked")??
        .is(0, "from the host", "")?;

    let server = Program::start(&client.mux, sh("exec nc -l -p 7005 -e rev"))?;
    output(
        &client.mux,
        "until netstat -ltn | grep -q :7005; do sleep 0.05; done",
    )?;
    let (sender, mut receiver) = client.mux.open(Request::Connect(tcp(7005)))?.split();
    sender.data(Stream::In, b"abc\n")?;
    sender.eof(Stream::In)?;
    ensure!(receiver.next()? == Event::Data(Stream::Out, b"cba\n".to_vec()));
    ensure!(receiver.next()? == Event::Eof(Stream::Out));
    ensure!(receiver.next()? == Event::Reply(Reply::Done));
    server.end()?.is(0, "", "")
}

/// A server of the host that the guest finds on its own loopback.
fn forwards(up: &Up) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let host = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut said = String::new();
            let mut stream = stream;
            if stream.read_to_string(&mut said).is_ok() {
                let _ = stream.write_all(said.to_uppercase().as_bytes());
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    });
    let guest = SocketAddr::from((Ipv4Addr::LOCALHOST, 7006));
    // As several commands do; it stays when they are gone.
    for _ in 0..2 {
        up.connect()?.forward_to_host(guest, host)?;
    }
    let ask = sh("printf 'who are you' | nc 127.0.0.1 7006");
    crate::program::run(&up.client.mux, ask.clone())?.is(0, "WHO ARE YOU", "")?;
    crate::program::run(&up.client.mux, ask)?.is(0, "WHO ARE YOU", "")?;
    match up
        .client
        .forward_to_host(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 80)), host)
    {
        Err(vcontainer_vm::Error::Refused { message, .. })
            if message.contains("Cannot assign requested address") =>
        {
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}
