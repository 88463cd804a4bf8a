//! One QEMU process: started, suspended, ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::command_line::hex;
use crate::error::{During, Error};
use crate::qmp::{Event, Qmp};

/// How long loading or saving the device state may take: it is some hundred kilobytes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running QEMU.
pub(crate) struct Machine {
    child: Child,
    qmp: Qmp,
    directory: PathBuf,
    /// Why the guest cannot go on, once that is known.
    trouble: Arc<Mutex<Option<String>>>,
}

/// How QEMU is started.
pub(crate) struct Launch<'a> {
    /// Our own program, for its hidden sub-command.
    pub(crate) program: &'a Path,
    pub(crate) qemu: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    /// Where QEMU runs: the state directory.
    pub(crate) directory: &'a Path,
}

impl Machine {
    /// Starts QEMU. The stream is the agent's channel. `ended` is called with QEMU's process
    /// when it is gone or the guest cannot go on.
    ///
    /// QEMU dies with the *thread* that calls this.
    pub(crate) fn launch(
        launch: &Launch<'_>,
        ended: impl Fn(u32) + Send + 'static,
    ) -> Result<(Self, UnixStream), Error> {
        let pair = || UnixStream::pair().during(|| "making a pair of sockets".into());
        let (agent, agent_of_qemu) = pair()?;
        let (control, control_of_qemu) = pair()?;
        let path = launch.directory.join("qemu.log");
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .on("opening", &path)?;
        let child = tied(launch.program, launch.qemu)
            .args(&launch.arguments)
            .current_dir(launch.directory)
            .stdin(OwnedFd::from(agent_of_qemu))
            .stdout(OwnedFd::from(control_of_qemu))
            .stderr(log)
            .spawn()
            .on("starting", launch.program)?;
        let trouble = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&trouble);
        let pid = child.id();
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let mut guard = Unowned(Some(child));
        let process = process.during(|| "watching QEMU".into())?;
        let started = Qmp::start(control, move |event| match event {
            Some(event) => {
                if note_trouble(event, &seen) {
                    // The guest stands still: whoever waits for its agent, in a start or a suspend too, would wait for
                    // ever.
                    let _ = pidfd_send_signal(&process, Signal::KILL);
                    ended(pid);
                }
            }
            None => ended(pid),
        });
        let qmp = started.map_err(|_| {
            guard.end();
            Error::NotStarted(tail(launch.directory, "QEMU did not start"))
        })?;
        let Some(child) = guard.0.take() else {
            return Err(Error::NotStarted("QEMU did not start".into()));
        };
        let directory = launch.directory.to_owned();
        let machine = Self {
            child,
            qmp,
            directory,
            trouble,
        };
        machine.qmp.execute(
            "migrate-set-capabilities",
            json!({ "capabilities": [
                { "capability": "events", "state": true },
                // The memory is in its file already.
                { "capability": "x-ignore-shared", "state": true },
            ] }),
        )?;
        Ok((machine, agent))
    }

    /// QEMU's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives the waiting QEMU the devices' state, and lets the guest go on.
    pub(crate) fn go_on(&self, devices: Vec<u8>) -> Result<(), Error> {
        let (reader, writer) = pipe()?;
        self.qmp.give_file("devices", &reader)?;
        drop(reader);
        let feeder = spawn("devices", move || File::from(writer).write_all(&devices))?;
        self.qmp
            .execute("migrate-incoming", json!({ "uri": "fd:devices" }))?;
        self.wait_for_migration()?;
        // QEMU has what it wants; whether it took the last bytes doesn't matter.
        let _ = feeder.join();
        self.qmp.execute("cont", json!({})).map(drop)
    }

    /// Stops the guest and writes the devices' state to a new file. Gives its size and SHA-256. QEMU must be ended
    /// afterwards, whatever the result.
    pub(crate) fn save(&self, path: &Path) -> Result<(u64, String), Error> {
        self.qmp.execute("stop", json!({}))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .on("making", path)?;
        let (reader, writer) = pipe()?;
        self.qmp.give_file("devices", &writer)?;
        drop(writer);
        let (tell, told) = mpsc::channel();
        spawn("devices", move || {
            let mut reader = File::from(reader);
            // Told before the pipe closes: whoever sees it broken can ask why.
            let _ = tell.send(keep(&mut reader, &mut file));
        })?;
        let migrated = self
            .qmp
            .execute("migrate", json!({ "uri": "fd:devices" }))
            .and_then(|_| self.wait_for_migration());
        match (migrated, told.try_recv()) {
            (Err(_), Ok(Err(full))) => Err(full).on("writing", path),
            (Err(error), _) => Err(error),
            (Ok(()), Ok(saved)) => saved.on("writing", path),
            (Ok(()), Err(_)) => told
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the thread failed")))
                .on("writing", path),
        }
    }

    fn wait_for_migration(&self) -> Result<(), Error> {
        let outcome = self
            .qmp
            .wait_for("MIGRATION", PATIENCE, |event| match event.text("status") {
                "completed" => Some(true),
                "failed" | "cancelled" => Some(false),
                _ => None,
            })?;
        if outcome {
            return Ok(());
        }
        let status = self.qmp.execute("query-migrate", json!({}))?;
        let why = status.get("error-desc").and_then(|text| text.as_str());
        Err(Error::Ended(tail(
            &self.directory,
            &format!(
                "QEMU could not save or load the machine's devices ({})",
                why.unwrap_or("no reason given")
            ),
        )))
    }

    /// Lets QEMU close its files and end.
    pub(crate) fn quit(mut self) -> Result<(), Error> {
        let asked = self.qmp.execute("quit", json!({}));
        if asked.is_err() && !matches!(asked, Err(Error::Ended(_))) {
            let _ = self.child.kill();
        }
        self.child
            .wait()
            .during(|| "waiting for QEMU to end".into())
            .map(drop)
    }

    /// Ends QEMU, like a power cut, and says why the machine has ended.
    pub(crate) fn kill(mut self, what: &str) -> String {
        // QEMU closes its channels a moment before it can be asked how it ended.
        let before = match ends_within(&self.child, Duration::from_millis(100)) {
            true => self.child.try_wait(),
            false => Ok(None),
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (known, before) {
            (Some(trouble), _) => format!("{what}: {trouble}"),
            (None, Ok(Some(status))) => tail(&self.directory, &format!("{what}: QEMU {}", how(status))),
            (None, _) => tail(&self.directory, what),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child to end; gives whether it did.
pub(crate) fn ends_within(child: &Child, patience: Duration) -> bool {
    let limit = Timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: patience.subsec_nanos().into(),
    };
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .is_some_and(|process| {
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
        })
}

/// Writes all that comes to a file; its size and SHA-256.
fn keep(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut size, mut hash) = (0_u64, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let got = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else {
            return Ok((size, hex(&hash.finalize())));
        };
        to.write_all(bytes)?;
        hash.update(bytes);
        size += got as u64;
    }
}

/// A child that is ended unless somebody takes it.
struct Unowned(Option<Child>);

impl Unowned {
    fn end(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Unowned {
    fn drop(&mut self) {
        self.end();
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// A full disk stops the guest before its write, so nothing is lost; but it cannot go on.
fn note_trouble(event: &Event, trouble: &Mutex<Option<String>>) -> bool {
    let text = match event.name.as_str() {
        "BLOCK_IO_ERROR" if event.text("action") == "stop" => {
            let full = event.data.get("nospace").and_then(serde_json::Value::as_bool) == Some(true);
            match full {
                true => "the disk that holds its state is full: make room there and try again".to_owned(),
                false => format!(
                    "its state disk cannot be read or written ({})",
                    event.text("reason")
                ),
            }
        }
        "GUEST_PANICKED" => "the guest's kernel panicked".to_owned(),
        _ => return false,
    };
    trouble
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert(text);
    true
}

/// `what`, and the last lines that QEMU and the guest's kernel have said.
fn tail(directory: &Path, what: &str) -> String {
    let mut text = what.to_owned();
    for (name, who) in [("qemu.log", "QEMU"), ("console.log", "the guest")] {
        let said = fs::read(directory.join(name)).unwrap_or_default();
        let said = without_escapes(&String::from_utf8_lossy(&said));
        let mut lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        // Around a panic the kernel says much more: what it was and where is enough here.
        let panic = lines.iter().position(|line| line.contains("Kernel panic"));
        let last = match panic {
            Some(line) => {
                let (before, rest) = lines.split_at(line);
                let signs = ["BUG:", "Oops", "RIP:", "pc :"];
                let is_sign = |line: &&&str| signs.iter().any(|sign| line.contains(sign));
                let signs = before.iter().filter(is_sign).take(3);
                signs.chain(rest.first()).copied().collect()
            }
            None => lines.split_off(lines.len().saturating_sub(4)),
        };
        if !last.is_empty() {
            text = format!("{text}; {who} said: {}", last.join(" | "));
        }
    }
    text
}

/// The text without what moves a terminal's cursor.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            if characters.next() == Some('[') {
                while characters.next().is_some_and(|next| !('@'..='~').contains(&next)) {}
            }
        } else if character == '\n' || !character.is_control() {
            plain.push(character);
        }
    }
    plain
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(|| "making a pipe".into())
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .during(|| "starting a thread".into())
}

/// Runs `body` on a thread, and gives up on it after `patience`.
pub(crate) fn within<T: Send + 'static>(
    patience: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Error> {
    let (sender, receiver) = mpsc::channel();
    spawn("within", move || {
        let _ = sender.send(body());
    })?;
    Ok(receiver.recv_timeout(patience).ok())
}

/// A QEMU that dies with the *thread* that starts it. `program` is our own, which has the hidden sub-command.
pub(crate) fn tied(program: &Path, qemu: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("vcontainer")
        .arg(crate::QEMU)
        .arg(std::process::id().to_string())
        .arg(qemu);
    command
}

/// Becomes QEMU: `words` are the process that owns it, the program and its arguments. QEMU is killed when the owner
/// dies, however it dies. Returns only on an error.
///
/// # Errors
/// Always: why QEMU could not be started.
pub fn exec_qemu(words: impl IntoIterator<Item = OsString>) -> Error {
    let mut words = words.into_iter();
    let owner = words.next().and_then(|word| word.to_str()?.parse::<i32>().ok());
    let (Some(owner), Some(program)) = (owner.and_then(Pid::from_raw), words.next()) else {
        return Error::Supervisor("this command is for the supervisor of a machine".into());
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Error::Io {
            doing: "tying QEMU to its supervisor".into(),
            source: error.into(),
        };
    }
    // It may have died before.
    if getppid() != Some(owner) {
        return Error::Supervisor("the supervisor has ended".into());
    }
    let source = Command::new(&program).args(words).exec();
    Error::Io {
        doing: format!("starting {}", Path::new(&program).display()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_plain_and_few() {
        let directory = tempfile::tempdir().unwrap();
        let console = "\u{1b}c\u{1b}[?7l\u{1b}[2JBooting\r\none\n";
        fs::write(directory.path().join("console.log"), console).unwrap();
        assert_eq!(
            tail(directory.path(), "it ended"),
            "it ended; the guest said: Booting | one"
        );
        let panic = "one\n[ 1.0] Kernel panic - not syncing: no init\n[ 1.1] Call trace:\na\nb\nc\nd\n";
        fs::write(directory.path().join("console.log"), panic).unwrap();
        let text = tail(directory.path(), "it ended");
        assert_eq!(
            text,
            "it ended; the guest said: [ 1.0] Kernel panic - not syncing: no init"
        );
        let oops = "BUG: unable to handle page fault\nCPU: 0\nRIP: 0010:f+0x1/0x2\nRAX: 1\nKernel panic - not syncing\nRIP: 1\n";
        fs::write(directory.path().join("console.log"), oops).unwrap();
        assert_eq!(
            tail(directory.path(), "it ended"),
            "it ended; the guest said: BUG: unable to handle page fault | RIP: 0010:f+0x1/0x2 | Kernel panic - not syncing"
        );
        fs::write(directory.path().join("qemu.log"), "could not\n").unwrap();
        assert!(tail(directory.path(), "it ended").starts_with("it ended; QEMU said: could not; the guest"));
    }
}
