//! Rounds of several contenders, one after the other, so that what disturbs the machine disturbs all alike.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Someone who does the same job as the others.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    /// Does the job once and says how long that took; what comes before and after it is not counted.
    pub(crate) run: Box<dyn Fn() -> Result<Duration> + 'a>,
}

/// The times of one contender, shortest first.
#[derive(Clone, Debug)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn new(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 {
            self.0[middle]
        } else {
            (self.0[middle - 1] + self.0[middle]) / 2.0
        }
    }

    /// Median and range in seconds.
    pub(crate) fn show(&self) -> String {
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:6.2} ({first:.2}–{last:.2})", self.median())
    }
}

/// Lets everybody do the job `rounds` times, in turn.
pub(crate) fn hold(contenders: &[Contender<'_>], rounds: usize) -> Result<Vec<Times>> {
    let mut seconds = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        for (contender, seconds) in contenders.iter().zip(&mut seconds) {
            let time = (contender.run)().with_context(|| format!("timing {}", contender.name))?;
            eprintln!(
                "  round {round} of {rounds}: {} {:.2} s",
                contender.name,
                time.as_secs_f64()
            );
            seconds.push(time.as_secs_f64());
        }
    }
    Ok(seconds.into_iter().map(Times::new).collect())
}

/// How long `job` takes, which writes into `directory`: with a sync of that file system at the end, and starting with
/// nothing to sync.
pub(crate) fn timed(directory: &Path, job: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let file_system = File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    let sync = || rustix::fs::syncfs(&file_system).context("syncing");
    sync()?;
    let start = Instant::now();
    job()?;
    sync()?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn medians() {
        assert_eq!(Times::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Times::new(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(
            Times::new(vec![3.0, 1.0, 2.0]).show().trim_start(),
            "2.00 (1.00–3.00)"
        );
    }
}
