//! The state directory of a machine: its files, its lock, its socket.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vcontainer_guest::{Arch, Engine};

use crate::error::{During, Error};
use crate::pair::FORMAT;

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

/// How long `clean` waits for a machine to stop before it ends its processes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that is no supervisor of ours may hold the lock: those write down who they are.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_secs(5);

/// How often a lock is tried: no event tells that it was released, or that its holder serves.
const POLL: Duration = Duration::from_millis(5);

/// The state directory of a machine.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    directory: File,
}

/// Whose state a directory holds: written once, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) format: u32,
    pub(crate) engine: Engine,
    pub(crate) arch: Arch,
}

/// The lock of a machine, as long as the file is open here or in a process that inherited it.
#[derive(Debug)]
pub(crate) struct Lock(pub(crate) File);

/// Somebody waits for a lock that another process holds.
pub(crate) struct Waiting {
    /// When it was last known that the other is a supervisor.
    known: Instant,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Self {
            known: Instant::now(),
        }
    }

    /// Goes on waiting. Of a supervisor it is known who it is.
    ///
    /// # Errors
    /// That has not been known for too long.
    pub(crate) fn goes_on(&mut self, state: &StateDir, known: bool) -> Result<(), Error> {
        if known {
            self.known = Instant::now();
        } else if self.known.elapsed() > PATIENCE_WITH_STRANGERS {
            return Err(Error::Locked {
                directory: state.path.clone(),
                holder: "another process".into(),
            });
        }
        thread::sleep(POLL);
        Ok(())
    }
}

impl Lock {
    /// Takes the lock again if nobody has it.
    pub(crate) fn take(&self, state: &StateDir) -> Result<bool, Error> {
        self.flock(state, FlockOperation::NonBlockingLockExclusive)
    }

    fn flock(&self, state: &StateDir, how: FlockOperation) -> Result<bool, Error> {
        let path = state.file("lock");
        match flock(&self.0, how) {
            // The file may have been cleaned away meanwhile, and then this is nobody's lock.
            Ok(()) => Ok(is_at(&self.0, &path)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(error).on("locking", &path),
        }
    }
}

impl StateDir {
    /// Opens a state directory; makes it, for the user alone, if it isn't there.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).on("making the directory", parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).on("making the directory", path)
            }
            _ => Self::open(path)?.ok_or_else(|| Error::Unusable {
                path: path.into(),
                what: "was removed while it was being opened: try again".into(),
            }),
        }
    }

    /// Opens a state directory; `None` when there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let path = std::path::absolute(path).on("resolving", path)?;
        let flags = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or_default();
        match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(directory) => Ok(Some(Self { path, directory })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("opening the state directory", &path),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of our files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file name of an engine's state disk.
    pub(crate) fn disk_name(engine: Engine) -> &'static str {
        match engine {
            Engine::Docker => "docker-state.img",
            Engine::Podman => "podman-state.img",
        }
    }

    /// Writes the directory's entries out.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.directory.sync_all().on("writing out", &self.path)
    }

    /// Removes one of our files, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        remove(&self.file(name))
    }

    /// Whether files can be made here.
    pub(crate) fn writable(&self) -> Result<(), Error> {
        use rustix::fs::Access;
        rustix::fs::access(&self.path, Access::WRITE_OK | Access::EXEC_OK).on("writing into", &self.path)
    }

    /// Takes the lock if nobody has it. `None` too when the directory is gone.
    pub(crate) fn try_lock(&self) -> Result<Option<Lock>, Error> {
        self.lock(true, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock of a directory that somebody has left; where there is none, nobody has been at work.
    pub(crate) fn try_left_lock(&self) -> Result<Option<Lock>, Error> {
        self.lock(false, FlockOperation::NonBlockingLockExclusive)
    }

    /// Shares the lock with others that only read, if nobody has it for himself.
    pub(crate) fn share_lock(&self) -> Result<Option<Lock>, Error> {
        self.lock(false, FlockOperation::NonBlockingLockShared)
    }

    fn lock(&self, create: bool, how: FlockOperation) -> Result<Option<Lock>, Error> {
        let path = self.file("lock");
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let opened = OpenOptions::new()
            .read(true)
            // Who only reads may not be allowed more.
            .write(!matches!(how, FlockOperation::NonBlockingLockShared))
            .create(create)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let lock = Lock(opened.on("opening the lock", &path)?);
                Ok(lock.flock(self, how)?.then_some(lock))
            }
        }
    }

    /// Whether this is still the directory of its path: `clean` may have removed it.
    pub(crate) fn is_there(&self) -> bool {
        let same = || Ok::<_, io::Error>(is_same(&self.directory.metadata()?, &fs::metadata(&self.path)?));
        same().unwrap_or(false)
    }

    /// The process that holds the lock, as it wrote it down.
    pub(crate) fn holder(&self) -> Option<u32> {
        fs::read_to_string(self.file("daemon.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The supervisor that holds the lock. What is written down may be of one that was killed, and the number may have
    /// gone to another process: this one has the lock open.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        let pid = self.holder()?;
        let lock = fs::canonicalize(self.file("lock")).ok()?;
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        open.any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == lock))
            .then_some(pid)
    }

    /// A socket's address has room for 107 bytes: this one is always short.
    fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/daemon.sock", self.directory.as_raw_fd()).into()
    }

    /// Listens on the machine's socket. The lock must be held: a socket that is there belongs to nobody.
    pub(crate) fn listen(&self) -> Result<UnixListener, Error> {
        self.remove("daemon.sock")?;
        UnixListener::bind(self.socket()).on("listening on", &self.file("daemon.sock"))
    }

    /// Connects to the supervisor; `None` when none listens.
    pub(crate) fn connect(&self) -> Result<Option<UnixStream>, Error> {
        match UnixStream::connect(self.socket()) {
            Ok(stream) => Ok(Some(stream)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).on("connecting to", &self.file("daemon.sock")),
        }
    }

    /// Checks that the state is of this machine's kind, or notes that from now on it is.
    pub(crate) fn claim(&self, owner: Owner) -> Result<(), Error> {
        match self.belongs_to(owner)? {
            true => Ok(()),
            false => write_json(&self.file("state.json"), &owner),
        }
    }

    /// Checks that the state is not another machine's. Gives whether there is one.
    pub(crate) fn belongs_to(&self, owner: Owner) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = self.file("state.json");
        for name in ["state.json", "pair.json"] {
            // Of a newer version only this much is known.
            if let Ok(Some(Format { format })) = read_json::<Format>(&self.file(name))
                && format > FORMAT
            {
                return Err(Error::NewerState {
                    directory: self.path.clone(),
                    format,
                    known: FORMAT,
                });
            }
        }
        match read_json::<Owner>(&path)? {
            None => Ok(false),
            Some(found) if (found.engine, found.arch) == (owner.engine, owner.arch) => Ok(true),
            Some(found) => Err(Error::OtherState {
                directory: self.path.clone(),
                found: format!("{} on {}", found.engine, found.arch),
                wanted: format!("{} on {}", owner.engine, owner.arch),
            }),
        }
    }
}

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
    let mut waiting = Waiting::new();
    let mut told: Option<(u32, Instant)> = None;
    let lock = loop {
        if let Some(lock) = directory.try_lock()? {
            break lock;
        }
        if !directory.is_there() {
            // Somebody else has done it.
            return Ok(true);
        }
        let supervisor = directory.supervisor();
        match (supervisor, told) {
            (Some(pid), Some((before, since))) if pid == before => {
                if since.elapsed() > PATIENCE {
                    signal(&directory, pid, Signal::KILL)?;
                }
            }
            (Some(pid), _) => {
                signal(&directory, pid, Signal::TERM)?;
                told = Some((pid, Instant::now()));
            }
            (None, _) => {}
        }
        waiting.goes_on(&directory, supervisor.is_some())?;
    };
    delete(&directory)?;
    drop(lock);
    Ok(true)
}

