//! A registry over real sockets that does what a test wants of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the server answers.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// After so many bytes of the body the connection is cut, or nothing more comes.
    pub stop: Option<(usize, Stop)>,
}

#[derive(Clone, Copy)]
pub enum Stop {
    Cut,
    Stall,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            stop: None,
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn stop(mut self, after: usize, stop: Stop) -> Self {
        self.stop = Some((after, stop));
        self
    }
}

type Handler = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// A server on a free port of this computer. It ends with the value.
pub struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// `handler` gets each request, and how many for the same target came before it.
    pub fn start(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            over: Arc::default(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        let (seen, over) = (Arc::clone(&server.seen), Arc::clone(&server.over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, seen, over) = (Arc::clone(&handler), Arc::clone(&seen), Arc::clone(&over));
                // Clients that hang up are part of the game.
                thread::spawn(move || stream.and_then(|stream| serve(&stream, &*handler, &seen, &over)));
            }
        });
        server
    }

    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests for targets with this in them.
    pub fn asked(&self, part: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.target.contains(part));
        seen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.authority());
    }
}

fn serve(
    stream: &TcpStream,
    handler: &Handler,
    seen: &Mutex<Vec<Seen>>,
    over: &AtomicBool,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request) = read(&mut reader)? else {
            return Ok(());
        };
        let before = {
            let mut seen = seen.lock().unwrap();
            let before = seen.iter().filter(|seen| seen.target == request.target).count();
            seen.push(request.clone());
            before
        };
        // A tunnel of a proxy: what is behind it is this server again.
        if request.method == "CONNECT" {
            (&*stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            continue;
        }
        let reply = handler(&request, before);
        write(stream, &reply, over)?;
        return Ok(());
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let line = String::from_utf8(line).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    // Whoever tries TLS is hung up on.
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Ok(None);
    };
    let mut seen = Seen {
        method: method.into(),
        target: target.into(),
        headers: BTreeMap::new(),
        body: String::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        seen.headers
            .insert(name.to_ascii_lowercase(), value.trim().into());
    }
    if let Some(length) = seen.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body)?;
        seen.body = String::from_utf8(body).unwrap();
    }
    Ok(Some(seen))
}

fn write(mut stream: &TcpStream, reply: &Reply, over: &AtomicBool) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    match reply.stop {
        None => stream.write_all(&reply.body),
        Some((after, stop)) => {
            stream.write_all(&reply.body[..after])?;
            while matches!(stop, Stop::Stall) && !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
    }
}
