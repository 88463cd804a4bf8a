//! A machine made of namespaces: a Debian root filesystem with its own mounts, network, processes and host name, in
//! which real engines run as root. Nothing of it outlives the value, and the root filesystem below stays pristine.
//!
//! The first process of the machine reads from a pipe that this process holds. When the pipe closes (the value is
//! dropped, or this process is killed) it ends, and the kernel kills every process in the machine and unmounts all.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cache;
use crate::debian::Suite;
use crate::process::Command;

/// Runs as the first process of the machine, in its own namespaces but still on the host's file system. Arguments: the
/// Debian root, a directory for the machine, then pairs of host path and path in the machine to bind.
const BOOT: &str = r#"
set -eu
base=$1; here=$2; shift 2
read -r pid rest < /proc/self/stat
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$here"
mkdir "$here/upper" "$here/work" "$here/root"
root=$here/root
mount -t overlay -o "lowerdir=$base,upperdir=$here/upper,workdir=$here/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
if [ -d /sys/fs/cgroup ]; then mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"; fi
while [ $# -gt 0 ]; do
    mkdir -p "$root$2"; mount --bind "$1" "$root$2"; shift 2
done
chroot "$root" ip link set lo up
hostname engine
# Said from within the new root: before that, /proc/PID/root is still the host's.
exec chroot "$root" sh -c 'echo "ready $1"; exec tini -- cat' boot "$pid"
"#;

/// A directory of the host, and where the machine sees it.
struct Bind {
    host: PathBuf,
    inside: String,
}

/// A machine before it starts: its root filesystem and the host directories that it sees.
pub struct Builder {
    suite: Suite,
    binds: Vec<Bind>,
}

impl Builder {
    /// A machine with this Debian root filesystem.
    pub fn new(suite: Suite) -> Self {
        Self {
            suite,
            binds: Vec::new(),
        }
    }

    /// Lets the machine see (and change) a directory of the host.
    #[must_use]
    pub fn bind(mut self, host: impl Into<PathBuf>, inside: &str) -> Self {
        self.binds.push(Bind {
            host: host.into(),
            inside: inside.to_owned(),
        });
        self
    }

    /// Starts the machine.
    ///
    /// # Errors
    /// The root filesystem cannot be made, or the namespaces and mounts are not allowed here.
    pub fn start(self) -> Result<Machine> {
        let base = self.suite.path()?;
        let scratch = scratch_directory()?;
        let home = scratch.path().join("machine");
        fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
        let shared = scratch.path().join("shared");
        fs::create_dir(&shared).with_context(|| format!("making {}", shared.display()))?;
        let mut command = Command::new("unshare")
            .args(["-m", "-n", "-p", "-i", "-u", "--fork", "--kill-child"])
            .args([
                "sh".as_ref(),
                "-c".as_ref(),
                BOOT.as_ref(),
                "boot".as_ref(),
                base.as_os_str(),
                home.as_os_str(),
                shared.as_os_str(),
                Machine::SHARED.as_ref(),
            ]);
        for bind in &self.binds {
            command = command.arg(&bind.host).arg(&bind.inside);
        }
        let mut child = command
            .std()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting `unshare`")?;
        let stdin = child.stdin.take();
        let mut first_line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut first_line)
                .context("waiting for the machine")?;
        }
        let Some(pid) = first_line
            .strip_prefix("ready ")
            .and_then(|pid| pid.trim().parse().ok())
        else {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr
                    .read_to_string(&mut said)
                    .context("reading why the machine didn't start")?;
            }
            child.wait().context("waiting for `unshare`")?;
            bail!(
                "the machine with Debian {} didn't start: {}",
                self.suite.name(),
                said.trim_end()
            );
        };
        let machine = Machine {
            suite: self.suite,
            child,
            stdin,
            pid,
            shared,
            _scratch: scratch,
        };
        machine.configure()?;
        Ok(machine)
    }
}

/// A fresh directory of the cache's file system (a store under test must not lie on an overlay or on tmpfs).
///
/// # Errors
/// It cannot be made.
pub fn scratch_directory() -> Result<TempDir> {
    let parent = cache::directory()?.join("scratch");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&parent)
        .with_context(|| format!("making {}", parent.display()))?;
    TempDir::new_in(&parent).with_context(|| format!("making a directory in {}", parent.display()))
}

/// A running machine. Dropping it ends every process in it.
pub struct Machine {
    suite: Suite,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its first process, as the host numbers it.
    pid: u32,
    shared: PathBuf,
    // Last, so that it is removed when nothing uses it any more.
    _scratch: TempDir,
}

impl Machine {
    /// Where the machine sees [`Machine::shared`].
    pub const SHARED: &str = "/shared";

    /// Its Debian release.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// A directory of the host that the machine sees as [`Machine::SHARED`]: for files that go in and out.
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// A path of the machine, as the host reaches it (mounts of the machine included).
    pub fn host_path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        Command::new("nsenter")
            .arg(format!("--target={}", self.pid))
            .args(["--mount", "--net", "--pid", "--ipc", "--uts"])
            .arg(format!("--root=/proc/{}/root", self.pid))
            .arg(format!("--wd=/proc/{}/root", self.pid))
            .arg("--")
            .arg(program)
    }

    /// Writes a file inside, with its parent directories.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, inside: &str, content: &str) -> Result<()> {
        let path = self.host_path(inside);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {inside} in the machine"))?;
        }
        fs::write(&path, content).with_context(|| format!("writing {inside} in the machine"))
    }

    /// Engine settings that this environment needs: no systemd (so cgroups by file, events to a file), and for
    /// Podman's containers neither network nor cgroups of their own.
    fn configure(&self) -> Result<()> {
        self.write(
            "/etc/containers/containers.conf",
            "[containers]\ncgroups = \"disabled\"\nnetns = \"none\"\nlog_driver = \"k8s-file\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The first process ends with this pipe, and the kernel ends all others with it.
        drop(self.stdin.take());
        if self.child.wait().is_err() {
            eprintln!("the machine (process {}) could not be waited for", self.pid);
        }
    }
}
