//! The virtio-serial port to the host: the kernel lets it be opened once, so reader and writer share it, and the reader
//! can be called off while it waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

/// The name of the port, as the machine gives it.
pub const NAME: &str = "vcontainer.agent";

/// The open port.
#[derive(Clone)]
pub struct Port {
    inner: Arc<Inner>,
}

struct Inner {
    file: File,
    called_off: OwnedFd,
}

impl Port {
    /// The device of the port, if the kernel has found it.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        fs::read_dir("/sys/class/virtio-ports")
            .ok()?
            .flatten()
            .find_map(|entry| {
                let name = fs::read_to_string(entry.path().join("name")).ok()?;
                (name.trim() == NAME).then(|| PathBuf::from("/dev").join(entry.file_name()))
            })
    }

    /// Opens it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let called_off = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            inner: Arc::new(Inner { file, called_off }),
        })
    }

    /// Makes the one who reads (or the next one who does) see an end.
    pub fn call_off(&self) {
        let _ = rustix::io::write(&self.inner.called_off, &1u64.to_ne_bytes());
    }

    /// Forgets that reading was called off.
    pub fn renew(&self) {
        let _ = rustix::io::read(&self.inner.called_off, &mut [0; 8]);
    }
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Inner { file, called_off } = &*self.inner;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN),
                PollFd::new(called_off, PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let [_, called_off] = &fds;
            if !called_off.revents().is_empty() {
                return Ok(0);
            }
            return (&*file).read(buffer);
        }
    }
}

impl Write for Port {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match (&self.inner.file).write(buffer) {
            // Nobody holds the other end.
            Ok(0) if !buffer.is_empty() => Err(io::ErrorKind::BrokenPipe.into()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
