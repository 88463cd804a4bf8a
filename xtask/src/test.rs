//! `cargo xtask test`: set-up, then every test, then one line that counts them all.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use e2e::process::Command;

use crate::{agent, setup, yocto};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    setup::engines()?;
    // What machines boot, made by the tests that need it.
    agent::run(&[])?;
    // The end-to-end tests call the tool as a user does, so it is built before they start.
    Command::new("cargo")
        .args(["build", "--quiet", "--package", "vcontainer"])
        .run()?;
    let mut child = Command::new("cargo")
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .std()
        .stdout(Stdio::piped())
        .spawn()
        .context("starting `cargo test`")?;
    let stdout = child
        .stdout
        .take()
        .context("`cargo test` has no output to read")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading the output of `cargo test`")?;
        let line = String::from_utf8_lossy(&line);
        tally.read(&line);
        // A reader that has gone away (`make test | head`) is no failure of the tests.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let status = child.wait().context("waiting for `cargo test`")?;
    // Words that choose among cargo's tests mean nothing to the layer's.
    let layer = if arguments.is_empty() {
        yocto::test()?
    } else {
        yocto::Counts::default()
    };
    let failed_in_layer = layer.failed;
    tally.add(layer);
    for test in &tally.skipped_tests {
        println!("skipped: {test}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    if !status.success() {
        bail!("`cargo test` failed ({status})");
    }
    if failed_in_layer > 0 {
        bail!("tests of the Yocto layer failed");
    }
    if tally.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// How many machines, supervisors and clients the long run kills, unless `VCONTAINER_ROUNDS` says otherwise.
const ROUNDS: &str = "50";

/// `cargo xtask test-long`: what `test` has no time for: kills at random moments, more of them; the layer's suites of
/// `vdkr` and `vpdmn`, whole. Words choose among the kills, and nothing else is run then.
pub(crate) fn long(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    agent::run(&[])?;
    let rounds = std::env::var("VCONTAINER_ROUNDS").unwrap_or_else(|_| ROUNDS.to_owned());
    Command::new("cargo")
        .args([
            "test",
            "--package",
            "e2e",
            "--test",
            "vm",
            "--",
            "--nocapture",
            "killed",
        ])
        .args(arguments)
        .env("VCONTAINER_ROUNDS", rounds)
        .run()?;
    if arguments.is_empty() {
        yocto::machines()?;
    }
    Ok(())
}

/// Sums of all test binaries, read from what they print.
#[derive(Default, Debug, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Those of the binary that is running which it will count as passed.
    skipped_inside: u64,
    /// Names (with the reason in brackets) of the tests that were not run.
    skipped_tests: Vec<String>,
}

impl Tally {
    /// Takes the layer's tests in.
    fn add(&mut self, layer: yocto::Counts) {
        self.passed += layer.passed;
        self.failed += layer.failed;
        self.skipped += layer.skipped;
        self.skipped_tests.extend(layer.reasons);
    }

    /// Takes one line of output: `test NAME ... ignored`, a test's own `SKIPPED NAME: REASON`, or the closing
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …` of a test binary.
    fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            for part in result.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next())
                else {
                    continue;
                };
                match what {
                    "passed" => self.passed += count.saturating_sub(std::mem::take(&mut self.skipped_inside)),
                    "failed" => self.failed += count,
                    "ignored" => self.skipped += count,
                    _ => {}
                }
            }
        } else if let Some(test) = line.strip_prefix("SKIPPED ") {
            // A test that found out by itself that it cannot run: its harness counts it as passed.
            self.skipped_inside += 1;
            self.skipped += 1;
            self.skipped_tests.push(test.to_owned());
        } else if let Some(test) = line.strip_prefix("test ")
            && let Some((name, outcome)) = test.rsplit_once(" ... ")
            && outcome.starts_with("ignored")
        {
            let reason = outcome
                .strip_prefix("ignored, ")
                .map(|why| format!(" [{why}]"))
                .unwrap_or_default();
            self.skipped_tests.push(format!("{}{reason}", name.trim_end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn counts_both_harnesses() {
        let mut tally = Tally::default();
        for line in [
            "test digest::round_trip ... ok",
            "test slow::one ... ignored, takes an hour",
            "SKIPPED odd::two: needs root",
            "test odd::two ... ok",
            "test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test [needs root] docker::save   ... ignored",
            "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3.00s",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (8, 2, 3));
        assert_eq!(
            tally.skipped_tests,
            [
                "slow::one [takes an hour]",
                "odd::two: needs root",
                "[needs root] docker::save"
            ]
        );
    }
}
