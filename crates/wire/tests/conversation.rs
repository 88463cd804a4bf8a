//! Whole conversations over socket pairs, and what broken and hostile other sides do to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests too.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vcontainer_wire::flow::WINDOW;
use vcontainer_wire::frame::{Frame, GREETING, Greeting, MAX_DATA};
use vcontainer_wire::{
    Channel, Control, Error, Event, Exec, ExitStatus, Incoming, Mux, Receiver, Reply, Request, Sender, Side,
    Stream,
};

/// Long enough for a loaded machine; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type End = (Mux, Incoming);

fn start(side: Side, stream: &UnixStream) -> Result<End, Error> {
    Mux::start(side, stream.try_clone().unwrap(), stream.try_clone().unwrap())
}

fn pair() -> (End, End) {
    let (host, guest) = UnixStream::pair().unwrap();
    let guest = thread::spawn(move || start(Side::Guest, &guest).unwrap());
    (start(Side::Host, &host).unwrap(), guest.join().unwrap())
}

/// The host's side of a conversation whose guest is played by the test, byte by byte.
fn played() -> (End, UnixStream) {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let starting = thread::spawn(move || start(Side::Host, &host).unwrap());
    guest.read_exact(&mut [0; GREETING]).unwrap();
    guest.write_all(&greeting()).unwrap();
    (starting.join().unwrap(), guest)
}

fn greeting() -> [u8; GREETING] {
    let version = vcontainer_wire::VERSION;
    Greeting {
        version,
        side: Side::Guest,
    }
    .encode()
}

fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn request(name: &str) -> Request {
    Request::Exec(Exec {
        argv: vec![name.into()],
        ..Exec::default()
    })
}

/// Answers every channel with what it gets: In becomes Out, its end becomes a reply.
fn echo(incoming: Incoming) {
    for (_, channel) in incoming {
        thread::spawn(move || echo_one(channel));
    }
}

fn echo_one(channel: Channel) {
    let (sender, mut receiver) = channel.split();
    loop {
        match receiver.next() {
            Ok(Event::Data(_, bytes)) => {
                if sender.data(Stream::Out, &bytes).is_err() {
                    return;
                }
            }
            Ok(Event::Eof(_)) => {
                let _ = sender.reply(Reply::Exited(ExitStatus::Code(7)));
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Everything until the reply.
fn collect(receiver: &mut Receiver) -> Result<(Vec<u8>, Vec<u8>, Reply), Error> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match receiver.next()? {
            Event::Data(Stream::Err, bytes) => err.extend(bytes),
            Event::Data(_, bytes) => out.extend(bytes),
            Event::Reply(reply) => return Ok((out, err, reply)),
            Event::Closed => return Err(Error::Closed),
            Event::Eof(_) | Event::Control(_) => {}
        }
    }
}

/// Fails instead of hanging.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(PATIENCE)
        .expect("it hangs (or has panicked)")
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + seed + (at >> 8)) as u8).collect()
}

