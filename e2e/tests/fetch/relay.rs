//! A wire between client and registry that counts, and that can go dead.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Passes everything on to a port of this computer, from one that was free.
pub struct Relay {
    pub port: u16,
    /// Bytes from the registry so far.
    count: Arc<AtomicU64>,
}

impl Relay {
    /// After `most` bytes nothing more comes from the registry.
    pub fn start(to: u16, most: u64) -> Result<Self> {
        Self::begin(to, most, |_| Ok(()))
    }

    /// A proxy that makes tunnels to that port, wherever they should go.
    pub fn proxy(to: u16) -> Result<Self> {
        Self::begin(to, u64::MAX, tunnel)
    }

    fn begin(to: u16, most: u64, greet: fn(&mut TcpStream) -> std::io::Result<()>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
        let relay = Self {
            port: listener.local_addr()?.port(),
            count: Arc::default(),
        };
        let count = Arc::clone(&relay.count);
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                if greet(&mut client).is_err() {
                    continue;
                }
                let Ok(registry) = TcpStream::connect(("127.0.0.1", to)) else {
                    return;
                };
                let (Ok(from), Ok(mut into)) = (client.try_clone(), registry.try_clone()) else {
                    return;
                };
                thread::spawn(move || {
                    let _ = std::io::copy(&mut &from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Write);
                });
                let count = Arc::clone(&count);
                thread::spawn(move || pass(registry, client, &count, most));
            }
        });
        Ok(relay)
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// Reads the request for a tunnel, byte by byte: what comes after it is for the other end.
fn tunnel(client: &mut TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.extend(byte);
    }
    match request.starts_with(b"CONNECT registry.test:443 ") {
        true => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n"),
        false => client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, most: u64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while count.load(Ordering::SeqCst) >= most {
            thread::sleep(Duration::from_millis(100));
        }
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
        count.fetch_add(read as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
