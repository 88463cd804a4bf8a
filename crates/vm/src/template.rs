//! Machines as they are after a first boot: suspended, and started from again and again.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use vcontainer_wire::Request;

use crate::disk::Stamp;
use crate::error::{During, Error};
use crate::instance::{Lock, Owner, StateDir};
use crate::json::{read_json, write_json};
use crate::memory;
use crate::pair::{FORMAT, Pair};
use crate::progress::Progress;
use crate::spec::Place;
use crate::start::{Plan, ask, suspend, sync};
use crate::stop;

/// How many templates of one engine and architecture are kept: of the last guest builds or options.
const KEPT: usize = 3;

/// How the names of directories begin in which a template is being made.
const MAKING: &str = ".making-";

/// A template, whole and on the disk. It is not removed as long as this is held.
pub(crate) struct Template {
    state: StateDir,
    disk: &'static str,
    pair: Pair,
    _used: Lock,
}

/// Gives the template of a machine; makes it when there is none.
pub(crate) fn ensure(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Template, Error> {
    let needs = plan.needs();
    let all = plan.spec.cache.join("templates");
    fs::create_dir_all(&all).on("making the directory", &all)?;
    let kind = format!("{}-{}-", plan.spec.engine, plan.spec.arch);
    let digest = crate::command_line::hex(&<sha2::Sha256 as sha2::Digest>::digest(format!(
        "{FORMAT} {} {} {} {}",
        needs.qemu, needs.guest, needs.hardware, plan.spec.disk
    )));
    let name = format!("{kind}{}", digest.get(..24).unwrap_or(&digest));
    let path = all.join(&name);
    if let Some(template) = open(plan, &path)? {
        return Ok(template);
    }
    // One maker at a time; the others wait for it.
    let lock_path = all.join(format!("{name}.lock"));
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .on("opening the lock", &lock_path)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress(Progress::WaitingForOther);
        flock(&lock, FlockOperation::LockExclusive).on("locking", &lock_path)?;
    }
    if let Some(template) = open(plan, &path)? {
        return Ok(template);
    }
    remove_abandoned(&all);
    progress(Progress::MakingTemplate);
    let (making, held) = held_directory(&all)?;
    make(plan, making.path(), progress)?;
    if path.exists() {
        fs::remove_dir_all(&path).on("removing the damaged template", &path)?;
    }
    fs::rename(making.path(), &path).on("renaming to", &path)?;
    drop((making.keep(), held));
    prune(&all, &kind, &path);
    open(plan, &path)?.ok_or_else(|| Error::Unusable {
        path,
        what: "was made and cannot be used".into(),
    })
}

fn open(plan: &Plan, path: &Path) -> Result<Option<Template>, Error> {
    let Some(state) = StateDir::open(path)? else {
        return Ok(None);
    };
    let disk = StateDir::disk_name(plan.spec.engine);
    let Ok(Some(pair)) = read_json::<Pair>(&state.file("pair.json")) else {
        return Ok(None);
    };
    let whole = pair.needs == plan.needs()
        && pair.synced
        && Stamp::of(&state.file(disk)).is_ok_and(|found| found == pair.disk)
        && fs::metadata(state.file("memory")).is_ok_and(|found| found.len() == pair.memory.1);
    // The oldest are removed: this one is in use.
    let now = std::time::SystemTime::now();
    let _ = fs::File::open(path).and_then(|directory| directory.set_modified(now));
    // Somebody may be about to remove it.
    match whole.then(|| state.share_lock()).transpose()?.flatten() {
        Some(used) => Ok(Some(Template {
            state,
            disk,
            pair,
            _used: used,
        })),
        None => Ok(None),
    }
}

/// A new directory that is held as long as the lock is: without it, it is abandoned.
fn held_directory(all: &Path) -> Result<(TempDir, Lock), Error> {
    loop {
        let made = tempfile::Builder::new()
            .prefix(MAKING)
            .tempdir_in(all)
            .on("making a directory in", all)?;
        // Who looks for abandoned ones may have been faster.
        if let Some(lock) = StateDir::create(made.path())?.try_lock()? {
            return Ok((made, lock));
        }
    }
}

