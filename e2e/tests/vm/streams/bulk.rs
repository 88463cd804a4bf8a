//! Much, fast, in both directions, beside others who take nothing.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use e2e::random::Random;
use sha2::{Digest as _, Sha256};
use vcontainer_wire::{Event, Exec, ExitStatus, Mux, Reply, Request, Sender, Side, Stream};

use super::Check;
use crate::program::{Program, output, run, sh, words};
use crate::up::Up;

pub const CHECKS: &[Check] = &[
    ("100 MB both ways at once", both_ways),
    ("who does not read holds up nobody", slow_reader),
    ("a client that does not read holds up nobody", slow_client),
];

const PIECE: usize = 50_000;

/// Sends bytes of a seed, and returns their hash.
pub fn send(sender: &Sender, stream: Stream, seed: u64, bytes: usize) -> Result<Vec<u8>> {
    let (mut random, mut hash) = (Random::new(seed), Sha256::new());
    let mut piece = vec![0; PIECE];
    for _ in 0..bytes / PIECE {
        random.fill(&mut piece);
        hash.update(&piece);
        sender.data(stream, &piece)?;
    }
    sender.eof(stream)?;
    Ok(hash.finalize().to_vec())
}

fn both_ways(up: &Up) -> Result<()> {
    const BYTES: usize = 100_000_000;
    let exec = Exec {
        stdin: true,
        ..words(["cat"])
    };
    let (sender, mut receiver) = up.client.mux.open(Request::Exec(exec))?.split();
    let feeder = thread::spawn(move || send(&sender, Stream::In, 1, BYTES));
    let (mut hash, mut size) = (Sha256::new(), 0);
    let reply = loop {
        match receiver.next()? {
            Event::Data(Stream::Out, bytes) => {
                size += bytes.len();
                hash.update(&bytes);
            }
            Event::Reply(reply) => break reply,
            other => anyhow::bail!("{other:?}"),
        }
    };
    let sent = feeder.join().ok().context("the feeder panicked")??;
    ensure!(reply == Reply::Exited(ExitStatus::Code(0)), "{reply:?}");
    ensure!(
        size == BYTES && hash.finalize().as_slice() == sent,
        "{size} other bytes came back"
    );
    Ok(())
}

/// What passes while others are stuck: more than any window holds.
fn works(mux: &Mux) -> Result<()> {
    run(mux, words(["head", "-c", "5000000", "/dev/zero"]))?.is(0, vec![0; 5_000_000], "")?;
    crate::program::run_with(mux, words(["wc", "-c"]), &vec![1; 5_000_000])?.is(0, "5000000\n", "")
}

fn slow_reader(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let mut stuck: Vec<Program> = (0..4)
        .map(|_| Program::start(mux, sh("echo ready; exec yes")))
        .collect::<Result<_>>()?;
    for program in &mut stuck {
        program.until("ready\n")?;
    }
    works(mux)?;
    // They have been waiting: all is still there, in order.
    for program in &mut stuck {
        program.until(&"y\n".repeat(2_000_000))?;
    }
    Ok(())
}

/// A stream that gives nothing more from the moment at which it is shut.
struct Gate<R> {
    reader: R,
    shut: Arc<(Mutex<bool>, Condvar)>,
}

impl<R: Read> Read for Gate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let (shut, opened) = &*self.shut;
        let wait = |lock| opened.wait_while(lock, |shut| *shut).map(drop);
        let _ = shut.lock().map(wait);
        self.reader.read(buffer)
    }
}

fn slow_client(up: &Up) -> Result<()> {
    let socket = UnixStream::connect(up.state().join("daemon.sock"))?;
    let shut = Arc::new((Mutex::new(false), Condvar::new()));
    let set = |value| {
        *shut.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
        shut.1.notify_all();
    };
    let gate = Gate {
        reader: socket.try_clone()?,
        shut: Arc::clone(&shut),
    };
    let (mux, _incoming) = Mux::start(Side::Host, gate, socket.try_clone()?)?;
    set(true);
    let stuck: Vec<Program> = (0..8)
        .map(|_| Program::start(&mux, sh("echo started > /tmp/started.$$; exec yes")))
        .collect::<Result<_>>()?;
    output(
        &up.client.mux,
        "until [ $(ls /tmp/started.* 2>/dev/null | wc -l) = 8 ]; do sleep 0.05; done; rm /tmp/started.*",
    )?;
    works(&up.client.mux)?;
    works(&up.connect()?.mux)?;
    // It vanishes without a word, and its programs with it.
    socket.shutdown(std::net::Shutdown::Both)?;
    set(false);
    drop((stuck, mux));
    output(&up.client.mux, "while pidof yes > /dev/null; do sleep 0.05; done").map(drop)
}
