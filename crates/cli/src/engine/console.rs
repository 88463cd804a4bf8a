//! What the tool itself says, on standard error: nothing but errors and notices unless more is asked for, and on a
//! terminal what is being waited for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::output::tell;

/// The tool's own voice.
pub struct Console {
    tool: &'static str,
    verbose: bool,
    terminal: bool,
    /// Whether a line of progress stands on the terminal.
    shown: AtomicBool,
    last: Mutex<String>,
}

impl Console {
    /// For this run.
    #[must_use]
    pub fn new(tool: &'static str, verbose: bool, terminal: bool) -> Self {
        Self {
            tool,
            verbose,
            terminal,
            shown: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    /// What is being done and may take a while.
    pub fn progress(&self, what: &str) {
        if let Ok(mut last) = self.last.lock() {
            if *last == what {
                return;
            }
            what.clone_into(&mut last);
        }
        if self.verbose {
            tell(&format!("[{}] {what}\n", self.tool));
        } else if self.terminal {
            self.shown.store(true, Ordering::Relaxed);
            tell(&format!("\r\x1b[K[{}] {what} …", self.tool));
        }
    }

    /// Takes the line of progress away: before anybody else writes to the terminal.
    pub fn clear(&self) {
        if self.shown.swap(false, Ordering::Relaxed) {
            tell("\r\x1b[K");
        }
    }

    /// For those who want to know more.
    pub fn detail(&self, what: &str) {
        if self.verbose {
            self.clear();
            tell(&format!("[{}] {what}\n", self.tool));
        }
    }

    /// For everybody, in one line.
    pub fn notice(&self, what: &str) {
        self.clear();
        tell(&format!("[{}] {what}\n", self.tool));
    }

    /// An error and what caused it.
    pub fn error(&self, error: &anyhow::Error) {
        self.clear();
        let mut text = format!("[{}] error: {error}\n", self.tool);
        for cause in error.chain().skip(1) {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        tell(&text);
    }
}
