//! The tests of the Yocto layer: the real BitBake, from PyPI, and the classes of `meta-vcontainer` in it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use e2e::process::Command;
use e2e::{cache, guest};
use vcontainer_guest::{Arch, Engine};

/// What the tests are run with.
const PYTHON_PACKAGES: &[&str] = &["kas==5.5", "oelint-adv==9.11.2", "pytest==9.2.0", "pytest-xdist==3.8.0"];

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
    pytest(
        &["-k", "not slow", "-m", "not machine or core"],
        Some(Arch::Aarch64),
    )
}

/// The suites of `vdkr` and `vpdmn`, whole, in machines of each architecture: a quarter of an hour.
///
/// # Errors
/// As [`test`]; tests that fail are an error.
pub(crate) fn machines() -> Result<()> {
    build()?;
    for arch in Arch::ALL {
        judge(&pytest(&["-m", "machine"], Some(arch))?)?;
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
    build()?;
    let words: Vec<&str> = ["-k", "slow", "-m", "not machine"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    judge(&pytest(&words, None)?)
}

/// Builds the tool that the tests call.
fn build() -> Result<()> {
    Command::new("cargo")
        .args(["build", "--quiet", "--package", "vcontainer"])
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

/// Runs pytest; suites that start machines have those of this architecture.
fn pytest(words: &[&str], machines: Option<Arch>) -> Result<Counts> {
    let home = cache::directory()?.join("yocto");
    let python = python(&home)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let mut command = Command::new(python)
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
        .directory(root.join("meta-vcontainer"))
        .env("PYTHONPYCACHEPREFIX", home.join("pycache"))
        .env("VCONTAINER_BITBAKE", home.join("bitbake"))
        .env("VCONTAINER", root.join("target/debug/vcontainer"))
        // Machines that have booted once are kept for the next run.
        .env("XDG_CACHE_HOME", home.join("machines"));
    if let Some(arch) = machines {
        command = command.args(["--arch", arch.name()]);
        for engine in Engine::ALL {
            let variable = format!("{}_BLOB_DIR", engine.tool().to_uppercase());
            command = command.env(&variable, guest::guest_files(engine, arch)?);
        }
    }
    let outcome = command.outcome()?;
    print!("{}", outcome.stdout);
    eprint!("{}", outcome.stderr);
    let mut counts = read(&outcome.stdout);
    if !outcome.status.success() && counts.failed == 0 {
        // An error outside of tests.
        counts.failed = 1;
    }
    Ok(counts)
}

/// The Python of an environment of our own, which is made first if it has to be.
fn python(home: &Path) -> Result<PathBuf> {
    let environment = home.join("venv");
    let python = environment.join("bin/python");
    let stamp = environment.join("packages");
    let wanted = PYTHON_PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment)
        .run()?;
    Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PYTHON_PACKAGES)
        .run()?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
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