/// Boots a machine for the first time, until its engine is ready, and suspends it.
fn make(plan: &Plan, path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let state = StateDir::create(path)?;
    let mut spec = plan.spec.clone();
    spec.place = Place::Persistent(path.to_owned());
    state.claim(Owner {
        format: FORMAT,
        engine: spec.engine,
        arch: spec.arch,
    })?;
    let disk = StateDir::disk_name(spec.engine);
    let own = Plan {
        spec,
        qemu: plan.qemu.clone(),
        image_program: plan.image_program.clone(),
        hardware: plan.hardware.clone(),
        reserve: false,
        ended: std::sync::Arc::clone(&plan.ended),
        abort: std::sync::Arc::clone(&plan.abort),
    };
    let running = own.boot_quietly(&state, progress)?;
    if running.plan.needs() != plan.needs() {
        return Err(Error::Ended("KVM failed while the template was made".into()));
    }
    if let Err(error) = ask(
        &running.agent,
        Request::StartEngine,
        "starting the engine in the new machine",
    ) {
        return Err(Error::Ended(running.machine.kill(&error.chain())));
    }
    let mut pair = suspend(running.machine, &running.agent, plan, &state)?;
    memory::dig_holes(&state.file("memory"))?;
    for name in ["qemu.log", "console.log"] {
        state.remove(name)?;
    }
    sync(&state, disk)?;
    pair.synced = true;
    write_json(&state.file("pair.json"), &pair)?;
    state.sync()
}

impl Template {
    pub(crate) fn disk(&self) -> PathBuf {
        self.state.file(self.disk)
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.state.file("memory")
    }

    /// The state of the devices.
    pub(crate) fn devices(&self) -> Result<Vec<u8>, Error> {
        let path = self.state.file("devices");
        let devices = fs::read(&path).on("reading", &path)?;
        if devices.len() as u64 == self.pair.devices.0 {
            return Ok(devices);
        }
        Err(Error::Unusable {
            path,
            what: "is damaged: delete the directory that it is in".into(),
        })
    }

    /// Copies memory and disk; gives the state of the devices. The disk comes last: with it there is a state. After an
    /// error there is neither.
    pub(crate) fn copy_into(&self, state: &StateDir, disk: &str) -> Result<Vec<u8>, Error> {
        let new = format!("{disk}.new");
        let copy = || {
            let devices = self.devices()?;
            for name in ["memory", &new] {
                state.remove(name)?;
            }
            memory::copy(&self.memory(), &state.file("memory"), true)?;
            memory::copy(&self.disk(), &state.file(&new), false)?;
            let (from, to) = (state.file(&new), state.file(disk));
            fs::rename(&from, &to).on("renaming to", &to)?;
            Ok(devices)
        };
        copy().inspect_err(|_| {
            for name in ["memory", &new] {
                let _ = state.remove(name);
            }
        })
    }
}

/// Removes what makers that were killed have left.
fn remove_abandoned(all: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(MAKING)) {
        if let Ok(Some(state)) = StateDir::open(&entry.path())
            && let Ok(Some(_lock)) = state.try_left_lock()
        {
            let _ = stop::delete(&state);
        }
    }
}

/// Removes the templates of other builds and options that were not used for longest, but none from which somebody is about to start. A machine
/// that runs from one keeps its files.
fn prune(all: &Path, kind: &str, newest: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    let mut others: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(kind))
        })
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort();
    let surplus = others.len().saturating_sub(KEPT - 1);
    for (_, path) in others.into_iter().take(surplus) {
        if let Ok(Some(state)) = StateDir::open(&path)
            && let Ok(Some(_lock)) = state.try_left_lock()
        {
            // What can't be removed takes room, nothing else.
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let all = root.path();
        let names = [
            "docker-a-1",
            "docker-a-2",
            "docker-a-3",
            "docker-a-4",
            "podman-a-1",
        ];
        for name in names {
            let state = StateDir::create(&all.join(name)).unwrap();
            drop(state.try_lock().unwrap().unwrap());
            // The order of the times is that of the names.
            let time =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(name.as_bytes()[9].into());
            let directory = fs::File::open(all.join(name)).unwrap();
            directory.set_modified(time).unwrap();
        }
        let left = || names.map(|name| all.join(name).exists());
        let first = StateDir::open(&all.join("docker-a-1")).unwrap().unwrap();
        let used = first.share_lock().unwrap().unwrap();
        prune(all, "docker-a-", &all.join("docker-a-4"));
        assert_eq!(left(), [true; 5], "one too many, and it is used");
        drop(used);
        prune(all, "docker-a-", &all.join("docker-a-4"));
        assert_eq!(left(), [false, true, true, true, true]);
    }

    #[test]
    fn what_is_being_made_is_not_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let (making, held) = held_directory(root.path()).unwrap();
        fs::write(making.path().join("memory"), "half").unwrap();
        remove_abandoned(root.path());
        assert!(making.path().join("memory").exists());
        drop(held);
        remove_abandoned(root.path());
        assert!(!making.path().exists());
    }
}
