//! Pseudo-terminals. The child side is the agent's own program, started again: it becomes the leader of a session with
//! the terminal before it turns into the program that was asked for, without any code between fork and exec.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};
use vcontainer_wire::{Failure, Size};

use crate::failure::Doing;

/// The first argument of the child side; then come the program's path and its argument list.
pub const CHILD: &str = "exec-on-terminal";

/// Makes a terminal of that size: the side that the agent holds, and the program's.
///
/// # Errors
/// There is none to be had.
pub fn open(size: Size) -> Result<(OwnedFd, OwnedFd), Failure> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).doing("opening a terminal")?;
    rustix::pty::unlockpt(&ours).doing("unlocking a terminal")?;
    resize(&ours, size);
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).doing("opening a terminal's other side")?;
    Ok((ours, theirs))
}

/// Sets the size; the program on it gets SIGWINCH.
pub fn resize(terminal: impl AsFd, size: Size) {
    let _ = rustix::termios::tcsetwinsize(
        terminal,
        Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    );
}

/// What makes the program see the end of its input: ^D, twice when it stands behind an unfinished line. Nothing where
/// the program reads keys itself.
#[must_use]
pub fn end_of_input(terminal: impl AsFd, line_is_open: bool) -> &'static [u8] {
    match rustix::termios::tcgetattr(terminal) {
        Ok(modes) if modes.local_modes.contains(LocalModes::ICANON) => {
            if line_is_open {
                b"\x04\x04"
            } else {
                b"\x04"
            }
        }
        _ => b"",
    }
}

/// The child side: never comes back when all goes well, else the reason.
#[must_use]
pub fn become_child(arguments: &[OsString]) -> String {
    let [_, _, path, name, rest @ ..] = arguments else {
        return "nothing to execute".into();
    };
    if let Err(error) = rustix::process::setsid() {
        return format!("starting a session: {error}");
    }
    if let Err(error) = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()) {
        return format!("taking the terminal: {error}");
    }
    let error = Command::new(path).arg0(name).args(rest).exec();
    format!("executing {}: {error}", path.to_string_lossy())
}
