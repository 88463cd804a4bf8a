//! `cargo xtask fuzz [TARGET] [SECONDS]`: runs the fuzz targets, two at a time.

mod seeds;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use e2e::process::Command;

/// How long each target runs when nobody says.
const SECONDS: u64 = 60;
/// How many targets run at a time.
const AT_A_TIME: usize = 2;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = e2e::cache::checkout().join("fuzz");
    let mut targets = targets(&folder)?;
    let mut seconds = SECONDS;
    for argument in arguments {
        if let Ok(number) = argument.parse() {
            seconds = number;
        } else if targets.contains(argument) {
            targets = vec![argument.clone()];
        } else {
            bail!(
                "there is no fuzz target {argument:?}; there are: {}",
                targets.join(", ")
            );
        }
    }
    tools()?;
    seeds::write(&folder.join("corpus")).context("writing the seeds")?;
    cargo_fuzz(&folder).args(["build", "--sanitizer", "none"]).run()?;

    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(targets.len()) {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = fuzz(&folder, target, seconds);
                    println!("{target}: {}", outcome.as_deref().unwrap_or("FAILED"));
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((target, outcome));
                    }
                }
            });
        }
    });
    let failed: Vec<String> = outcomes
        .into_inner()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(target, outcome)| Some(format!("{target}: {:#}", outcome.err()?)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nThe inputs are in fuzz/artifacts; `cargo +nightly fuzz run --sanitizer none TARGET INPUT` repeats one",
        failed.join("\n")
    )
}

/// The names of all targets.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets")).context("listing the fuzz targets")? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn cargo_fuzz(folder: &Path) -> Command {
    Command::new("cargo").args(["+nightly", "fuzz"]).directory(folder)
}

fn tools() -> Result<()> {
    let found = std::process::Command::new("cargo")
        .args(["+nightly", "fuzz", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if found {
        return Ok(());
    }
    bail!(
        "fuzzing needs a nightly compiler and cargo-fuzz: `rustup toolchain install nightly --profile minimal`, then \
         `cargo install cargo-fuzz`"
    )
}

/// Runs one target; the line in which libFuzzer says what it did.
fn fuzz(folder: &Path, target: &str, seconds: u64) -> Result<String> {
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let log = PathBuf::from(format!("artifacts/{target}.log"));
    std::fs::create_dir_all(folder.join("artifacts"))?;
    let output = std::process::Command::new("cargo")
        .current_dir(folder)
        .args(["+nightly", "fuzz", "run", "--sanitizer", "none", target])
        .arg(&corpus)
        .args(Some(folder.join("seeds").join(target)).filter(|seeds| seeds.is_dir()))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-timeout=10",
            "-rss_limit_mb=512",
            "-max_len=8192",
            "-print_final_stats=1",
        ])
        .output()
        .context("starting cargo fuzz")?;
    std::fs::write(folder.join(&log), &output.stderr)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let last = |start: &str| {
        text.lines()
            .rev()
            .find(|line| line.contains(start))
            .map(str::to_owned)
    };
    if !output.status.success() {
        let what = last("panicked at").or_else(|| last("ERROR: libFuzzer"));
        bail!("{} (fuzz/{})", what.unwrap_or_default(), log.display());
    }
    Ok(last("Done ").unwrap_or_default())
}
