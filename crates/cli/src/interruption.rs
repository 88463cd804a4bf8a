//! Ctrl-C and kill: the work is given up in an orderly way, so that nothing is left behind.

use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use vcontainer_store::DirectorySink;

use crate::output::tell;

/// The work was ended by a signal. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was changed")]
pub struct Interrupted {
    /// The signal's number.
    signal: i32,
}

impl Interrupted {
    /// What shells give a program that a signal has ended: 128 and the signal's number.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::try_from(128 + self.signal).unwrap_or(1))
    }
}

/// Watches for signals from its making on.
///
/// While images are only looked at, a signal ends the program at once. While they are written, the first signal is an
/// [`Interruption::signal`] that the work has to look for, and a second one ends the program.
#[derive(Clone)]
pub struct Interruption {
    signal: Arc<AtomicI32>,
    stage: Arc<Mutex<Stage>>,
}

enum Stage {
    /// The sink, if there is one yet, is parked here for whoever ends the program.
    Preparing(Option<Box<DirectorySink>>),
    Writing,
}

impl Interruption {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn watch() -> Result<Self> {
        let this = Self {
            signal: Arc::new(AtomicI32::new(0)),
            stage: Arc::new(Mutex::new(Stage::Preparing(None))),
        };
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
        let watcher = this.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                watcher.received(signal);
            }
        });
        Ok(this)
    }

    /// Opens a sink and keeps it safe while images are only looked at: a signal then drops it.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn park<E>(&self, open: impl FnOnce() -> Result<Option<DirectorySink>, E>) -> Result<Parked, E> {
        // Locked meanwhile: what is half open cannot be dropped.
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = Stage::Preparing(open()?.map(Box::new));
        drop(stage);
        Ok(Parked(self.clone()))
    }

    fn begin_writing(&self) -> Option<Box<DirectorySink>> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *stage, Stage::Writing) {
            Stage::Preparing(sink) => sink,
            Stage::Writing => None,
        }
    }

    /// Does work that looks for signals itself. An error of work that a signal has ended is that signal.
    ///
    /// # Errors
    /// Those of the work.
    pub fn while_writing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        drop(self.begin_writing());
        match (work(), self.signal()) {
            (Err(_), Some(interrupted)) => Err(interrupted.into()),
            (done, _) => done,
        }
    }

    /// The signal that asks for an end of the work.
    #[must_use]
    pub fn signal(&self) -> Option<Interrupted> {
        let signal = self.signal.load(Ordering::Relaxed);
        (signal != 0).then_some(Interrupted { signal })
    }

    fn received(&self, signal: i32) {
        // Held to the end: the work must not begin to write meanwhile.
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Preparing(sink) = &mut *stage {
            drop(sink.take());
            let interrupted = Interrupted { signal };
            tell(&format!("error: {interrupted}\n"));
            std::process::exit(128 + signal);
        }
        if self.signal.swap(signal, Ordering::Relaxed) != 0 {
            let _ = emulate_default_handler(signal);
        }
    }
}

/// A sink that is kept until it is written into. Dropped, it drops the sink.
#[must_use]
pub struct Parked(Interruption);

impl Parked {
    /// The sink. From now on the work itself has to look for signals.
    pub fn begin_writing(self) -> Option<Box<DirectorySink>> {
        self.0.begin_writing()
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // The thread that watches lives as long as the program, and would keep it.
        drop(self.0.begin_writing());
    }
}