/// Deletes what is ours in a directory whose lock is held, and the directory when nothing else is in it.
pub(crate) fn delete(directory: &StateDir) -> Result<(), Error> {
    for name in NAMES {
        directory.remove(&format!("{name}.new"))?;
        // The lock goes last: until then nobody starts here.
        directory.remove(name)?;
    }
    // It stays when it holds other files, or can't go (a mount point, no right on its parent).
    let _ = fs::remove_dir(&directory.path);
    Ok(())
}

/// Sends a signal to the supervisor of a directory, unless it has ended meanwhile.
fn signal(directory: &StateDir, pid: u32, signal: Signal) -> Result<(), Error> {
    let doing = || {
        format!(
            "stopping process {pid}, which runs the machine of {}",
            directory.path.display()
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

/// Whether the open file is the one that has this name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = || Ok::<_, io::Error>(is_same(&file.metadata()?, &fs::symlink_metadata(path)?));
    same().unwrap_or(false)
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("removing", path),
        _ => Ok(()),
    }
}

/// Reads a JSON file; `None` when it isn't there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("reading", path),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Unusable {
                path: path.into(),
                what: format!("is damaged ({error}): restore it, or delete the state with the command clean"),
            }),
    }
}

/// Writes a JSON file so that a crash leaves the old one or the new one, whole.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    remove(&new)?;
    let write = || {
        let bytes = serde_json::to_vec_pretty(value)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .on("writing", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            format: FORMAT,
            engine: Engine::Docker,
            arch: Arch::Aarch64,
        }
    }

    #[test]
    fn cleaning_takes_only_what_is_ours() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state dir, with spaces");
        assert!(!clean(&path).unwrap());
        let state = StateDir::create(&path).unwrap();
        state.claim(owner()).unwrap();
        for name in ["memory", "devices.new", "docker-state.img"] {
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

    #[test]
    fn state_of_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::create(&root.path().join("state")).unwrap();
        state.claim(owner()).unwrap();
        state.claim(owner()).unwrap();
        let other = Owner {
            arch: Arch::X86_64,
            ..owner()
        };
        assert!(matches!(state.claim(other), Err(Error::OtherState { .. })));
        assert!(matches!(state.belongs_to(other), Err(Error::OtherState { .. })));
        fs::write(state.file("state.json"), r#"{"format": 2, "strange": true}"#).unwrap();
        assert!(matches!(
            state.claim(owner()),
            Err(Error::NewerState { format: 2, .. })
        ));
        assert_eq!(
            fs::read(state.file("state.json")).unwrap(),
            br#"{"format": 2, "strange": true}"#
        );
    }

    #[test]
    fn one_lock_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::create(&root.path().join("state")).unwrap();
        let lock = state.try_lock().unwrap().unwrap();
        assert!(state.try_lock().unwrap().is_none());
        drop(lock);
        assert!(state.try_lock().unwrap().is_some());
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
    fn sockets_work_below_long_paths() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x".repeat(200));
        let state = StateDir::create(&path).unwrap();
        assert!(state.connect().unwrap().is_none());
        let listener = state.listen().unwrap();
        assert!(state.connect().unwrap().is_some());
        drop(listener);
        assert!(
            state.connect().unwrap().is_none(),
            "a socket that nobody listens on"
        );
        state.listen().unwrap();
    }
}
