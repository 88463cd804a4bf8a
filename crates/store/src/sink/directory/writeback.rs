//! Lets the disk write while the processors still inflate and hash, so that little is left to wait for at commit.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::object::failed;
use crate::sink::SinkError;
use vcontainer_image::TreePath;

/// How long new data may gather.
const INTERVAL: Duration = Duration::from_millis(100);

/// A thread that writes out a file system again and again, as long as this lives.
pub(super) struct Writeback {
    /// Never used: the thread ends when it is gone.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writeback {
    /// Starts with the file system that `directory` is on.
    pub fn start(directory: &Path) -> Result<Self, SinkError> {
        let cannot = |error| failed("open the directory", &TreePath::root(), error);
        // Opened anew: who has an open file of their own at commit still hears of a failed write.
        let directory = File::open(directory).map_err(cannot)?;
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("writeback".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let _ = rustix::fs::syncfs(&directory);
                }
            })
            .map_err(cannot)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
