//! Short lines into the kernel's log: the only place that is there from the first moment.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Writes a line; where there is no kernel log to write to, nothing.
pub fn note(message: impl Display) {
    write(6, message);
}

/// Writes a line that also shows on a quiet console.
pub fn alarm(message: impl Display) {
    write(2, message);
}

fn write(level: u8, message: impl Display) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // One write is one record.
        let _ = log.write_all(format!("<{level}>vcontainer-agent: {message}\n").as_bytes());
    }
}
