//! How far a fetch has come: a bar on a terminal, lines elsewhere; with `--quiet` only what deserves attention.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use vcontainer_fetch::{Event, Fault, Observer};

use crate::interruption::{Interrupted, Interruption};
use crate::output::{bytes, count, tell, visible, warn};
use crate::progress::short;

/// Shows what goes on, on standard error.
pub struct Shown {
    quiet: bool,
    bar: Option<Mutex<Option<ProgressBar>>>,
    interruption: Interruption,
}

impl Shown {
    /// For this run.
    #[must_use]
    pub fn new(quiet: bool, terminal: bool, interruption: Interruption) -> Self {
        Self {
            quiet,
            bar: (terminal && !quiet).then(Mutex::default),
            interruption,
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.with_bar(ProgressBar::finish_and_clear);
    }

    /// The signal that asks for an end of the work.
    #[must_use]
    pub fn signal(&self) -> Option<Interrupted> {
        self.interruption.signal()
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar
            && let Ok(bar) = bar.lock()
            && let Some(bar) = &*bar
        {
            act(bar);
        }
    }

    fn start(&self, size: u64, there: u64) {
        // The template is a constant; the plain style is as good.
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        if let Some(bar) = &self.bar
            && let Ok(mut bar) = bar.lock()
        {
            *bar = Some(ProgressBar::new(size).with_style(style).with_position(there));
        }
    }

    /// A line for who wants to know.
    fn say(&self, text: &str) {
        if !self.quiet {
            self.above_bar(|| tell(&format!("{text}\n")));
        }
    }

    /// A line for everybody.
    fn warn(&self, text: &str) {
        self.above_bar(|| warn(text));
    }

    fn above_bar(&self, write: impl FnOnce()) {
        let mut write = Some(write);
        self.with_bar(|bar| {
            if let Some(write) = write.take() {
                bar.suspend(write);
            }
        });
        if let Some(write) = write {
            write();
        }
    }
}

impl Observer for Shown {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Chosen {
                platform,
                manifest,
                blobs,
                bytes: size,
                cached,
            } => {
                let told = match cached {
                    0 => String::new(),
                    cached if cached == size => ", all in the cache".to_owned(),
                    cached => format!(", {} of it in the cache", bytes(cached)),
                };
                let platform = visible(&platform.to_string());
                let layers = count(blobs, "layer");
                let size_told = bytes(size);
                self.say(&format!("{platform} {manifest}: {layers}, {size_told}{told}"));
                self.start(size, cached);
            }
            Event::Waiting(digest) => self.say(&format!(
                "layer {}: waiting for another program that fetches it",
                short(&digest.hex())
            )),
            Event::Resumed { digest, from } => self.say(&format!(
                "layer {}: going on after the {} of an earlier run",
                short(&digest.hex()),
                bytes(from)
            )),
            Event::Received(count) => self.with_bar(|bar| bar.inc(count)),
            Event::Discarded(count) => self.with_bar(|bar| bar.dec(count)),
            Event::Done { digest, size } => {
                if self.bar.is_none() {
                    self.say(&format!("layer {} {}", short(&digest.hex()), bytes(size)));
                }
            }
            Event::Again { what, fault, wait } => self.warn(&format!(
                "{what}: {}; trying again in {:.0} s",
                told(fault),
                wait.as_secs_f64().ceil()
            )),
            Event::OtherPlace { what, place, fault } => {
                self.warn(&format!(
                    "{what} is not to be had from `{place}`: {}",
                    told(fault)
                ));
            }
            Event::Damaged { what, digest: _ } => {
                self.warn(&format!("{what} is damaged in the cache: it is fetched again"));
            }
            Event::Writing => {
                self.finish();
                // So far a signal ended the program; from now on the layout's beginnings have to be removed.
                let Ok(parked) = self.interruption.park::<Infallible>(|| Ok(None));
                drop(parked.begin_writing());
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.interruption.signal().is_some()
    }
}

/// A fault with its cause.
fn told(fault: &Fault) -> String {
    match fault.source() {
        None => fault.to_string(),
        Some(cause) => format!("{fault}: {cause}"),
    }
}
