//! The tests of the Yocto layer: the real BitBake, from PyPI, and the classes of `meta-vcontainer` in it.

use std::path::Path;

use anyhow::{Result, bail};
use e2e::machine::scratch_directory;
use e2e::process::Command;
use e2e::yocto;

/// How many tests passed, failed and were skipped, and why those were.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) reasons: Vec<String>,
}

/// Runs the tests that need registries only: parsing, and builds with a stub of openembedded-core.
///
/// # Errors
/// Python's packages cannot be installed, or pytest cannot be started. Tests that fail are counted.
pub(crate) fn test() -> Result<Counts> {
    pytest(&["-k", "not slow"])
}

/// `cargo xtask test-yocto`: builds with the openembedded-core that `OECORE_DIR` names.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if std::env::var_os("OECORE_DIR").is_none() {
        println!(
            "skipped: OECORE_DIR=DIR names no openembedded-core (git clone https://git.openembedded.org/openembedded-core)"
        );
        return Ok(());
    }
    let words: Vec<&str> = ["-k", "slow"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let images = scratch_directory()?;
    let counts = pytest_with(&words, Some(images.path()))?;
    for reason in &counts.reasons {
        println!("skipped: {reason}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    // What real engines say of the images.
    Command::new("cargo")
        .args([
            "test",
            "--quiet",
            "--package",
            "e2e",
            "--test",
            "yocto",
            "--",
            "engines_take::",
        ])
        .env(yocto::IMAGES, images.path())
        .run()?;
    if counts.failed > 0 {
        bail!("tests of the Yocto layer failed");
    }
    Ok(())
}

fn pytest(words: &[&str]) -> Result<Counts> {
    pytest_with(words, None)
}

/// Runs tests, which leave images in a directory if there is one.
fn pytest_with(words: &[&str], images: Option<&Path>) -> Result<Counts> {
    let mut command = yocto::in_layer(Command::new(yocto::python()?))?;
    if let Some(images) = images {
        command = command.env(yocto::IMAGES, images);
    }
    let outcome = command
        .args([
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-n",
            "2",
            "tests",
        ])
        .args(words)
        .outcome()?;
    print!("{}", outcome.stdout);
    eprint!("{}", outcome.stderr);
    let mut counts = read(&outcome.stdout);
    if !outcome.status.success() && counts.failed == 0 {
        // An error outside of tests.
        counts.failed = 1;
    }
    Ok(counts)
}

/// Reads pytest's reasons for skipping, and its last line: `2 failed, 31 passed, 1 skipped in 33.12s`.
fn read(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        if let Some(reason) = line.strip_prefix("SKIPPED ") {
            counts.reasons.push(format!("Yocto layer: {reason}"));
        }
    }
    let last = output
        .lines()
        .rev()
        .find(|line| line.contains(" in "))
        .unwrap_or_default();
    let mut words = last
        .trim_matches(['=', ' '])
        .split([' ', ','])
        .filter(|word| !word.is_empty());
    let mut number: Option<u64> = None;
    for word in words.by_ref() {
        match (number, word) {
            (Some(count), "passed") => counts.passed += count,
            (Some(count), "failed" | "error" | "errors") => counts.failed += count,
            (Some(count), "skipped") => counts.skipped += count,
            _ => {}
        }
        number = word.parse().ok();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn counts_are_read() {
        let counts = read(
            "..s.F\nSKIPPED [6] tests/conftest.py:62: needs openembedded-core\n2 failed, 31 passed, 6 skipped in 33.12s\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (31, 2, 6));
        assert_eq!(
            counts.reasons,
            ["Yocto layer: [6] tests/conftest.py:62: needs openembedded-core"]
        );
        let counts = read("1 passed, 1 error in 0.10s\n");
        assert_eq!((counts.passed, counts.failed), (1, 1));
    }
}
