//! Tests that may not be able to run here: listed by name with the reason, counted as skipped, never as passed.

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::debian::Suite;
use crate::privilege;

/// The tests of one binary.
#[derive(Default)]
pub struct Trials(Vec<Trial>);

impl Trials {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A test that runs anywhere.
    pub fn anywhere(&mut self, name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) {
        self.0.push(Trial::test(name, || test().map_err(failed)));
    }

    /// A test with the engines of a Debian release: `RELEASE::NAME`. Skipped where engines cannot run.
    pub fn engine(&mut self, suite: Suite, name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) {
        let name = format!("{}::{name}", suite.name());
        self.when(can_run(suite), &name, test);
    }

    /// A test that needs something: skipped for the reason that `possible` gives.
    pub fn when(
        &mut self,
        possible: Result<(), &'static str>,
        name: &str,
        test: impl FnOnce() -> Result<()> + Send + 'static,
    ) {
        let trial = Trial::test(name, || test().map_err(failed));
        self.0.push(match possible {
            Ok(()) => trial,
            Err(reason) => trial.with_kind(reason).with_ignored_flag(true),
        });
    }

    /// Runs those that the command line asks for.
    pub fn run(self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.0).exit_code()
    }
}

/// Engines run here, and the release can be installed: Debian unstable cannot on some days, which is no fault of ours.
fn can_run(suite: Suite) -> Result<(), &'static str> {
    privilege::can_run_engines()?;
    match suite.is_made() {
        Ok(false) if suite.may_be_missing() => Err("needs Debian unstable, which `make test` installs"),
        _ => Ok(()),
    }
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
