//! One program in the machine: its streams, its signals, its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;
use vcontainer_wire::{Control, Event, Exec, ExitStatus, Mux, Reply, Request, Sender, Stream};

use crate::engine::terminal;

/// As much as goes into one message.
const CHUNK: usize = 64 * 1024;

/// Gives a program's standard input, on a thread of its own.
pub type Feed = Box<dyn FnOnce(&mut Input) -> Result<()> + Send>;

/// Where a program's output goes.
pub struct Outputs<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub error: &'a mut dyn Write,
}

/// Standard output was closed by whoever read it.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct NobodyReads;

/// The tool was told to go while a program ran.
#[derive(Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub struct HungUp(pub i32);

/// The machine is gone, or refuses what it should do.
#[derive(Debug, thiserror::Error)]
pub enum MachineFault {
    /// The conversation broke before the program had ended.
    #[error("the machine broke while `{0}` ran")]
    Broken(String, #[source] vcontainer_wire::Error),
    /// The guest let go of the program.
    #[error("the machine gave up `{0}` before it had ended")]
    GaveUp(String),
    /// The guest could not do it.
    #[error("the machine cannot run `{program}`: {why}")]
    Refused {
        /// The program.
        program: String,
        /// The guest's own sentence.
        why: String,
    },
}

/// The standard input of a program in the machine.
pub struct Input {
    sender: Sender,
    /// The program takes no more.
    gone: bool,
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK);
        if let Err(error) = self.sender.data(Stream::In, &bytes[..count]) {
            self.gone = true;
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, error.to_string()));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A feed of everything in `file`, which is called `name` in errors.
#[must_use]
pub fn feed_file(mut file: File, name: String) -> Feed {
    Box::new(move |input| {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // How the end of a terminal that is gone looks.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Ok(());
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            };
            input.write_all(&buffer[..count])?;
        }
    })
}

/// A feed of the tool's own standard input.
///
/// # Errors
/// It is closed.
pub fn feed_stdin() -> Result<Feed> {
    Ok(feed_file(unbuffered(io::stdin())?, "standard input".to_owned()))
}

/// A stream of the tool without a buffer in between.
///
/// # Errors
/// It is closed.
pub fn unbuffered(stream: impl AsFd) -> Result<File> {
    let owned = stream
        .as_fd()
        .try_clone_to_owned()
        .context("a standard stream is closed")?;
    Ok(File::from(owned))
}

/// A program's name and first words, for messages; of a script of ours, what it is called.
fn called(exec: &Exec) -> String {
    if let [shell, option, _script, name, ..] = exec.argv.as_slice()
        && (shell.as_slice(), option.as_slice()) == (b"sh", b"-c")
    {
        return String::from_utf8_lossy(name).into_owned();
    }
    let words: Vec<String> = exec
        .argv
        .iter()
        .take(2)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    words.join(" ")
}

