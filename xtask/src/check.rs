//! `cargo xtask check`: everything that can be said without running the code.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::process::Command;

use crate::{dependencies, workspace};

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    println!("== formatting");
    Command::new("cargo").args(["fmt", "--all", "--check"]).run()?;
    println!("== clippy");
    Command::new("cargo")
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            // What only the fuzz targets use.
            "--features",
            "vcontainer-store/fuzzing",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
        .run()?;
    println!("== documentation");
    Command::new("cargo")
        .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    println!("== dependencies: licences, sources, Rust versions");
    let packages = dependencies::read()?;
    let root = e2e::cache::checkout();
    let allowed = dependencies::allowed_licences(&root.join("deny.toml"))?;
    let checked = dependencies::check(&packages, &allowed, &rust_version(root)?)?;
    println!("{checked} crates, all allowed");
    println!("== architecture: arrows between the crates");
    workspace::check_arrows(&packages)?;
    println!("check passed");
    Ok(())
}

/// `workspace.package.rust-version` of the root Cargo.toml.
fn rust_version(root: &Path) -> Result<String> {
    let path = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("parsing {}", path.display()))?;
    ["workspace", "package", "rust-version"]
        .iter()
        .try_fold(&toml::Value::Table(table), |value, key| value.get(key))
        .and_then(|value| value.as_str().map(str::to_owned))
        .context("the root Cargo.toml has no workspace.package.rust-version")
}
