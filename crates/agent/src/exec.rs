//! Running a program for the host: its words, streams, terminal, signals and exit status, all exactly.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use vcontainer_wire::{Channel, Control, Event, Exec, ExitStatus, Failure, Receiver, Reply, Sender, Stream};

use crate::children::{Child, Children};
use crate::failure::{Doing, failure};
use crate::serve::Agent;
use crate::terminal;

/// Where programs are looked up when the guest says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may take to end by itself after nobody wants it any more.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes that are read from a program at a time.
const CHUNK: usize = 64 << 10;

/// Runs it, to the reply.
pub fn run(agent: &Agent, exec: &Exec, channel: Channel) {
    let (sender, receiver) = channel.split();
    let result = start(agent, exec).and_then(|running| {
        let status = attend(running, &sender, receiver);
        if exec.needs_engine {
            // A command that has returned is on the disk.
            agent.engine.sync()?;
        }
        Ok(status)
    });
    let reply = match result {
        Ok(status) => Reply::Exited(status),
        Err(failure) => Reply::Failed(failure),
    };
    // Nobody may want to know any more.
    let _ = sender.reply(reply);
}

/// A program that was started, and this side of its streams.
struct Running {
    child: Arc<Child>,
    input: Option<File>,
    outputs: Vec<(Stream, File)>,
    terminal: Option<Arc<OwnedFd>>,
}

fn start(agent: &Agent, exec: &Exec) -> Result<Running, Failure> {
    if exec.needs_engine {
        agent.engine.wait_ready()?;
    }
    let environment = environment(agent, exec);
    let name = exec
        .argv
        .first()
        .ok_or_else(|| failure("there is no program to run"))?;
    let folder = PathBuf::from(OsStr::from_bytes(exec.cwd.as_deref().unwrap_or(b"/")));
    if !folder.is_dir() {
        return Err(Failure {
            message: format!("there is no directory {} in the guest", folder.display()),
            errno: Some(rustix::io::Errno::NOENT.raw_os_error()),
        });
    }
    let program = find(OsStr::from_bytes(name), &environment, &folder)?;
    let mut command = match exec.tty {
        None => Command::new(&program),
        Some(_) => Command::new(&agent.program),
    };
    command.env_clear().envs(environment).current_dir(&folder);
    let words = exec.argv.iter().map(|word| OsStr::from_bytes(word));
    let doing = format!("starting {}", String::from_utf8_lossy(name));
    match exec.tty {
        None => {
            command
                .arg0(OsStr::from_bytes(name))
                .args(words.skip(1))
                .process_group(0);
            command.stdin(if exec.stdin { Stdio::piped() } else { Stdio::null() });
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let (child, pipes) = spawn(&agent.children, command).doing(doing)?;
            let output = |stream, pipe: Option<OwnedFd>| pipe.map(|pipe| (stream, File::from(pipe)));
            Ok(Running {
                child,
                input: pipes.stdin.map(|pipe| File::from(OwnedFd::from(pipe))),
                outputs: [
                    output(Stream::Out, pipes.stdout.map(OwnedFd::from)),
                    output(Stream::Err, pipes.stderr.map(OwnedFd::from)),
                ]
                .into_iter()
                .flatten()
                .collect(),
                terminal: None,
            })
        }
        Some(size) => {
            let (ours, theirs) = terminal::open(size)?;
            command.arg(terminal::CHILD).arg(&program).args(words);
            let copy = || theirs.try_clone().map(Stdio::from).doing("copying a terminal");
            command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            drop(theirs);
            let (child, _) = spawn(&agent.children, command).doing(doing)?;
            let copy = || ours.try_clone().map(File::from).doing("copying a terminal");
            Ok(Running {
                child,
                input: Some(copy()?),
                outputs: vec![(Stream::Out, copy()?)],
                terminal: Some(Arc::new(ours)),
            })
        }
    }
}

/// Takes the command, so that this side holds none of the child's ends afterwards.
fn spawn(
    children: &Arc<Children>,
    mut command: Command,
) -> std::io::Result<(Arc<Child>, crate::children::Pipes)> {
    children
        .spawn(&mut command)
        .map(|(child, pipes)| (Arc::new(child), pipes))
}

fn environment(agent: &Agent, exec: &Exec) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = vec![("PATH".into(), PATH.into())];
    if exec.tty.is_some() {
        all.push(("TERM".into(), "xterm".into()));
    }
    let guest = agent.config.environment.iter();
    all.extend(guest.map(|(name, value)| (name.into(), value.into())));
    let asked = exec.env.iter();
    all.extend(asked.map(|(name, value)| {
        (
            OsString::from_vec(name.clone()),
            OsString::from_vec(value.clone()),
        )
    }));
    all
}

/// The file of a program: by its path (from the working directory), else the first of that name on PATH.
fn find(name: &OsStr, environment: &[(OsString, OsString)], folder: &Path) -> Result<PathBuf, Failure> {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let wrong = |what: &str, errno: rustix::io::Errno| Failure {
        message: format!("{}: {what} in the guest", name.to_string_lossy()),
        errno: Some(errno.raw_os_error()),
    };
    if name.as_bytes().contains(&b'/') {
        let path = folder.join(name);
        return match path.exists() {
            true if executable(&path) => Ok(path),
            true => Err(wrong("it is no program", rustix::io::Errno::ACCESS)),
            false => Err(wrong("there is no such file", rustix::io::Errno::NOENT)),
        };
    }
    let path = environment.iter().rev().find(|(name, _)| name == "PATH");
    path.iter()
        .flat_map(|(_, folders)| std::env::split_paths(folders))
        .map(|place| folder.join(place).join(name))
        .find(|path| !name.is_empty() && executable(path))
        .ok_or_else(|| wrong("there is no such program", rustix::io::Errno::NOENT))
}

