//! Ends the machine of a state directory that somebody else runs, and deletes what is ours there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{During, Error};
use crate::instance::{Lock, StateDir, Waiting};

/// Every name that a state directory has from us, but for `….new` of these.
const NAMES: [&str; 11] = [
    "docker-state.img",
    "podman-state.img",
    "memory",
    "devices",
    "pair.json",
    "state.json",
    "daemon.pid",
    "daemon.sock",
    "qemu.log",
    "console.log",
    "lock",
];

/// How long a machine may take to stop before its supervisor is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops the machine of a state directory and deletes its state. Only files of ours are deleted; the directory goes
/// when nothing else is in it. Gives whether there was one.
///
/// # Errors
/// The machine can't be stopped, or a file can't be deleted.
pub fn clean(state: &Path) -> Result<bool, Error> {
    let Some(directory) = StateDir::open(state)? else {
        return Ok(false);
    };
    // Somebody else's directory is not even locked.
    if !NAMES
        .iter()
        .any(|name| directory.file(name).symlink_metadata().is_ok())
    {
        return Ok(false);
    }
    // Without a lock somebody else has done it.
    if let Some(_lock) = take_over(&directory)? {
        delete(&directory)?;
    }
    Ok(true)
}

/// Gives up the start of a machine; one that has become ready is suspended. Returns when it has ended.
///
/// # Errors
/// It can't be stopped.
pub fn give_up(state: &Path) -> Result<(), Error> {
    match StateDir::open(state)? {
        Some(directory) => take_over(&directory).map(drop),
        None => Ok(()),
    }
}

/// Tells the supervisor of a directory to end, and takes the lock. `None` when the directory is gone.
fn take_over(directory: &StateDir) -> Result<Option<Lock>, Error> {
    let mut waiting = Waiting::new();
    let mut told: Option<(u32, Instant)> = None;
    loop {
        if let Some(lock) = directory.try_lock()? {
            return Ok(Some(lock));
        }
        if !directory.is_there() {
            return Ok(None);
        }
        let supervisor = directory.supervisor();
        match (supervisor, told) {
            (Some(pid), Some((before, since))) if pid == before => {
                if since.elapsed() > PATIENCE {
                    signal(directory, pid, Signal::KILL)?;
                }
            }
            (Some(pid), _) => {
                signal(directory, pid, Signal::TERM)?;
                told = Some((pid, Instant::now()));
            }
            (None, _) => {}
        }
        waiting.goes_on(directory, supervisor.is_some())?;
    }
}

/// Deletes what is ours in a directory whose lock is held, and the directory when nothing else is in it.
pub(crate) fn delete(directory: &StateDir) -> Result<(), Error> {
    for name in NAMES {
        directory.remove(&format!("{name}.new"))?;
        // The lock goes last: until then nobody starts here.
        directory.remove(name)?;
    }
    // It stays when it holds other files, or can't go (a mount point, no right on its parent).
    let _ = fs::remove_dir(directory.path());
    Ok(())
}

/// Sends a signal to the supervisor of a directory, unless it has ended meanwhile.
fn signal(directory: &StateDir, pid: u32, signal: Signal) -> Result<(), Error> {
    let doing = || {
        format!(
            "stopping process {pid}, which runs the machine of {}",
            directory.path().display()
        )
    };
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        process => process.during(doing)?,
    };
    // The number is its own as long as it has the lock open.
    if directory.supervisor() != Some(pid) {
        return Ok(());
    }
    match pidfd_send_signal(process, signal) {
        Err(Errno::SRCH) => Ok(()),
        result => result.during(doing),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::instance::POLL;

    #[test]
    fn cleaning_takes_only_what_is_ours() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state dir, with spaces");
        assert!(!clean(&path).unwrap());
        let state = StateDir::create(&path).unwrap();
        for name in ["state.json", "memory", "devices.new", "docker-state.img"] {
            fs::write(state.file(name), "").unwrap();
        }
        fs::write(state.file("notes.txt"), "mine").unwrap();
        assert!(clean(&path).unwrap());
        let left: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["notes.txt"]);
        assert!(!clean(&path).unwrap(), "a directory with nothing of ours");
        fs::remove_file(state.file("notes.txt")).unwrap();
        fs::write(state.file("memory"), "").unwrap();
        assert!(clean(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_link_is_removed_and_not_what_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::create(&root.path().join("state")).unwrap();
        let precious = root.path().join("precious");
        fs::write(&precious, "data").unwrap();
        std::os::unix::fs::symlink(&precious, state.file("memory")).unwrap();
        assert!(clean(state.path()).unwrap());
        assert_eq!(fs::read(&precious).unwrap(), b"data");
    }

    /// What is written down is of a supervisor that was killed; the one that runs writes itself down a moment later.
    #[test]
    fn cleaning_tells_the_supervisor_that_runs() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::create(&root.path().join("state")).unwrap();
        let Lock(lock) = state.try_lock().unwrap().unwrap();
        let mut supervisor = std::process::Command::new("sleep")
            .arg("1000")
            .stdin(lock)
            .spawn()
            .unwrap();
        fs::write(state.file("daemon.pid"), std::process::id().to_string()).unwrap();
        let path = state.path().to_owned();
        let cleaning = thread::spawn(move || clean(&path));
        // No event tells that it has looked.
        thread::sleep(20 * POLL);
        fs::write(state.file("daemon.pid"), supervisor.id().to_string()).unwrap();
        let status = supervisor.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(Signal::TERM.as_raw())
        );
        assert!(cleaning.join().unwrap().unwrap() && !state.is_there());
    }

    #[test]
    fn a_directory_that_is_gone_has_no_lock() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        let state = StateDir::create(&path).unwrap();
        assert!(state.try_left_lock().unwrap().is_none(), "nobody has been here");
        let lock = state.try_lock().unwrap().unwrap();
        assert!(state.is_there() && lock.take(&state).unwrap());
        assert!(clean(&root.path().join("none")).is_ok_and(|found| !found));
        delete(&state).unwrap();
        assert!(!state.is_there() && state.try_lock().unwrap().is_none());
        assert!(!lock.take(&state).unwrap(), "this lock is nobody's");
        // Another one in its place is another one.
        StateDir::create(&path).unwrap();
        assert!(!state.is_there());
        // A link that leads to it is its place, too.
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(StateDir::create(&link).unwrap().is_there());
    }
}
