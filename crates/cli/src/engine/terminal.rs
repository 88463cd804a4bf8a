//! The terminal that the tool runs on: its size, and raw mode while a program in the machine has it.

use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use vcontainer_wire::Size;

/// Which of the tool's streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminals {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
}

impl Terminals {
    /// Of this process.
    #[must_use]
    pub fn now() -> Self {
        Self {
            input: std::io::stdin().is_terminal(),
            output: std::io::stdout().is_terminal(),
            error: std::io::stderr().is_terminal(),
        }
    }
}

/// The size of the terminal; 24 lines of 80 characters where it does not say.
#[must_use]
pub fn size() -> Size {
    let known = [tcgetwinsize(std::io::stdout()), tcgetwinsize(std::io::stdin())];
    known
        .into_iter()
        .flatten()
        .find(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or(
            Size {
                rows: 24,
                columns: 80,
            },
            |size| Size {
                rows: size.ws_row,
                columns: size.ws_col,
            },
        )
}

/// While it lives, standard input is in raw mode: every key goes to the program in the machine, Ctrl-C too.
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Switches to raw mode.
    ///
    /// # Errors
    /// Standard input is no terminal, or says no.
    pub fn enter() -> Result<Self> {
        let terminal = rustix::io::dup(std::io::stdin()).context("cannot use the terminal")?;
        let before = tcgetattr(&terminal).context("cannot read the settings of the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).context("cannot switch the terminal to raw mode")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // What was typed and not read yet stays: it is for the shell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
