//! Guest files for tests, made by the real command as an ordinary user, once for each change of what they are made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use vcontainer_guest::{Arch, Engine, GuestFiles};

use crate::person::{self, Person};
use crate::{cache, tool};

/// The directory that holds `vdkr/<arch>` and `vpdmn/<arch>` as far as [`guest_files`] has made them. Its name changes
/// with the guest data, the agents and the code that makes guests.
///
/// # Errors
/// One of them cannot be read: `cargo xtask agent` makes the agents.
pub fn directory() -> Result<PathBuf> {
    let checkout = cache::checkout();
    let mut sha = Sha256::new();
    for part in [
        "guest",
        "crates/guest/src",
        "crates/debian/src",
        "target/share/vcontainer/agent",
    ] {
        add(&mut sha, &checkout.join(part))
            .with_context(|| format!("reading {part} (`cargo xtask agent` makes the agents)"))?;
    }
    let key: String = sha
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(cache::directory()?.join("guests").join(key))
}

fn add(sha: &mut Sha256, path: &Path) -> Result<()> {
    if !path.is_dir() {
        let content = fs::read(path)?;
        sha.update((content.len() as u64).to_le_bytes());
        sha.update(content);
        return Ok(());
    }
    let mut names: Vec<_> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    for name in names {
        sha.update(name.as_encoded_bytes());
        add(sha, &path.join(name))?;
    }
    Ok(())
}

/// The directory with the guest files of one tool (`--blob-dir`), in which those of `arch` have been made.
///
/// # Errors
/// They cannot be made: no mirror, no agent, no space.
pub fn guest_files(engine: Engine, arch: Arch) -> Result<PathBuf> {
    let root = directory()?;
    let tool = root.join(engine.tool());
    let guests = cache::directory()?.join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("making {}", guests.display()))?;
    let lock = fs::File::create(guests.join(format!("{}-{arch}.lock", engine.tool())))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for another test that makes a guest")?;
    if GuestFiles::open(&tool, engine, arch).is_ok() {
        return Ok(tool);
    }
    let person = Person::new()?;
    let made = build(&person, engine, arch)?;
    // Copied beside its place and renamed, so that a killed test leaves no half of it.
    let partial = root.join(format!("{}-{arch}.partial", engine.tool()));
    let place = tool.join(arch.name());
    for old in [&partial, &place] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    fs::create_dir_all(&tool).with_context(|| format!("making {}", tool.display()))?;
    for entry in fs::read_dir(&made)? {
        let entry = entry?;
        fs::copy(entry.path(), partial.join(entry.file_name())).context("keeping a guest file")?;
    }
    fs::rename(&partial, &place).with_context(|| format!("making {}", place.display()))?;
    Ok(tool)
}

/// Has `person` make a guest in their `work/guests`, with packages from the cache; returns the directory of its files.
///
/// # Errors
/// The command fails.
pub fn build(person: &Person, engine: Engine, arch: Arch) -> Result<PathBuf> {
    let packages = cache::directory()?.join("guest-packages");
    fs::create_dir_all(&packages).with_context(|| format!("making {}", packages.display()))?;
    person::give_all(&packages)?;
    let output = person.path("work/guests");
    let mut command = person
        .command("vcontainer")
        .args(["guest", "build", "--quiet"])
        .args(["--engine", &engine.to_string(), "--arch", &arch.to_string()])
        .arg("--output")
        .arg(&output)
        .arg("--cache")
        .arg(&packages)
        .arg("--share")
        .arg(cache::checkout().join("target/share/vcontainer"));
    if let Some(mirror) = std::env::var_os("VCONTAINER_MIRROR") {
        command = command.env("VCONTAINER_MIRROR", mirror);
    }
    // The person cannot build the tool.
    tool::binary()?;
    command.output()?;
    Ok(output.join(engine.tool()).join(arch.name()))
}
