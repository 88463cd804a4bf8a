//! Talks to a booting guest over the unix socket of its port and prints how long things take. For people who work on
//! the agent: `drive SOCKET`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vcontainer_wire::{Event, Exec, Mux, Receiver, Reply, Request, Sender, Side, Stream, Wake};

fn exec(mux: &Mux, words: &[&str], engine: bool) -> (Sender, Receiver) {
    let request = Exec {
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        stdin: true,
        needs_engine: engine,
        ..Exec::default()
    };
    mux.open(Request::Exec(request)).unwrap().split()
}

fn end(receiver: &mut Receiver) -> (Vec<u8>, Reply) {
    let mut all = Vec::new();
    loop {
        match receiver.next().unwrap() {
            Event::Data(_, bytes) => all.extend(bytes),
            Event::Reply(reply) => return (all, reply),
            Event::Closed => panic!("closed"),
            _ => {}
        }
    }
}

fn run(mux: &Mux, words: &[&str], engine: bool) {
    let begin = Instant::now();
    let (sender, mut receiver) = exec(mux, words, engine);
    let _ = sender.eof(Stream::In);
    let (output, reply) = end(&mut receiver);
    println!(
        "{words:?}: {reply:?} in {:?}\n{}",
        begin.elapsed(),
        String::from_utf8_lossy(&output)
    );
}

fn ask(mux: &Mux, request: Request) {
    let begin = Instant::now();
    let what = format!("{request:?}");
    let (_sender, mut receiver) = mux.open(request).unwrap().split();
    let reply = receiver.next();
    println!("{what}: {reply:?} in {:?}", begin.elapsed());
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let begin = Instant::now();
    let socket = loop {
        match UnixStream::connect(&path) {
            Ok(socket) => break socket,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let start = || {
        Mux::start(
            Side::Host,
            socket.try_clone().unwrap(),
            socket.try_clone().unwrap(),
        )
        .unwrap()
    };
    let (mux, _incoming) = start();
    println!("hello after {:?}", begin.elapsed());
    run(&mux, &["uname", "-a"], false);
    run(&mux, &["true"], true);
    println!("engine ready after {:?}", begin.elapsed());
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
    };
    ask(
        &mux,
        Request::Wake(Wake {
            unix_nanoseconds: now(),
            entropy: vec![7; 64],
        }),
    );
    run(&mux, &["date"], false);
    for _ in 0..3 {
        run(&mux, &["true"], false);
        run(&mux, &["true"], true);
    }
    for words in std::env::args().skip(2) {
        run(&mux, &words.split(' ').collect::<Vec<_>>(), true);
    }
    ask(&mux, Request::Status);
    let begin = Instant::now();
    for _ in 0..100 {
        let (_sender, mut receiver) = mux.open(Request::Status).unwrap().split();
        let _ = receiver.next();
    }
    println!("round trip {:?}", begin.elapsed() / 100);
    let total = 100 << 20;
    let begin = Instant::now();
    let (sender, mut receiver) = exec(&mux, &["cat"], false);
    let sending = std::thread::spawn(move || {
        let chunk = vec![5; 1 << 20];
        for _ in 0..100 {
            sender.data(Stream::In, &chunk).unwrap();
        }
        sender.eof(Stream::In).unwrap();
        sender
    });
    let (output, reply) = end(&mut receiver);
    drop(sending.join());
    println!(
        "100 MiB through cat: {} {reply:?} {:?}",
        output.len() == total,
        begin.elapsed()
    );
    let begin = Instant::now();
    let (_sender, mut receiver) = exec(&mux, &["head", "-c", "104857600", "/dev/zero"], false);
    let (output, _) = end(&mut receiver);
    println!(
        "out: {:.0} MB/s ({})",
        output.len() as f64 / 1e6 / begin.elapsed().as_secs_f64(),
        output.len()
    );
    let begin = Instant::now();
    let (sender, mut receiver) = exec(&mux, &["wc", "-c"], false);
    let chunk = vec![5; 1 << 20];
    for _ in 0..100 {
        sender.data(Stream::In, &chunk).unwrap();
    }
    sender.eof(Stream::In).unwrap();
    end(&mut receiver);
    println!(
        "in: {:.0} MB/s",
        total as f64 / 1e6 / begin.elapsed().as_secs_f64()
    );
    ask(&mux, Request::Suspend);
    assert!(mux.wait_over(Duration::from_secs(60)));
    drop(mux);
    let begin = Instant::now();
    let (mux, _incoming) = start();
    println!("hello again after {:?}", begin.elapsed());
    ask(&mux, Request::Status);
    run(&mux, &["dmesg"], false);
    ask(&mux, Request::Shutdown);
}