/// Carries its streams until it has ended and everything that it had written by then is on its way.
fn attend(running: Running, sender: &Sender, mut receiver: Receiver) -> ExitStatus {
    let Running {
        child,
        input,
        outputs,
        terminal,
    } = running;
    let (feed, food) = mpsc::channel();
    let feeding = Feeding {
        input,
        terminal: terminal.clone(),
        sender: sender.clone(),
        child: Arc::clone(&child),
    };
    let listening = (Arc::clone(&child), terminal);
    receiver.keep_credit();
    thread::scope(|scope| {
        let copies: Vec<_> = outputs
            .into_iter()
            .map(|(stream, file)| {
                let (child, sender) = (&child, &sender);
                scope.spawn(move || copy_out(file, stream, sender, child))
            })
            .collect();
        // These two may outlive the program (nothing more may ever come); they end with the channel.
        let _ = thread::Builder::new()
            .name("input".into())
            .spawn(move || feeding.run(&food));
        let _ = thread::Builder::new()
            .name("channel".into())
            .spawn(move || listen(&mut receiver, &listening.0, listening.1.as_deref(), &feed));
        let status = child.wait();
        for copy in copies {
            let _ = copy.join();
        }
        status
    })
}

/// What the host sends: input is handed on at once, so that a signal behind it never waits for the program to read.
fn listen(
    receiver: &mut Receiver,
    child: &Child,
    terminal: Option<&OwnedFd>,
    feed: &mpsc::Sender<Option<Vec<u8>>>,
) {
    loop {
        match receiver.next() {
            Ok(Event::Data(_, bytes)) => drop(feed.send(Some(bytes))),
            Ok(Event::Eof(_)) => drop(feed.send(None)),
            Ok(Event::Control(Control::Resize(size))) => {
                if let Some(terminal) = terminal {
                    terminal::resize(terminal, size);
                }
            }
            Ok(Event::Control(Control::Signal(number))) => {
                if let Some(signal) = Signal::from_named_raw(number.into()) {
                    let foreground = terminal.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
                    match foreground {
                        Some(group) => drop(rustix::process::kill_process_group(group, signal)),
                        None => child.signal_group(signal),
                    }
                }
            }
            Ok(Event::Reply(_)) => {}
            Ok(Event::Closed) | Err(_) => break,
        }
    }
    // Nobody wants it any more (or it has ended, and then this does nothing).
    child.signal_group(Signal::HUP);
    if child.wait_for(GRACE).is_none() {
        child.signal_group(Signal::KILL);
    }
}

/// The program's standard input.
struct Feeding {
    input: Option<File>,
    terminal: Option<Arc<OwnedFd>>,
    sender: Sender,
    child: Arc<Child>,
}

impl Feeding {
    fn run(mut self, food: &mpsc::Receiver<Option<Vec<u8>>>) {
        if let Some(input) = &self.input {
            nonblocking(input);
        }
        let mut line_is_open = false;
        for piece in food {
            match piece {
                Some(bytes) => {
                    if let Some(last) = bytes.last() {
                        line_is_open = *last != b'\n';
                    }
                    self.write(&bytes);
                    // What the program does not read is thrown away, as a pipe to nobody does.
                    self.sender.taken(bytes.len());
                }
                None => match &self.terminal {
                    Some(terminal) => self.write(terminal::end_of_input(terminal, line_is_open)),
                    None => self.input = None,
                },
            }
        }
    }

    /// Writes all, unless the program closes its input or ends.
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(input) = self.input.as_mut().filter(|_| !rest.is_empty()) {
            match input.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !ready(input, PollFlags::OUT, &self.child) {
                        self.input = None;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.input = None,
            }
        }
    }
}

/// The program's output, until its end. What it wrote before it ended is there by then; what others that it left
/// behind write later is not waited for.
fn copy_out(mut file: File, stream: Stream, sender: &Sender, child: &Child) {
    nonblocking(&file);
    let mut buffer = vec![0; CHUNK];
    let mut wanted = true;
    let mut ended = false;
    // Others that still write must not keep it here for ever: no pipe or terminal holds more than this.
    let mut left = 1usize << 20;
    while left > 0 {
        match file.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                // A program whose output nobody wants still gets rid of it, until it is told to end.
                if child.wait_for(Duration::ZERO).is_some() {
                    left = left.saturating_sub(count);
                }
                wanted = wanted && sender.data(stream, bytes).is_ok();
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if ended {
                    return;
                }
                // When it has ended: once more, for what came just before.
                ended = !ready(&file, PollFlags::IN, child);
            }
            // A terminal that no program holds any more.
            Err(_) => return,
        }
    }
}

fn nonblocking(file: &File) {
    if let Ok(flags) = rustix::fs::fcntl_getfl(file) {
        let _ = rustix::fs::fcntl_setfl(file, flags | rustix::fs::OFlags::NONBLOCK);
    }
}

/// Waits until the file is ready (true) or the program has ended.
fn ready(file: &File, flags: PollFlags, child: &Child) -> bool {
    let ended = child.ended();
    let mut fds = [
        PollFd::from_borrowed_fd(file.as_fd(), flags),
        PollFd::new(&ended, PollFlags::IN),
    ];
    loop {
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => {
                let [file, _] = &fds;
                return !file.revents().is_empty();
            }
        }
    }
}
