//! The engine's whole store as a tar: `--storage` and `--input-storage`.
//!
//! Docker's tar has the top folder `docker/` and is unpacked into `/var/lib`; Podman's is relative to its storage folder
//! and is unpacked into `/var/lib/containers/storage`. What `vcontainer bundle --tar` writes, rooted at `/`, serves as
//! input as well.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use vcontainer_guest::Engine;
use vcontainer_image::{Compression, LayerItem, LayerReader};
use vcontainer_wire::{Exec, ExitStatus};

use crate::engine::host_file::{self, NewFile};
use crate::engine::machine::Machine;
use crate::engine::session::{self, Feed, Outputs};

/// How long tidying up after a container may take.
const TIDYING: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Where a guest has its store, and a place for a folder on the same disk.
fn places(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Docker => ("/var/lib/docker", "/var/lib/docker/.input"),
        Engine::Podman => ("/var/lib/containers/storage", "/var/lib/containers/.input"),
    }
}

/// Freezes the engine's services while tar reads: their files are then as after a power cut, which they are made for,
/// and nothing moves meanwhile. `$1` is docker or podman.
///
/// What no other machine may have is left out: the engine's own identity, and what belongs to the file system.
const SAVE: &str = r#"
set -e
case $1 in
docker)
    pids=$(pidof dockerd containerd || true)
    trap '[ -z "$pids" ] || kill -CONT $pids' EXIT
    trap 'exit 143' HUP INT TERM
    [ -z "$pids" ] || kill -STOP $pids
    tar -C /var/lib --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner --sparse --one-file-system \
        --warning=no-file-ignored --exclude=docker/lost+found --exclude=docker/engine-id --exclude='docker/tmp/*' \
        -cf - docker ;;
podman)
    tar -C /var/lib/containers/storage --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner --sparse \
        --one-file-system --warning=no-file-ignored --exclude=./lost+found --exclude='./tmp/*' -cf - . ;;
esac
"#;

/// Writes the store of `machine` to `file`, which appears when it is whole.
///
/// # Errors
/// Containers run, the machine breaks, or the file cannot be written.
pub fn save(machine: &Machine, file: NewFile) -> Result<u64> {
    wait_for_rest(machine)?;
    let mut file = file;
    let mut told = Vec::new();
    let exec = Exec {
        argv: words(&["sh", "-c", SAVE, "save", &machine.engine().to_string()]),
        needs_engine: true,
        ..Exec::default()
    };
    let mut outputs = Outputs {
        out: &mut file,
        error: &mut told,
    };
    let ended = session::run(machine.mux(), exec, None, &mut outputs)?;
    if ended != ExitStatus::Code(0) {
        bail!(
            "the store cannot be packed in the machine: {}",
            String::from_utf8_lossy(&told).trim()
        );
    }
    file.finish()
}

/// Waits until nothing of a container is at work any more: when one has ended, the process that looks after it still
/// tidies up for a moment.
fn wait_for_rest(machine: &Machine) -> Result<()> {
    if machine.status()?.containers == 0 {
        return Ok(());
    }
    let mut running = Vec::new();
    let mut outputs = Outputs {
        out: &mut running,
        error: &mut std::io::sink(),
    };
    let exec = Exec {
        argv: words(&[&machine.engine().to_string(), "ps", "--quiet"]),
        needs_engine: true,
        ..Exec::default()
    };
    session::run(machine.mux(), exec, None, &mut outputs)?;
    let running = running.iter().filter(|byte| **byte == b'\n').count();
    let limit = Instant::now() + TIDYING;
    while running == 0 && Instant::now() < limit {
        if machine.status()?.containers == 0 {
            return Ok(());
        }
        // No event tells.
        std::thread::sleep(POLL);
    }
    bail!("the store cannot be written while containers run ({running} do): stop them first")
}

/// A tar that a store can start from.
pub struct StoreTar {
    path: PathBuf,
    file: File,
    compression: Compression,
    /// The folder in it that is the store; empty when it is the whole tar.
    inside: &'static str,
}

