//! The state directory of a machine: its files, its lock, its socket.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use serde::{Deserialize, Serialize};
use vcontainer_guest::{Arch, Engine};

use crate::error::{During, Error};
use crate::json::{read_json, write_json};
use crate::pair::FORMAT;

/// How long a process that is no supervisor of ours may hold the lock: those write down who they are.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_secs(5);

/// How often a lock is tried: no event tells that it was released, or that its holder serves.
pub(crate) const POLL: Duration = Duration::from_millis(5);

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
                what: match path.is_symlink() {
                    true => "is a link that leads nowhere".into(),
                    false => "was removed while it was being opened: try again".into(),
                },
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

    /// Makes the machine's socket, on which nobody listens until the machine is ready. The lock must be held: a socket
    /// that is there belongs to nobody.
    pub(crate) fn bind(&self) -> Result<OwnedFd, Error> {
        self.remove("daemon.sock")?;
        let make = || {
            let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
            let socket = socket_with(kind.0, kind.1, kind.2, None)?;
            bind(&socket, &SocketAddrUnix::new(self.socket())?)?;
            Ok::<_, Errno>(socket)
        };
        make().on("making", &self.file("daemon.sock"))
    }

    /// The supervisor whose machine is not ready yet.
    pub(crate) fn starting(&self) -> Option<u32> {
        self.file("daemon.sock").symlink_metadata().ok()?;
        self.supervisor()
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
    fn sockets_work_below_long_paths() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x".repeat(200));
        let state = StateDir::create(&path).unwrap();
        assert!(state.connect().unwrap().is_none());
        let socket = state.bind().unwrap();
        assert!(state.connect().unwrap().is_none(), "nobody listens yet");
        rustix::net::listen(&socket, 1).unwrap();
        assert!(state.connect().unwrap().is_some());
        drop(socket);
        assert!(
            state.connect().unwrap().is_none(),
            "a socket that nobody listens on"
        );
        state.bind().unwrap();
    }
}
