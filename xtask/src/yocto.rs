//! The tests of the Yocto layer: the real BitBake, from PyPI, and the classes of `meta-vcontainer` in it.

use std::path::Path;

use anyhow::{Result, bail};
use e2e::machine::scratch_directory;
use e2e::process::Command;
use e2e::{cache, guest, yocto};
use vcontainer_guest::{Arch, Engine};

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
    in_machines(Arch::Aarch64, &["-k", "not slow", "-m", "not machine or core"])
}

/// The suites of `vdkr` and `vpdmn`, whole, in machines of each architecture: a quarter of an hour.
///
/// # Errors
/// As [`test()`]; tests that fail are an error.
pub(crate) fn machines() -> Result<()> {
    for arch in Arch::ALL {
        judge(&in_machines(arch, &["-m", "machine"])?)?;
    }
    Ok(())
}

/// `cargo xtask test-yocto`: builds with the openembedded-core that `OECORE_DIR` names.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if std::env::var_os("OECORE_DIR").is_none() {
        println!(
            "skipped: OECORE_DIR=DIR names no openembedded-core (git clone https://git.openembedded.org/openembedded-core)"
        );
        return Ok(());
    }
    let words: Vec<&str> = ["-k", "slow", "-m", "not machine"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let images = scratch_directory()?;
    let counts = pytest(command()?.env(yocto::IMAGES, images.path()), &words)?;
    engines_take(images.path())?;
    judge(&counts)
}

/// What real engines say of images that have been built.
fn engines_take(images: &Path) -> Result<()> {
    Command::new("cargo")
        .args(["test", "--quiet", "--package", "e2e", "--test", "yocto"])
        .args(["--", "engines_take::"])
        .env(yocto::IMAGES, images)
        .run()
}

/// Says what has been counted, and whether that is good.
fn judge(counts: &Counts) -> Result<()> {
    for reason in &counts.reasons {
        println!("skipped: {reason}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    if counts.failed > 0 {
        bail!("tests of the Yocto layer failed");
    }
    Ok(())
}

fn command() -> Result<Command> {
    yocto::in_layer(Command::new(yocto::python()?))
}

/// Runs tests; suites that start machines have those of this architecture.
fn in_machines(arch: Arch, words: &[&str]) -> Result<Counts> {
    // Machines that have booted once are kept for the next run.
    let mut command = command()?.env("XDG_CACHE_HOME", cache::directory()?.join("yocto/machines"));
    for engine in Engine::ALL {
        let variable = format!("{}_BLOB_DIR", engine.tool().to_uppercase());
        command = command.env(&variable, guest::guest_files(engine, arch)?);
    }
    pytest(command, &[words, &["--arch", arch.name()]].concat())
}

fn pytest(command: Command, words: &[&str]) -> Result<Counts> {
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
            "--dist",
            "loadgroup",
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
