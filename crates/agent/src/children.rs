//! Child processes. PID 1 inherits every orphan of the guest, so one thread collects all that end and tells those who
//! wait; nobody else calls `wait`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use vcontainer_wire::ExitStatus;

/// All children of this process.
pub struct Children {
    state: Mutex<State>,
    spawned: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<Pid, Arc<End>>,
    /// Counts spawns.
    spawns: u64,
}

/// How one child ends.
struct End {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
    /// Readable from then on.
    event: OwnedFd,
}

/// One running (or ended) child.
pub struct Child {
    pid: Pid,
    end: Arc<End>,
    children: Arc<Children>,
}

/// This side of a child's pipes, those that were asked for.
pub struct Pipes {
    /// Its standard input.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildStdout>,
    /// Its standard error.
    pub stderr: Option<ChildStderr>,
}

impl Children {
    /// Starts the thread that collects.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> io::Result<Arc<Self>> {
        let children = Arc::new(Self {
            state: Mutex::default(),
            spawned: Condvar::new(),
        });
        let collecting = Arc::clone(&children);
        thread::Builder::new()
            .name("children".into())
            .spawn(move || collecting.collect())?;
        Ok(children)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program in a process group of its own (or a session, if the program makes one).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(self: &Arc<Self>, command: &mut Command) -> io::Result<(Child, Pipes)> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let end = Arc::new(End {
            status: Mutex::default(),
            changed: Condvar::new(),
            event,
        });
        // Under the lock: a child that ends at once, or whose program cannot be executed (the standard library waits
        // for that one), is not collected before it is known here.
        let mut state = self.lock();
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        state.running.insert(pid, Arc::clone(&end));
        state.spawns += 1;
        drop(state);
        self.spawned.notify_all();
        let pipes = Pipes {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        let children = Arc::clone(self);
        Ok((Child { pid, end, children }, pipes))
    }

    fn collect(&self) {
        loop {
            let before = self.lock().spawns;
            // Only looks: what has ended stays until the lock is held.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            if matches!(rustix::process::waitid(WaitId::All, options), Err(Errno::CHILD)) {
                let mut state = self.lock();
                while state.spawns == before {
                    state = self.spawned.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                continue;
            }
            let mut state = self.lock();
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                if let Some(end) = state.running.remove(&pid) {
                    end.tell(exit_status(status));
                }
            }
        }
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(byte(code)),
        (None, Some(signal)) => ExitStatus::Signal(byte(signal)),
        (None, None) => ExitStatus::Code(u8::MAX),
    }
}

impl End {
    fn tell(&self, status: ExitStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.changed.notify_all();
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

impl Child {
    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(&self) -> ExitStatus {
        let mut status = self.end.status.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *status {
                Some(status) => return status,
                None => {
                    status = self
                        .end
                        .changed
                        .wait(status)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    /// Waits for its end, at most so long.
    #[must_use]
    pub fn wait_for(&self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        let mut status = self.end.status.lock().unwrap_or_else(PoisonError::into_inner);
        while status.is_none() {
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.end.changed.wait_timeout(status, left);
            status = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *status
    }

    /// Becomes readable when it has ended.
    #[must_use]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.end.event.as_fd()
    }

    /// Sends a signal to its process group, unless it has ended (the number may be somebody else's then).
    pub fn signal_group(&self, signal: Signal) {
        let state = self.children.lock();
        if state.running.contains_key(&self.pid) {
            // It may be between its start and its own session: then there is no group yet.
            let _ = rustix::process::kill_process_group(self.pid, signal)
                .or_else(|_| rustix::process::kill_process(self.pid, signal));
        }
    }
}
