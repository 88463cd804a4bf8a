//! `cargo xtask bench`: comparisons of speed and memory with other tools, on a release build.

use anyhow::Result;
use e2e::process::Command;

use crate::{agent, setup};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::run(&[])?;
    agent::run(&[])?;
    Command::new("cargo")
        .args([
            "build",
            "--release",
            "--quiet",
            "--package=vcontainer",
            "--package=benches",
        ])
        .run()?;
    Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package=benches", "--"])
        .args(arguments)
        // What users call is the release build.
        .env(
            "VCONTAINER",
            e2e::cache::checkout().join("target/release/vcontainer"),
        )
        .run()
}