impl StoreTar {
    /// Looks at a tar, before any machine is started.
    ///
    /// # Errors
    /// No tar, or none with a store of this engine.
    pub fn open(path: &Path, engine: Engine) -> Result<Self> {
        let mut file = host_file::open(path, "pack the store with tar")?;
        let unreadable = || format!("cannot read the store in `{}`", path.display());
        let mut magic = Vec::new();
        (&file).take(8).read_to_end(&mut magic).with_context(unreadable)?;
        let compression = Compression::sniff(&magic).with_context(unreadable)?;
        file.seek(SeekFrom::Start(0)).with_context(unreadable)?;
        let mut reader = LayerReader::new(BufReader::new(
            compression.reader(&file).with_context(unreadable)?,
        ));
        let mut inside = None;
        for _ in 0..LOOKED_AT {
            match reader.next_item().with_context(unreadable)? {
                Some(LayerItem::Entry(entry)) => inside = place(entry.path.as_bytes(), engine),
                Some(_) => {}
                None => break,
            }
            if inside.is_some() {
                break;
            }
        }
        let Some(inside) = inside else {
            bail!(
                "`{}` holds no store of {engine}: expected is what --storage or `vcontainer bundle --tar` has written",
                path.display()
            );
        };
        drop(reader);
        file.seek(SeekFrom::Start(0)).with_context(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            compression,
            inside,
        })
    }

    /// Makes it the store of `machine`, instead of what is there.
    ///
    /// # Errors
    /// The tar is damaged, does not fit on the state disk, or the machine breaks.
    pub fn load(self, machine: &Machine) -> Result<()> {
        machine.stop_engine()?;
        let (store, scratch) = places(machine.engine());
        let exec = Exec {
            argv: words(&["sh", "-c", LOAD, "load", store, scratch, self.inside]),
            ..Exec::default()
        };
        let name = format!("`{}`", self.path.display());
        let (file, compression) = (self.file, self.compression);
        let feed: Feed = Box::new(move |input| {
            let mut stream = compression
                .reader(file)
                .with_context(|| format!("cannot read {name}"))?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = stream
                    .read(&mut buffer)
                    .with_context(|| format!("cannot read {name}"))?;
                if count == 0 {
                    return Ok(());
                }
                std::io::Write::write_all(input, &buffer[..count])?;
            }
        });
        let mut told = Vec::new();
        let mut outputs = Outputs {
            out: &mut std::io::sink(),
            error: &mut told,
        };
        let ended = session::run(machine.mux(), exec, Some(feed), &mut outputs)?;
        if ended != ExitStatus::Code(0) {
            bail!(
                "the store in `{}` cannot be unpacked in the machine: {}",
                self.path.display(),
                String::from_utf8_lossy(&told).trim()
            );
        }
        machine
            .start_engine()
            .with_context(|| format!("the engine cannot use the store in `{}`", self.path.display()))
    }
}

/// Makes what is in the folder `$3` of the tar on standard input the content of the folder `$1`. It is unpacked beside
/// it on the same disk (`$2`), so that spellings such as `./docker` do not matter.
const LOAD: &str = r#"
set -e
store=$1 scratch=$2 member=$3
trap 'rm -rf "$scratch"' EXIT
trap 'exit 143' HUP INT TERM
mkdir -p "$store"
find "$store" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
mkdir "$scratch"
tar -C "$scratch" --xattrs --xattrs-include='*' --acls --numeric-owner --same-owner -p --delay-directory-restore -xf -
from=$scratch${member:+/$member}
for entry in "$from"/* "$from"/.[!.]*; do
    case $entry in */lost+found) continue ;; esac
    [ ! -e "$entry" ] || mv "$entry" "$store/"
done
chown "$(stat -c %u:%g "$from")" "$store"
chmod "$(stat -c %a "$from")" "$store"
"#;

/// How many members may come before the store is seen: a bundle has units before or behind it, never many.
const LOOKED_AT: usize = 1000;

/// The folder that is the store in a tar with a member of this (clean) name; `None` when this name does not tell.
fn place(name: &[u8], engine: Engine) -> Option<&'static str> {
    let folders: &[&'static str] = match engine {
        Engine::Docker => &["docker", "var/lib/docker"],
        Engine::Podman => &["var/lib/containers/storage"],
    };
    let is_in = |folder: &&&'static str| {
        let below = name.strip_prefix(folder.as_bytes());
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    };
    if let Some(folder) = folders.iter().find(is_in) {
        return Some(folder);
    }
    let top = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    let podmans: [&[u8]; 4] = [
        b"overlay",
        b"overlay-images",
        b"overlay-layers",
        b"overlay-containers",
    ];
    (engine == Engine::Podman && podmans.contains(&top)).then_some("")
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_found_in_every_form() {
        let of = |name: &str, engine| place(name.as_bytes(), engine);
        assert_eq!(of("docker", Engine::Docker), Some("docker"));
        assert_eq!(of("docker/overlay2/l", Engine::Docker), Some("docker"));
        assert_eq!(of("var/lib/docker/image", Engine::Docker), Some("var/lib/docker"));
        assert_eq!(of("var/lib", Engine::Docker), None);
        assert_eq!(of("etc/systemd/system/x", Engine::Docker), None);
        assert_eq!(of("dockerx", Engine::Docker), None);
        assert_eq!(of("overlay-layers/layers.json", Engine::Podman), Some(""));
        let storage = "var/lib/containers/storage";
        assert_eq!(
            of("var/lib/containers/storage/overlay", Engine::Podman),
            Some(storage)
        );
        assert_eq!(of("docker/x", Engine::Podman), None);
    }
}
