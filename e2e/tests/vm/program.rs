//! A program in the machine, run through its agent: what it is given, what it gives back, how it ends.

use anyhow::{Context, Result, bail, ensure};
use vcontainer_wire::{Event, Exec, ExitStatus, Failure, Mux, Receiver, Reply, Request, Sender, Stream};

/// A program by its words.
pub fn words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Exec {
    Exec {
        argv: words.into_iter().map(|word| word.as_ref().to_vec()).collect(),
        ..Exec::default()
    }
}

/// A shell that runs a script.
pub fn sh(script: &str) -> Exec {
    words(["sh", "-c", script])
}

/// How a program ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub status: ExitStatus,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
}

impl Ended {
    /// Checks all of it.
    pub fn is(&self, code: u8, out: impl AsRef<[u8]>, err: impl AsRef<[u8]>) -> Result<()> {
        ensure!(
            self.status == ExitStatus::Code(code) && self.out == out.as_ref() && self.err == err.as_ref(),
            "it ended with {:?}, out {:?}, err {:?}",
            self.status,
            shown(&self.out),
            shown(&self.err)
        );
        Ok(())
    }

    /// Its output, of a program that succeeds and has nothing to complain about.
    pub fn text(self) -> Result<String> {
        self.is(0, &self.out, "")?;
        String::from_utf8(self.out).context("its output is no text")
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}

/// Runs a program without input.
pub fn run(mux: &Mux, exec: Exec) -> Result<Ended> {
    Program::start(mux, exec)?.end()
}

/// Runs a program with this input.
pub fn run_with(mux: &Mux, exec: Exec, input: &[u8]) -> Result<Ended> {
    let mut program = Program::start(mux, Exec { stdin: true, ..exec })?;
    std::thread::scope(|scope| {
        let sender = program.sender.clone();
        scope.spawn(move || {
            // A program that ends without reading its input says so by its exit status.
            let _ = sender
                .data(Stream::In, input)
                .and_then(|()| sender.eof(Stream::In));
        });
        program.finish()
    })
}

/// Runs a script that succeeds; its output.
pub fn output(mux: &Mux, script: &str) -> Result<String> {
    run(mux, sh(script))
        .and_then(Ended::text)
        .with_context(|| format!("running {script:?}"))
}

/// Why a program that cannot be run is not.
pub fn refusal(mux: &Mux, exec: Exec) -> Result<Failure> {
    let mut program = Program::start(mux, exec)?;
    match program.outcome()? {
        Reply::Failed(failure) if program.out.is_empty() && program.err.is_empty() => Ok(failure),
        other => bail!("{other:?} instead of a failure"),
    }
}

/// A program that was started.
pub struct Program {
    pub sender: Sender,
    pub receiver: Receiver,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Program {
    pub fn start(mux: &Mux, exec: Exec) -> Result<Self> {
        let (sender, receiver) = mux.open(Request::Exec(exec))?.split();
        Ok(Self {
            sender,
            receiver,
            out: Vec::new(),
            err: Vec::new(),
        })
    }

    /// Gives it input.
    pub fn give(&self, input: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.sender.data(Stream::In, input.as_ref())?)
    }

    /// Waits until it has said this on its standard output, and forgets all up to there.
    pub fn until(&mut self, text: &str) -> Result<String> {
        loop {
            let found = self
                .out
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let rest = self.out.split_off(at + text.len());
                let passed = std::mem::replace(&mut self.out, rest);
                return Ok(String::from_utf8_lossy(&passed).into_owned());
            }
            if let Some(reply) = self.step()? {
                bail!("{reply:?} before {text:?}; it said {:?}", shown(&self.out));
            }
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Ended> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Ended> {
        match self.outcome()? {
            Reply::Exited(status) => Ok(Ended {
                status,
                out: std::mem::take(&mut self.out),
                err: std::mem::take(&mut self.err),
            }),
            other => bail!("{other:?} instead of an exit status"),
        }
    }

    /// Waits for the reply, whatever it is. An error is a conversation that broke.
    pub fn outcome(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = self.step()? {
                return Ok(reply);
            }
        }
    }

    /// Takes what comes next; gives the reply if it is that.
    fn step(&mut self) -> Result<Option<Reply>> {
        match self.receiver.next()? {
            Event::Data(Stream::Err, bytes) => self.err.extend(bytes),
            Event::Data(_, bytes) => self.out.extend(bytes),
            Event::Reply(reply) => return Ok(Some(reply)),
            Event::Closed => bail!("the channel was closed without a reply"),
            other => bail!("a program says {other:?}"),
        }
        Ok(None)
    }
}
