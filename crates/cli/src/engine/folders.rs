//! `clean`, `vmemres list` and `vstorage`: the folders of a tool's machines.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use vcontainer_guest::Engine;

use crate::engine::command::Vstorage;
use crate::engine::console::Console;
use crate::engine::machine::{Found, Machine};
use crate::engine::options;
use crate::engine::settings::Settings;
use crate::output::{bytes, columns, print};

/// The folders of machines below the tool's root, sorted.
fn machines(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot look into `{}`", root.display())),
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path.join("lock").is_file())
        .collect();
    found.sort();
    Ok(found)
}

fn name(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What `vstorage list` says of a machine.
fn status(folder: &Path, engine: Engine) -> String {
    let described = match Machine::find(folder, engine) {
        Ok(Found::Up(machine)) => machine.describe().ok(),
        Ok(Found::Starting(pid)) => return format!("memres starting (PID {pid})"),
        _ => None,
    };
    described.map_or("stopped".into(), |machine| {
        format!("memres running (PID {})", machine.pid)
    })
}

/// Bytes that a folder's files take on the disk.
fn room(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let metadata = entries.flatten().filter_map(|entry| entry.metadata().ok());
    metadata.map(|metadata| metadata.blocks() * 512).sum()
}

/// The machine's folder.
///
/// # Errors
/// A machine without one.
pub fn state(settings: &Settings) -> Result<&Path> {
    settings.state.as_deref().context(
        "a machine that leaves nothing behind (--stateless, --input-storage) has no state to speak of",
    )
}

/// Removes the state in force.
///
/// # Errors
/// The machine cannot be stopped, or files not be removed.
pub fn clean(settings: &Settings, console: &Console) -> Result<()> {
    let folder = state(settings)?;
    if remove(folder, console)? {
        return print("State cleaned. Next run will start fresh.\n");
    }
    print(&format!("No state directory found: {}\n", folder.display()))
}

/// Whether there was something to remove.
fn remove(folder: &Path, console: &Console) -> Result<bool> {
    console.progress("stopping the machine and removing its state");
    let removed = vcontainer_vm::clean(folder)
        .with_context(|| format!("cannot remove the machine of `{}`", folder.display()))?;
    console.clear();
    Ok(removed)
}

/// All machines that are up.
///
/// # Errors
/// The root cannot be read.
pub fn list_running(settings: &Settings) -> Result<()> {
    let mut rows = Vec::new();
    for folder in machines(&settings.root)? {
        let mut row = |pid: u32, architecture: &str, accelerator: &str, what: &str| {
            let (folder, pid) = (format!("  {}", name(&folder)), format!("PID {pid}"));
            rows.push(vec![
                folder,
                pid,
                architecture.into(),
                accelerator.into(),
                what.into(),
            ]);
        };
        match Machine::find(&folder, settings.tool.engine) {
            Ok(Found::Up(machine)) => {
                if let Ok(about) = machine.describe() {
                    let stays = if about.stays {
                        "stays up"
                    } else {
                        "suspends itself"
                    };
                    row(about.pid, &about.architecture, &about.accelerator, stays);
                }
            }
            Ok(Found::Starting(pid)) => row(pid, "", "", "starting"),
            Ok(Found::Down) | Err(_) => {}
        }
    }
    let table = if rows.is_empty() {
        "  (none)\n".to_owned()
    } else {
        columns(&rows)
    };
    print(&format!("Running memres instances:\n{table}"))
}

/// `vstorage`.
///
/// # Errors
/// A folder cannot be read or removed.
pub fn vstorage(settings: &Settings, command: &Vstorage, console: &Console) -> Result<()> {
    let root = &settings.root;
    let tool = settings.tool;
    match command {
        Vstorage::List => {
            let mut text = format!("{} storage directories:\n", tool.name());
            let mut total = 0;
            for folder in machines(root)? {
                let size = room(&folder);
                total += size;
                let status = status(&folder, tool.engine);
                text.push_str(&format!(
                    "\n  {}\n    Path:   {}\n    Size:   {}\n    Status: {status}\n",
                    name(&folder),
                    folder.display(),
                    bytes(size)
                ));
            }
            print(&format!("{text}\n  Total: {}\n", bytes(total)))
        }
        Vstorage::Path(which) => {
            let folder = match which {
                Some(name) => root.join(options::instance(name)?),
                None => state(settings)?.to_owned(),
            };
            print(&format!("{}\n", folder.display()))
        }
        Vstorage::Df => {
            let mut rows = Vec::new();
            for folder in machines(root)? {
                let state = format!("{}-state.img", tool.engine);
                for (what, file) in [
                    ("state disk", state.as_str()),
                    ("memory", "memory"),
                    ("devices", "devices"),
                ] {
                    if let Ok(metadata) = std::fs::metadata(folder.join(file)) {
                        rows.push(vec![
                            name(&folder),
                            what.to_owned(),
                            bytes(metadata.blocks() * 512),
                        ]);
                    }
                }
            }
            print(&columns(&rows))
        }
        Vstorage::Clean => cleaned(state(settings)?, console),
        Vstorage::CleanOne(name) => cleaned(&root.join(options::instance(name)?), console),
        Vstorage::CleanAll => {
            let folders = machines(root)?;
            if folders.is_empty() {
                return print(&format!("Not found: no machine in {}\n", root.display()));
            }
            let mut failed = Vec::new();
            for folder in folders {
                if let Err(error) = cleaned(&folder, console) {
                    failed.push(format!("{error:#}"));
                }
            }
            // The root stays when anything else is in it.
            let _ = std::fs::remove_dir(root);
            if !failed.is_empty() {
                bail!("{}", failed.join("; "));
            }
            Ok(())
        }
    }
}

fn cleaned(folder: &Path, console: &Console) -> Result<()> {
    let what = if remove(folder, console)? {
        "Cleaned"
    } else {
        "Not found"
    };
    print(&format!("{what}: {}\n", folder.display()))
}