/// The signals that whoever started this process wants it to ignore (`nohup`, a shell's `&`): a bit for each, the first
/// for signal 1 (proc_pid_status(5)). When that can't be found out, none.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// Runs a program until it ends. Signals that this process gets go to the program meanwhile, and with a terminal its
/// size.
///
/// # Errors
/// The machine breaks, the input cannot be read or the output not be written.
pub fn run(mux: &Mux, exec: Exec, feed: Option<Feed>, outputs: &mut Outputs<'_>) -> Result<ExitStatus> {
    let program = called(&exec);
    // Before the program starts: no signal and no new size is lost.
    let ignored = ignored_signals();
    let passed_on = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
    let heeded = passed_on
        .into_iter()
        .filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(heeded).context("cannot watch for signals")?;
    let exec = Exec {
        stdin: feed.is_some(),
        tty: exec.tty.map(|_| terminal::size()),
        ..exec
    };
    let has_terminal = exec.tty.is_some();
    let broken = |error| MachineFault::Broken(program.clone(), error);
    let channel = mux.open(Request::Exec(exec)).map_err(broken)?;
    let (sender, mut receiver) = channel.split();

    let handle = signals.handle();
    let hung_up = Arc::new(Mutex::new(None));
    let told = Arc::clone(&hung_up);
    let to_program = sender.clone();
    let watcher = std::thread::spawn(move || {
        for signal in signals.forever() {
            let control = match signal {
                SIGWINCH if has_terminal => Control::Resize(terminal::size()),
                SIGWINCH => continue,
                other => Control::Signal(u8::try_from(other).unwrap_or_default()),
            };
            let sent = to_program.control(control);
            if signal == SIGHUP {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
                to_program.close();
            }
            if sent.is_err() {
                return;
            }
        }
    });

    let fault = Arc::new(Mutex::new(None));
    if let Some(feed) = feed {
        let mut input = Input {
            sender: sender.clone(),
            gone: false,
        };
        let fault = Arc::clone(&fault);
        // Not waited for: it may be in the middle of reading a terminal when the program ends.
        std::thread::spawn(move || match feed(&mut input) {
            Ok(()) => {
                let _ = input.sender.eof(Stream::In);
            }
            Err(error) if !input.gone => {
                *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                input.sender.close();
            }
            Err(_) => {}
        });
    }

    let ended = loop {
        let event = match receiver.next() {
            Ok(event) => event,
            Err(error) => break Err(broken(error).into()),
        };
        let written = match event {
            Event::Data(Stream::Err, bytes) => outputs
                .error
                .write_all(&bytes)
                .context("cannot write to standard error"),
            Event::Data(_, bytes) => match outputs.out.write_all(&bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
                result => result.context("cannot write the output"),
            },
            Event::Reply(Reply::Exited(status)) => break Ok(status),
            Event::Reply(Reply::Failed(failure)) => {
                break Err(MachineFault::Refused {
                    program: program.clone(),
                    why: failure.message,
                }
                .into());
            }
            Event::Reply(other) => break Err(anyhow!("the machine answered `{program}` with {other:?}")),
            Event::Closed => break Err(MachineFault::GaveUp(program.clone()).into()),
            Event::Eof(_) | Event::Control(_) => Ok(()),
        };
        if let Err(error) = written {
            break Err(error);
        }
    };
    sender.close();
    handle.close();
    let _ = watcher.join();
    let take = |slot: &Mutex<Option<i32>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Err(_), Some(signal)) = (&ended, take(&hung_up)) {
        bail!(HungUp(signal));
    }
    // The program's own end says less than why its input stopped.
    if let Some(error) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use vcontainer_wire::{Channel, Side};

    use super::*;

    /// The other side of a conversation: runs programs of this computer.
    fn guest() -> Mux {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let start = |side, stream: UnixStream| Mux::start(side, stream.try_clone().unwrap(), stream);
        std::thread::spawn(move || {
            let (mux, incoming) = start(Side::Guest, theirs).unwrap();
            for (request, channel) in incoming {
                let Request::Exec(exec) = request else {
                    panic!("{request:?}")
                };
                if exec.argv[0] == b"break" {
                    mux.end();
                    return;
                }
                std::thread::spawn(move || serve(&exec, channel));
            }
        });
        start(Side::Host, ours).unwrap().0
    }

    fn serve(exec: &Exec, channel: Channel) {
        let (sender, mut receiver) = channel.split();
        let words = exec
            .argv
            .iter()
            .map(|word| String::from_utf8(word.clone()).unwrap());
        let words: Vec<String> = words.collect();
        if words[0] == "give-up" {
            return;
        }
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take();
        if !exec.stdin {
            stdin = None;
        }
        let pid = rustix::process::Pid::from_child(&child);
        let ends = sender.clone();
        std::thread::spawn(move || {
            loop {
                match receiver.next() {
                    Ok(Event::Data(_, bytes)) => {
                        if let Some(stdin) = &mut stdin {
                            let _ = stdin.write_all(&bytes);
                        }
                    }
                    Ok(Event::Eof(_)) => stdin = None,
                    Ok(Event::Control(_)) => {}
                    Ok(Event::Closed) | Err(_) => {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                        ends.close();
                        return;
                    }
                    Ok(Event::Reply(_)) => return,
                }
            }
        });
        let pump = |stream: Stream, mut from: Box<dyn Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; CHUNK];
                while let Ok(count) = from.read(&mut buffer) {
                    if count == 0 || sender.data(stream, &buffer[..count]).is_err() {
                        return;
                    }
                }
            })
        };
        let out = pump(Stream::Out, Box::new(child.stdout.take().unwrap()));
        let error = pump(Stream::Err, Box::new(child.stderr.take().unwrap()));
        out.join().unwrap();
        error.join().unwrap();
        let code = child.wait().unwrap().code().unwrap_or(255);
        let _ = sender.reply(Reply::Exited(ExitStatus::Code(u8::try_from(code).unwrap())));
    }

    fn exec(words: &[&str]) -> Exec {
        Exec {
            argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            ..Exec::default()
        }
    }

    /// Status, standard output, standard error.
    fn ran(words: &[&str], feed: Option<Feed>) -> (Result<ExitStatus>, Vec<u8>, Vec<u8>) {
        let (mut out, mut error) = (Vec::new(), Vec::new());
        let mut outputs = Outputs {
            out: &mut out,
            error: &mut error,
        };
        let status = run(&guest(), exec(words), feed, &mut outputs);
        (status, out, error)
    }

    #[test]
    fn output_error_and_status_come_apart() {
        let words = ["sh", "-c", "printf foo; printf bar >&2; exit 37"];
        let (status, out, error) = ran(&words, None);
        assert_eq!(status.unwrap(), ExitStatus::Code(37));
        assert_eq!((out.as_slice(), error.as_slice()), (&b"foo"[..], &b"bar"[..]));
    }

    #[test]
    fn input_of_any_bytes_goes_through() {
        let bytes: Vec<u8> = (0..5_000_000_u32)
            .map(|number| ((number * 31) >> 3) as u8)
            .collect();
        let copy = bytes.clone();
        let feed: Feed = Box::new(move |input| Ok(input.write_all(&copy)?));
        let (status, out, _) = ran(&["cat"], Some(feed));
        assert_eq!(status.unwrap(), ExitStatus::Code(0));
        assert!(out == bytes);
    }

    #[test]
    fn a_program_that_reads_nothing_is_no_error() {
        let feed: Feed = Box::new(|input| {
            loop {
                input.write_all(&[0; CHUNK])?;
            }
        });
        let (status, _, _) = ran(&["true"], Some(feed));
        assert_eq!(status.unwrap(), ExitStatus::Code(0));
    }

    #[test]
    fn input_that_cannot_be_read_ends_the_program() {
        let feed: Feed = Box::new(|input| {
            input.write_all(b"half")?;
            bail!("the disk is on fire")
        });
        let (status, _, _) = ran(&["sleep", "1000"], Some(feed));
        assert_eq!(status.unwrap_err().to_string(), "the disk is on fire");
    }

    #[test]
    fn output_that_nobody_reads_ends_the_program() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut outputs = Outputs {
            out: &mut Gone,
            error: &mut io::sink(),
        };
        let ended = run(&guest(), exec(&["yes"]), None, &mut outputs);
        assert!(ended.unwrap_err().is::<NobodyReads>());
    }

    #[test]
    fn a_machine_that_is_gone_is_never_a_success() {
        let (status, _, _) = ran(&["break"], None);
        let error = status.unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(MachineFault::Broken(..))),
            "{error:#}"
        );
        let (status, _, _) = ran(&["give-up"], None);
        let error = status.unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(MachineFault::GaveUp(_))),
            "{error:#}"
        );
    }
}
