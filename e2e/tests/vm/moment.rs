//! Moments of an operation: what its files tell, or so long after its begin.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A moment of an operation on a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after its begin.
    After(Duration),
    /// When this name appears.
    Made(&'static str),
    /// When a name appears that begins so.
    Begun(&'static str),
    /// When this name disappears.
    Gone(&'static str),
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(delay) => write!(formatter, "{} ms after its begin", delay.as_millis()),
            Self::Made(name) | Self::Begun(name) => write!(formatter, "when {name} appears"),
            Self::Gone(name) => write!(formatter, "when {name} disappears"),
        }
    }
}

const APPEARS: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);
const DISAPPEARS: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM);

/// Watches a directory, from before the operation.
pub struct Watch(OwnedFd);

impl Watch {
    pub fn new(directory: &Path) -> Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .and_then(|events| {
                inotify::add_watch(&events, directory, APPEARS | DISAPPEARS)?;
                Ok(events)
            })
            .with_context(|| format!("watching {}", directory.display()))?;
        Ok(Self(events))
    }

    /// Waits for the moment, or for the end of the process that may bring it. Tells whether the moment came.
    pub fn wait(&self, moment: Moment, process: &Child) -> Result<bool> {
        let process =
            pidfd_open(Pid::from_child(process), PidfdFlags::empty()).context("watching a process")?;
        let begin = Instant::now();
        loop {
            let left = match moment {
                Moment::After(delay) => Some(delay.saturating_sub(begin.elapsed())),
                _ => None,
            };
            let limit = left.map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut watched = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::new(&process, PollFlags::IN),
            ];
            if poll(&mut watched, limit.as_ref()).context("waiting for a moment")? == 0 {
                return Ok(true);
            }
            let [_, process] = &watched;
            let ended = !process.revents().is_empty();
            if self.saw(moment)? {
                return Ok(true);
            }
            if ended {
                return Ok(false);
            }
        }
    }

    fn saw(&self, moment: Moment) -> Result<bool> {
        let is_it = |name: &str, kinds: WatchFlags| match moment {
            Moment::After(_) => false,
            Moment::Made(wanted) => name == wanted && kinds.intersects(APPEARS),
            Moment::Begun(wanted) => name.starts_with(wanted) && kinds.intersects(APPEARS),
            Moment::Gone(wanted) => name == wanted && kinds.intersects(DISAPPEARS),
        };
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut space);
        let mut saw = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let kinds = WatchFlags::from_bits_truncate(event.events().bits());
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    saw |= name.is_some_and(|name| is_it(name, kinds));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(saw),
                Err(error) => return Err(error).context("reading what happened in a directory"),
            }
        }
    }
}
