//! `cargo xtask agent [--arch aarch64|x86_64]`: the static agents, into `target/share/vcontainer`, beside the data that
//! guests are made from. There the tool of a checkout finds them, and from there they are installed.

mod compiler;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e2e::cache::checkout;
use e2e::process::Command;

use compiler::Compiler;

/// The architectures of guests.
const ARCHITECTURES: &[&str] = &["aarch64", "x86_64"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let wanted = match words.as_slice() {
        [] => ARCHITECTURES.to_vec(),
        ["--arch", architecture] if ARCHITECTURES.contains(architecture) => vec![*architecture],
        _ => bail!(
            "`cargo xtask agent` takes nothing but `--arch {}`",
            ARCHITECTURES.join("|")
        ),
    };
    for architecture in wanted {
        let agent = build(architecture)?;
        println!("{}", agent.display());
    }
    copy_tree(&checkout().join("guest"), &share().join("guest"))
}

/// What belongs into `share/vcontainer` of an installed tool.
pub(crate) fn share() -> PathBuf {
    checkout().join("target/share/vcontainer")
}

fn build(architecture: &str) -> Result<PathBuf> {
    let compiler = Compiler::find(architecture)?;
    let folder = checkout().join("target/agent");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--package",
            "vcontainer-agent",
            "--profile",
            "agent",
        ])
        .args(["--target", &compiler.target])
        .arg("--target-dir")
        .arg(&folder)
        .directory(checkout());
    let variable = compiler.target.to_uppercase().replace('-', "_");
    cargo = cargo.env(
        &format!("CARGO_TARGET_{variable}_RUSTFLAGS"),
        compiler.flags.join(" "),
    );
    if let Some(linker) = &compiler.linker {
        cargo = cargo.env(&format!("CARGO_TARGET_{variable}_LINKER"), linker);
    }
    if let Some(rustc) = &compiler.rustc {
        cargo = cargo.env("RUSTC", rustc);
    }
    let mut cargo = cargo.std();
    // They would replace the flags above, or wrap a compiler that they were not made for.
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo.status().context("starting cargo for the agent")?;
    if !status.success() {
        bail!("building the agent for {architecture} with {compiler} failed");
    }
    let built = folder.join(&compiler.target).join("agent/vcontainer-agent");
    let agent = share().join("agent").join(architecture).join("vcontainer-agent");
    replace(&built, &agent)?;
    Ok(agent)
}

/// Copies a file so that nobody ever sees half of it.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let temporary = folder.join(format!(".new-{}", std::process::id()));
    fs::copy(from, &temporary).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&temporary, to).with_context(|| format!("writing {}", to.display()))
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            replace(&source, &target)?;
        }
    }
    Ok(())
}