#[test]
fn a_hundred_megabytes_there_and_back() {
    let ((mux, _incoming), (_guest, guest_incoming)) = pair();
    thread::spawn(move || echo(guest_incoming));
    let (sender, mut receiver) = mux.open(request("cat")).unwrap().split();
    let sent = pattern(100 << 20, 1);
    let copy = sent.clone();
    thread::spawn(move || {
        sender.data(Stream::In, &copy).unwrap();
        sender.eof(Stream::In).unwrap();
    });
    let (out, _, reply) = within(move || collect(&mut receiver)).unwrap();
    assert!(out == sent);
    assert_eq!(reply, Reply::Exited(ExitStatus::Code(7)));
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    let ((mux, _incoming), (guest, mut guest_incoming)) = pair();
    // The guest floods the first channel, which the host does not read …
    let (_slow_sender, mut slow) = mux.open(request("flood")).unwrap().split();
    let (_, channel) = guest_incoming.next().unwrap();
    let (flood, _flood_receiver) = channel.split();
    let flooding = thread::spawn(move || flood.data(Stream::Out, &pattern(3 * WINDOW as usize, 3)));
    thread::spawn(move || echo(guest_incoming));
    // … and others go on all the same.
    for round in 0..50 {
        let (sender, mut receiver) = mux.open(request("cat")).unwrap().split();
        let data = pattern(100_000, round);
        sender.data(Stream::In, &data).unwrap();
        sender.eof(Stream::In).unwrap();
        assert!(within(move || collect(&mut receiver)).unwrap().0 == data);
    }
    assert!(!flooding.is_finished());
    let mut received = Vec::new();
    while received.len() < 3 * WINDOW as usize {
        match slow.next().unwrap() {
            Event::Data(Stream::Out, bytes) => received.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(received == pattern(3 * WINDOW as usize, 3));
    flooding.join().unwrap().unwrap();
    drop(guest);
}

#[test]
fn control_overtakes_bulk() {
    let ((mux, _incoming), (_guest, mut guest_incoming)) = pair();
    let (sender, _receiver) = mux.open(request("x")).unwrap().split();
    let (_, channel) = guest_incoming.next().unwrap();
    let (_guest_sender, mut guest) = channel.split();
    let bulk = sender.clone();
    let sending = thread::spawn(move || bulk.data(Stream::In, &vec![1; 4 * WINDOW as usize]));
    sender.control(Control::Signal(2)).unwrap();
    // Nobody waits for 4 MiB: at most a window of data is in front.
    let mut before = 0;
    loop {
        match guest.next().unwrap() {
            Event::Data(_, bytes) => before += bytes.len(),
            Event::Control(control) => {
                assert_eq!(control, Control::Signal(2));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(before <= 2 * WINDOW as usize, "{before}");
    drop(guest);
    sending.join().unwrap().unwrap();
}

#[test]
fn the_other_side_dies() {
    let ((mux, mut incoming), guest) = played();
    let (blocked, mut waiting) = mux.open(request("x")).unwrap().split();
    let blocked = thread::spawn(move || blocked.data(Stream::In, &vec![0; 5 * WINDOW as usize]));
    let waiting = thread::spawn(move || waiting.next());
    // It has taken something, then it is gone.
    (&guest).read_exact(&mut [0; 1000]).unwrap();
    drop(guest);
    within(move || {
        assert!(matches!(waiting.join().unwrap(), Err(Error::Broken { .. })));
        assert!(matches!(blocked.join().unwrap(), Err(Error::Broken { .. })));
        assert!(incoming.next().is_none());
        assert!(matches!(mux.open(Request::Sync), Err(Error::Broken { .. })));
        assert!(mux.broken().is_some());
    });
}

#[test]
fn what_arrived_before_the_end_is_still_there() {
    let ((mux, _incoming), mut guest) = played();
    let (_sender, mut receiver) = mux.open(request("x")).unwrap().split();
    guest
        .write_all(&bytes_of(&Frame::Data(1, Stream::Out, b"last words")))
        .unwrap();
    drop(guest);
    assert_eq!(
        receiver.next().unwrap(),
        Event::Data(Stream::Out, b"last words".into())
    );
    assert!(matches!(receiver.next(), Err(Error::Broken { .. })));
    assert!(matches!(receiver.next(), Err(Error::Broken { .. })));
}

#[test]
fn hostile_sides_break_the_conversation_and_nothing_else() {
    let reply = || Box::new(Reply::Done);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("unknown kind", vec![0, 0, 0, 0, 1, 0, 0, 0, 77]),
        ("never opened", bytes_of(&Frame::Data(9, Stream::Out, b"x"))),
        (
            "channel of ours",
            bytes_of(&Frame::Open(3, Box::new(Request::Sync))),
        ),
        ("credit", bytes_of(&Frame::Credit(1, 1))),
        (
            "two replies",
            [
                bytes_of(&Frame::Reply(1, reply())),
                bytes_of(&Frame::Reply(1, reply())),
            ]
            .concat(),
        ),
        (
            "data after the reply",
            [
                bytes_of(&Frame::Reply(1, reply())),
                bytes_of(&Frame::Data(1, Stream::Out, b"x")),
            ]
            .concat(),
        ),
        (
            "same number twice",
            [
                bytes_of(&Frame::Open(2, Box::new(Request::Sync))),
                bytes_of(&Frame::Open(2, Box::new(Request::Sync))),
            ]
            .concat(),
        ),
        (
            "more than the window",
            bytes_of(&Frame::Data(1, Stream::Out, &vec![0; MAX_DATA])).repeat(WINDOW as usize / MAX_DATA + 1),
        ),
        (
            "controls",
            bytes_of(&Frame::Control(1, Control::Signal(1))).repeat(5000),
        ),
    ];
    for (name, bytes) in hostile {
        let ((mux, incoming), mut guest) = played();
        let (_sender, mut receiver) = mux.open(request("x")).unwrap().split();
        // The other end may stop reading in the middle of it.
        let _ = guest.write_all(&bytes);
        let error = within(move || {
            // Before anything is taken, since taking gives credit.
            incoming.for_each(drop);
            loop {
                if let Err(error) = receiver.next() {
                    return error;
                }
            }
        });
        assert!(
            matches!(&error, Error::Broken { reason } if reason.contains("it sent")),
            "{name}: {error}"
        );
        drop(mux);
    }
}

#[test]
fn letting_go_is_seen() {
    let ((mux, _incoming), (_guest, mut guest_incoming)) = pair();
    let (sender, receiver) = mux.open(request("x")).unwrap().split();
    let (_, channel) = guest_incoming.next().unwrap();
    let (guest_sender, mut guest) = channel.split();
    let flooding = thread::spawn(move || {
        loop {
            if let Err(error) = guest_sender.data(Stream::Out, &[0; 100_000]) {
                return error;
            }
        }
    });
    drop((sender, receiver));
    assert_eq!(within(move || guest.next()).unwrap(), Event::Closed);
    assert!(matches!(within(move || flooding.join().unwrap()), Error::Closed));
    // And the conversation goes on.
    thread::spawn(move || echo(guest_incoming));
    let (sender, mut receiver) = mux.open(request("x")).unwrap().split();
    sender.eof(Stream::In).unwrap();
    within(move || collect(&mut receiver)).unwrap();
}

#[test]
fn a_handler_that_is_gone_is_no_success() {
    let ((mux, _incoming), (_guest, mut guest_incoming)) = pair();
    let (_sender, mut receiver) = mux.open(request("x")).unwrap().split();
    let handler = thread::spawn(move || {
        let (_request, _channel) = guest_incoming.next().unwrap();
        // As when it panics.
    });
    handler.join().unwrap();
    assert_eq!(within(move || receiver.next()).unwrap(), Event::Closed);
}

#[test]
fn both_sides_open_channels() {
    let ((host, host_incoming), (guest, guest_incoming)) = pair();
    thread::spawn(move || echo(host_incoming));
    thread::spawn(move || echo(guest_incoming));
    let workers: Vec<_> = (0..20)
        .map(|seed| {
            let mux = if seed % 2 == 0 {
                host.clone()
            } else {
                guest.clone()
            };
            thread::spawn(move || {
                let (sender, mut receiver) = mux.open(request("cat")).unwrap().split();
                let data = pattern(3_000_000, seed);
                let copy = data.clone();
                let sending = thread::spawn(move || {
                    sender.data(Stream::In, &copy).unwrap();
                    sender.eof(Stream::In).unwrap();
                });
                assert!(collect(&mut receiver).unwrap().0 == data);
                sending.join().unwrap();
            })
        })
        .collect();
    within(move || workers.into_iter().for_each(|worker| worker.join().unwrap()));
}

#[test]
fn the_end_comes_after_what_was_sent() {
    let (host, guest) = UnixStream::pair().unwrap();
    let starting = thread::spawn({
        let guest = guest.try_clone().unwrap();
        move || start(Side::Guest, &guest).unwrap()
    });
    let (mux, _incoming) = start(Side::Host, &host).unwrap();
    let (guest_mux, mut guest_incoming) = starting.join().unwrap();
    let (_sender, mut receiver) = mux.open(Request::Suspend).unwrap().split();
    let (_, channel) = guest_incoming.next().unwrap();
    let (guest_sender, _guest_receiver) = channel.split();
    guest_sender.data(Stream::Out, &pattern(500_000, 5)).unwrap();
    guest_sender.reply(Reply::Done).unwrap();
    assert!(!mux.wait_over(Duration::from_millis(10)));
    within(move || guest_mux.end());
    assert!(mux.wait_over(Duration::from_secs(60)));
    let (out, _, reply) = within(move || {
        let all = collect(&mut receiver);
        assert!(matches!(
            receiver.next(),
            Ok(Event::Closed) | Err(Error::Broken { .. })
        ));
        all
    })
    .unwrap();
    assert!(out == pattern(500_000, 5));
    assert_eq!(reply, Reply::Done);
    within(move || assert!(guest_incoming.next().is_none()));
    drop(mux);
    // The same stream, greeted again, with the remains of the old conversation in it.
    thread::spawn(move || {
        let (_mux, incoming) = start(Side::Guest, &guest).unwrap();
        echo(incoming);
    });
    let (mux, _incoming) = start(Side::Host, &host).unwrap();
    let (sender, mut receiver) = mux.open(request("cat")).unwrap().split();
    sender.data(Stream::In, b"again").unwrap();
    sender.eof(Stream::In).unwrap();
    assert_eq!(within(move || collect(&mut receiver)).unwrap().0, b"again");
}

#[test]
fn versions_and_sides_must_fit() {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let other = Greeting {
        version: 9,
        side: Side::Guest,
    };
    guest.write_all(b"boot noise").unwrap();
    guest.write_all(&other.encode()).unwrap();
    assert!(matches!(
        start(Side::Host, &host),
        Err(Error::Version { theirs: 9, .. })
    ));
    let (host, mut echo) = UnixStream::pair().unwrap();
    let ours = Greeting {
        version: vcontainer_wire::VERSION,
        side: Side::Host,
    };
    echo.write_all(&ours.encode()).unwrap();
    assert!(matches!(start(Side::Host, &host), Err(Error::Broken { .. })));
    let (host, guest) = UnixStream::pair().unwrap();
    drop(guest);
    assert!(matches!(start(Side::Host, &host), Err(Error::Broken { .. })));
}

#[test]
fn thousands_of_channels_leave_nothing() {
    let ((mux, _incoming), (_guest, guest_incoming)) = pair();
    thread::spawn(move || echo(guest_incoming));
    // More than may be open at a time.
    for _ in 0..10_000 {
        let (sender, mut receiver) = mux.open(request("x")).unwrap().split();
        sender.eof(Stream::In).unwrap();
        collect(&mut receiver).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Out(usize),
    Err(usize),
    Pause,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            (1usize..200_000).prop_map(Step::Out),
            (1usize..10).prop_map(Step::Out),
            (1usize..100_000).prop_map(Step::Err),
            Just(Step::Pause),
        ],
        0..30,
    )
}

fn play(sender: &Sender, steps: &[Step], seed: usize) {
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Out(length) => sender.data(Stream::Out, &pattern(*length, seed + at)).unwrap(),
            Step::Err(length) => sender.data(Stream::Err, &pattern(*length, seed + at)).unwrap(),
            Step::Pause => thread::yield_now(),
        }
    }
    sender.reply(Reply::Exited(ExitStatus::Code(seed as u8))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn any_interleaving_arrives_whole(channels in prop::collection::vec(steps(), 1..6)) {
        let ((mux, _incoming), (_guest, guest_incoming)) = pair();
        let script = channels.clone();
        thread::spawn(move || {
            for (at, (_, channel)) in guest_incoming.enumerate() {
                let steps = script[at].clone();
                thread::spawn(move || {
                    let (sender, _receiver) = channel.split();
                    play(&sender, &steps, at);
                });
            }
        });
        let open: Vec<_> = channels.iter().map(|_| mux.open(request("x")).unwrap().split()).collect();
        let readers: Vec<_> = open
            .into_iter()
            .map(|(sender, mut receiver)| thread::spawn(move || { let _sender = sender; collect(&mut receiver) }))
            .collect();
        let results = within(move || readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>());
        for (seed, (result, steps)) in results.into_iter().zip(&channels).enumerate() {
            let (out, err, reply) = result.unwrap();
            let (mut wanted_out, mut wanted_err) = (Vec::new(), Vec::new());
            for (at, step) in steps.iter().enumerate() {
                match step {
                    Step::Out(length) => wanted_out.extend(pattern(*length, seed + at)),
                    Step::Err(length) => wanted_err.extend(pattern(*length, seed + at)),
                    Step::Pause => {}
                }
            }
            prop_assert!(out == wanted_out && err == wanted_err);
            prop_assert_eq!(reply, Reply::Exited(ExitStatus::Code(seed as u8)));
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_never_a_success(cut in 0usize..2000) {
        let ((mux, _incoming), mut guest) = played();
        let (_sender, mut receiver) = mux.open(request("x")).unwrap().split();
        let whole = [
            bytes_of(&Frame::Data(1, Stream::Out, &pattern(2000 - 60, 1))),
            bytes_of(&Frame::Reply(1, Box::new(Reply::Done))),
        ]
        .concat();
        let cut = cut.min(whole.len() - 1);
        guest.write_all(&whole[..cut]).unwrap();
        drop(guest);
        let error = within(move || collect(&mut receiver)).unwrap_err();
        let broken = matches!(error, Error::Broken { .. });
        prop_assert!(broken);
    }
}

/// `cargo test --release -p vcontainer-wire -- --ignored --nocapture speed`
#[test]
#[ignore = "prints figures"]
fn speed() {
    let ((mux, _incoming), (_guest, mut guest_incoming)) = pair();
    let (_sender, mut receiver) = mux.open(request("x")).unwrap().split();
    let (_, channel) = guest_incoming.next().unwrap();
    let total = 2usize << 30;
    thread::spawn(move || {
        let (sender, _receiver) = channel.split();
        let chunk = vec![7; 128 << 10];
        for _ in 0..total / chunk.len() {
            sender.data(Stream::Out, &chunk).unwrap();
        }
        sender.reply(Reply::Done).unwrap();
    });
    let begin = Instant::now();
    let mut seen = 0;
    while seen < total {
        match receiver.next().unwrap() {
            Event::Data(_, bytes) => seen += bytes.len(),
            other => panic!("{other:?}"),
        }
    }
    println!("{:.0} MB/s", total as f64 / 1e6 / begin.elapsed().as_secs_f64());
    thread::spawn(move || echo(guest_incoming));
    let begin = Instant::now();
    for _ in 0..10_000 {
        let (sender, mut receiver) = mux.open(request("x")).unwrap().split();
        sender.eof(Stream::In).unwrap();
        collect(&mut receiver).unwrap();
    }
    println!(
        "{:.3} ms a request",
        begin.elapsed().as_secs_f64() * 1e3 / 10_000.0
    );
}
