//! A terminal that a program runs on, as its user sees it: what it shows, keys, the size of the window.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::Command;

/// Who shows nothing for so long hangs.
const HUNG: Duration = Duration::from_secs(120);

/// The words that make a program's standard input its controlling terminal; they stand before the program.
pub const TAKE_CONTROL: &[&str] = &["setsid", "--ctty", "--wait"];

/// A pseudo-terminal with a program on it.
pub struct Terminal {
    master: File,
    child: Child,
    shown: String,
    /// How much of it [`Terminal::until`] has gone past.
    seen: usize,
}

impl Terminal {
    /// Starts a command (whose first words are [`TAKE_CONTROL`]) in a window of this size.
    ///
    /// # Errors
    /// There is no terminal, or the program cannot be started.
    pub fn start(command: Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("opening a terminal")?;
        grantpt(&master).context("opening a terminal")?;
        unlockpt(&master).context("opening a terminal")?;
        let name = ptsname(&master, Vec::new()).context("asking for a terminal's name")?;
        let name = name.to_str().context("reading a terminal's name")?;
        let slave = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .with_context(|| format!("opening {name}"))?;
        let master = File::from(master);
        resize(&master, rows, columns)?;
        let shown = command.to_string();
        let child = command
            .std()
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        Ok(Self {
            master,
            child,
            shown: String::new(),
            seen: 0,
        })
    }

    /// Presses keys.
    ///
    /// # Errors
    /// Nobody is there any more.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("pressing keys")
    }

    /// Gives the window another size.
    ///
    /// # Errors
    /// Nobody is there any more.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        resize(&self.master, rows, columns)
    }

    /// Waits until the program shows `text` (after what was waited for before) and returns all up to it.
    ///
    /// # Errors
    /// The program ends, or is silent for minutes, without showing it.
    pub fn until(&mut self, text: &str) -> Result<String> {
        loop {
            if let Some(passed) = self.passed(text) {
                return Ok(passed);
            }
            if !self.read()? {
                bail!("the program ended without showing {text:?}:\n{}", self.shown);
            }
        }
    }

    /// As [`Terminal::until`], but gives up when the program has been silent for so long.
    ///
    /// # Errors
    /// The program ends without showing it.
    pub fn shows(&mut self, text: &str, at_most: Duration) -> Result<bool> {
        while self.passed(text).is_none() {
            if !self.says_something(at_most)? {
                return Ok(false);
            }
            if !self.read()? {
                bail!("the program ended without showing {text:?}:\n{}", self.shown);
            }
        }
        Ok(true)
    }

    /// All up to `text`, when it has been shown.
    fn passed(&mut self, text: &str) -> Option<String> {
        let at = self.shown[self.seen..].find(text)?;
        let end = self.seen + at + text.len();
        let passed = self.shown[self.seen..end].to_owned();
        self.seen = end;
        Some(passed)
    }

    /// Waits for the program's end; returns how it ended and all that it showed.
    ///
    /// # Errors
    /// It is silent for minutes.
    pub fn end(mut self) -> Result<(ExitStatus, String)> {
        while self.read()? {}
        let status = self.child.wait().context("waiting for a program on a terminal")?;
        Ok((status, std::mem::take(&mut self.shown)))
    }

    /// Whether there is more to read within this time.
    fn says_something(&self, at_most: Duration) -> Result<bool> {
        let limit = Timespec {
            tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut watched = [PollFd::new(&self.master, PollFlags::IN)];
        Ok(poll(&mut watched, Some(&limit)).context("watching a terminal")? != 0)
    }

    /// Reads more of what is shown; tells whether the program is still there.
    fn read(&mut self) -> Result<bool> {
        if !self.says_something(HUNG)? {
            bail!("the program on the terminal is silent:\n{}", self.shown);
        }
        let mut buffer = [0; 4096];
        match self.master.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
                Ok(true)
            }
            // How Linux says that nobody has the other side open.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(false),
            Err(error) => Err(error).context("reading a terminal"),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After a failed test; a program that has been waited for is not touched.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &File, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).context("setting the size of a terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_keys_and_end() {
        let script = "trap 'stty size' WINCH; stty size; while read -r line; do [ \"$line\" = q ] && exit 7; echo got $line; done; read -r line; exit 7";
        let command = Command::new(TAKE_CONTROL[0])
            .args(&TAKE_CONTROL[1..])
            .args(["bash", "-c", script]);
        let mut terminal = Terminal::start(command, 31, 97).unwrap();
        terminal.until("31 97").unwrap();
        terminal.press("word\n").unwrap();
        terminal.until("got word").unwrap();
        terminal.resize(40, 120).unwrap();
        // bash runs the trap when `read` returns.
        terminal.press("\n").unwrap();
        terminal.until("40 120").unwrap();
        terminal.press("q\n").unwrap();
        let (status, _) = terminal.end().unwrap();
        assert_eq!(status.code(), Some(7));
    }
}
