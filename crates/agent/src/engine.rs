//! The engine's services: started in order, ready when they say so (`READY=1` on NOTIFY_SOCKET), stopped in reverse.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use vcontainer_wire::Failure;

use crate::children::{Child, Children};
use crate::config::Config;
use crate::failure::{Doing, failure};
use crate::kernel_log::note;

/// How long a service may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);
/// How long a service's log may become, in bytes.
const LOG: u64 = 1 << 20;
/// How much of a service's log is shown when it dies.
const TAIL: u64 = 2000;

/// The engine's services and what state they are in.
pub struct Engine {
    config: Arc<Config>,
    children: Arc<Children>,
    /// Where logs and the notification socket lie.
    runtime: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    phase: Phase,
    services: Vec<(String, Arc<Child>)>,
}

#[derive(Clone, Default, PartialEq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Stopped,
    Failed(Failure),
}

impl Engine {
    /// Nothing is started yet; whoever needs it waits for [`Engine::start`].
    #[must_use]
    pub fn new(config: Arc<Config>, children: Arc<Children>, runtime: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            config,
            children,
            runtime,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    /// The guest could not be made ready for its engine.
    pub fn fail(&self, why: Failure) {
        note(&why);
        self.enter(Phase::Failed(why));
    }

    /// Whether it is ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().phase == Phase::Ready
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It was stopped, could not be started, or has died.
    pub fn wait_ready(&self) -> Result<(), Failure> {
        let mut state = self.lock();
        loop {
            match &state.phase {
                Phase::Ready => return Ok(()),
                Phase::Stopped => return Err(failure("the engine in the guest is stopped")),
                Phase::Failed(why) => return Err(why.clone()),
                Phase::Starting => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts all services and waits until each is ready: once, when the guest has booted as far as they need.
    ///
    /// # Errors
    /// One cannot be started, or dies before it is ready.
    pub fn start(self: &Arc<Self>) -> Result<(), Failure> {
        let result = self.start_services();
        match &result {
            Ok(()) => self.enter(Phase::Ready),
            Err(why) => self.fail(why.clone()),
        }
        result
    }

    /// Starts the services again that were stopped or have failed, and waits until they are ready. While somebody else
    /// starts them (the guest itself, when it boots) it only waits.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn ensure(self: &Arc<Self>) -> Result<(), Failure> {
        let starts = {
            let mut state = self.lock();
            let starts = matches!(state.phase, Phase::Stopped | Phase::Failed(_));
            if starts {
                state.phase = Phase::Starting;
            }
            starts
        };
        if starts { self.start() } else { self.wait_ready() }
    }

    fn start_services(self: &Arc<Self>) -> Result<(), Failure> {
        fs::create_dir_all(&self.runtime).doing("making the directory of the services' logs")?;
        for words in &self.config.services {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            let name = Path::new(program)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let address = self.runtime.join("notify");
            let _ = fs::remove_file(&address);
            let socket = UnixDatagram::bind(&address).doing("listening for the services")?;
            let path = self.runtime.join(format!("{name}.log"));
            let log = new_log(&path)?;
            let copy = log.try_clone().doing("opening a log twice")?;
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env_clear()
                .envs(&self.config.environment)
                .env("NOTIFY_SOCKET", &address)
                .current_dir("/")
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(copy);
            let (child, _) = self
                .children
                .spawn(&mut command)
                .doing(format!("starting {program}"))?;
            let child = Arc::new(child);
            self.lock().services.push((name.clone(), Arc::clone(&child)));
            await_ready(&socket, &child, &name, &path)?;
            note(format!("{name} is ready"));
            let engine = Arc::clone(self);
            let _ = thread::Builder::new()
                .name("service".into())
                .spawn(move || engine.watch(&name, &child, &path));
        }
        Ok(())
    }

    /// A service that ends without being told to takes the engine with it.
    fn watch(&self, name: &str, child: &Child, log: &Path) {
        let _ = child.wait();
        let state = self.lock();
        let belongs = state
            .services
            .iter()
            .any(|(_, service)| service.pid() == child.pid());
        drop(state);
        if belongs {
            self.fail(died(name, child, log));
        }
    }

    /// Stops all services, the last started first, and waits for their ends.
    pub fn stop(&self) {
        let mut state = self.lock();
        let services = std::mem::take(&mut state.services);
        state.phase = Phase::Stopped;
        drop(state);
        self.changed.notify_all();
        for (name, child) in services.iter().rev() {
            child.signal_group(Signal::TERM);
            if child.wait_for(GRACE).is_none() {
                note(format!("{name} does not stop and is killed"));
                child.signal_group(Signal::KILL);
                let _ = child.wait();
            }
        }
    }

    /// Writes everything out to the state disk, and lets go of long logs: they take memory.
    ///
    /// # Errors
    /// The disk takes it no more.
    pub fn sync(&self) -> Result<(), Failure> {
        for (name, _) in &self.lock().services {
            shorten(&self.runtime.join(format!("{name}.log")));
        }
        let Some(state) = &self.config.state else {
            return Ok(());
        };
        let folder = File::open(state).doing(format!("opening {state}"))?;
        rustix::fs::syncfs(&folder).doing("writing out to the state disk")
    }
}

/// A new log of a service. Whoever writes appends, so that it can be shortened meanwhile.
fn new_log(path: &Path) -> Result<File, Failure> {
    let make = || {
        let _ = fs::remove_file(path);
        File::options().append(true).create_new(true).open(path)
    };
    make().doing(format!("making {}", path.display()))
}

/// Empties a log that is longer than anybody will read.
fn shorten(path: &Path) {
    if let Ok(log) = File::options().write(true).open(path)
        && log.metadata().is_ok_and(|found| found.len() > LOG)
    {
        let _ = log.set_len(0);
    }
}

/// Waits for the service's word, or its end.
fn await_ready(socket: &UnixDatagram, child: &Child, name: &str, log: &Path) -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    loop {
        let ended = child.ended();
        let mut fds = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.doing("waiting for a service")?,
        };
        let [word, _] = &fds;
        if word.revents().is_empty() {
            return Err(died(name, child, log));
        }
        let count = socket.recv(&mut buffer).doing("hearing a service")?;
        let text = buffer.get(..count).unwrap_or_default();
        if text.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

fn died(name: &str, child: &Child, log: &Path) -> Failure {
    let how = match child.wait() {
        vcontainer_wire::ExitStatus::Code(code) => format!("ended with code {code}"),
        vcontainer_wire::ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
    };
    let tail = tail(log);
    failure(format!(
        "{name} in the guest {how}; the end of its log:\n{}",
        tail.trim_end()
    ))
}

fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(it cannot be read: {error})"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn long_logs_are_emptied_while_they_are_written() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dockerd.log");
        let mut log = new_log(&path).unwrap();
        log.write_all(b"short").unwrap();
        shorten(&path);
        assert_eq!(fs::read(&path).unwrap(), b"short");
        log.write_all(&vec![b'x'; 1 << 20]).unwrap();
        shorten(&path);
        log.write_all(b"goes on").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"goes on");
        shorten(&root.path().join("none"));
    }
}
