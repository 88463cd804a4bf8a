//! How far a bundle has come: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use vcontainer_store::{LayerReport, Progress};

use crate::interruption::Interruption;
use crate::output::{bytes, count};

/// Shows progress on standard error.
pub struct Shown {
    style: Style,
    total: AtomicUsize,
    done: AtomicUsize,
    interruption: Interruption,
}

enum Style {
    Quiet,
    Lines,
    Bar(Mutex<Option<ProgressBar>>),
}

impl Shown {
    /// For this run.
    #[must_use]
    pub fn new(quiet: bool, terminal: bool, interruption: Interruption) -> Self {
        let style = match (quiet, terminal) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bar(Mutex::new(None)),
            (false, false) => Style::Lines,
        };
        Self {
            style,
            total: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            interruption,
        }
    }

    /// Takes the bar off the screen: before a summary or an error.
    pub fn finish(&self) {
        self.with_bar(ProgressBar::finish_and_clear);
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Style::Bar(bar) = &self.style
            && let Ok(bar) = bar.lock()
            && let Some(bar) = &*bar
        {
            act(bar);
        }
    }
}

impl Progress for Shown {
    fn start(&self, layers: usize, blob_bytes: u64) {
        self.total.store(layers, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        match &self.style {
            Style::Quiet => {}
            Style::Lines => {
                let _ = writeln!(
                    std::io::stderr(),
                    "writing {}, {} compressed",
                    count(layers, "layer"),
                    bytes(blob_bytes)
                );
            }
            Style::Bar(bar) => {
                // The template is a constant; the plain style is as good.
                let style = ProgressStyle::with_template(
                    "{msg:>12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                )
                .unwrap_or_else(|_| ProgressStyle::default_bar());
                let new = ProgressBar::new(blob_bytes).with_style(style);
                new.set_message(format!("0/{layers} layers"));
                if let Ok(mut bar) = bar.lock() {
                    *bar = Some(new);
                }
            }
        }
    }

    fn advance(&self, blob_bytes: u64) {
        self.with_bar(|bar| bar.inc(blob_bytes));
    }

    fn interrupted(&self) -> bool {
        self.interruption.signal().is_some()
    }

    fn layer_done(&self, layer: &LayerReport) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let total = self.total.load(Ordering::Relaxed);
        if let (Style::Lines, Some(written)) = (&self.style, layer.written) {
            let size = bytes(written.uncompressed_size);
            let _ = writeln!(
                std::io::stderr(),
                "layer {done}/{total} {} {size}",
                short(&layer.diff_id.0.hex())
            );
        }
        self.with_bar(|bar| bar.set_message(format!("{done}/{total} layers")));
    }
}

/// The first 12 digits, as engines show IDs.
#[must_use]
pub fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}
