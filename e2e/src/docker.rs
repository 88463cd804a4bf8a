//! A real dockerd in a [`Machine`].

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::engine::Engine;
use crate::machine::Machine;
use crate::process::Command;
use crate::tree::{self, Tree};

/// Long past any healthy start or stop; a daemon that takes longer hangs, and the test should say so.
const PATIENCE: Duration = Duration::from_secs(120);

/// What engines put into a container themselves.
const OF_ENGINE: &[&str] = &[
    ".dockerenv",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
];

/// Which of its image stores dockerd uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The overlay2 graph driver.
    Overlay2,
    /// containerd's image store (`features.containerd-snapshotter`).
    Containerd,
}

/// A running daemon. Dropping it kills it; [`Docker::stop`] ends it as an administrator would.
pub struct Docker<'a> {
    machine: &'a Machine,
    daemon: Child,
    log: PathBuf,
}

impl<'a> Docker<'a> {
    /// Starts dockerd on what is in `/var/lib/docker` and waits until it answers.
    ///
    /// # Errors
    /// It ends or doesn't answer; the error holds the end of its log.
    pub fn start(machine: &'a Machine, store: Store) -> Result<Self> {
        let features = if store == Store::Containerd {
            r#""containerd-snapshotter": true"#
        } else {
            ""
        };
        let driver = if store == Store::Overlay2 {
            r#", "storage-driver": "overlay2""#
        } else {
            ""
        };
        let configuration = format!(
            r#"{{"features": {{{features}}}{driver}, "exec-opts": ["native.cgroupdriver=cgroupfs"]}}"#
        );
        machine.write("/etc/docker/daemon.json", &configuration)?;
        if store == Store::Containerd {
            // As Debian's units have it: a containerd of the system's own, in /var/lib/containerd.
            start_containerd(machine)?;
        }
        let log = machine.shared().join("dockerd.log");
        let log_file = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let daemon = machine
            .command("dockerd")
            .args(["--bridge=none", "--iptables=false"])
            .std()
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .spawn()
            .context("starting dockerd")?;
        let mut docker = Self { machine, daemon, log };
        docker.wait_until_ready()?;
        Ok(docker)
    }

    /// The file tree that a container of this image sees, read from one that runs `/bin/sleep`, without what Docker
    /// itself puts there. For stores whose layers have no directories that Docker names.
    ///
    /// # Errors
    /// The image isn't there or has no `/bin/sleep`.
    pub fn running_tree(&self, name: &str) -> Result<Tree> {
        let id = self.cli(&["run", "--detach", "--network=none", name, "/bin/sleep", "1000"])?;
        let id = id.trim();
        let mounts = self.machine.command("cat").arg("/proc/mounts").output()?;
        let point = mounts
            .lines()
            .filter(|line| line.starts_with("overlay "))
            .filter_map(|line| line.split(' ').nth(1))
            .find(|point| point.contains(id))
            .with_context(|| format!("the container of {name} has no mount in:\n{mounts}"))?;
        let mut tree = tree::read(&self.machine.host_path(point))?;
        self.cli(&["rm", "--force", id])?;
        tree.retain(|path, _| !is_of_engine(path));
        Ok(tree)
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the daemon with SIGTERM and waits for it.
    ///
    /// # Errors
    /// It doesn't end.
    pub fn stop(mut self) -> Result<()> {
        // Signalled by its pid file: `nsenter` stands between this process and the daemon.
        self.machine
            .command("sh")
            .args(["-c", "kill -TERM $(cat /run/docker.pid)"])
            .output()?;
        let start = Instant::now();
        while self.daemon.try_wait().context("waiting for dockerd")?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("dockerd doesn't stop; the end of its log:\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks `/_ping` on its socket: the daemon listens early and answers when it is ready.
    fn wait_until_ready(&mut self) -> Result<()> {
        let socket = self.machine.host_path("/run/docker.sock");
        let start = Instant::now();
        loop {
            if let Some(status) = self.daemon.try_wait().context("watching dockerd")? {
                bail!(
                    "dockerd ended ({status}); the end of its log:\n{}",
                    self.log_tail()
                );
            }
            match ping(&socket) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(error).context("asking dockerd whether it is ready"),
            }
            if start.elapsed() > PATIENCE {
                bail!("dockerd doesn't answer; the end of its log:\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Engine for Docker<'_> {
    fn machine(&self) -> &Machine {
        self.machine
    }

    fn command(&self) -> Command {
        // The classic builder: Debian packages BuildKit's client apart.
        self.machine.command("env").args(["DOCKER_BUILDKIT=0", "docker"])
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // After `stop` it has ended already; otherwise the machine ends the daemon with all its children.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Whether a path in a container is one that engines put there themselves.
pub fn is_of_engine(path: &str) -> bool {
    OF_ENGINE.iter().any(|top| {
        path.strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Starts the system's containerd, which lives as long as the machine, and waits until it accepts a connection.
fn start_containerd(machine: &Machine) -> Result<()> {
    let mut daemon = machine
        .command("containerd")
        .args(["--log-level=error"])
        .std()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting containerd")?;
    let socket = machine.host_path("/run/containerd/containerd.sock");
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if let Some(status) = daemon.try_wait().context("watching containerd")? {
            bail!("containerd ended ({status})");
        }
        if start.elapsed() > PATIENCE {
            bail!("containerd doesn't answer");
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::spawn(move || daemon.wait());
    Ok(())
}

/// Whether a daemon answers `GET /_ping` with OK. A socket that isn't there yet, or closes, is a no.
fn ping(socket: &std::path::Path) -> std::io::Result<bool> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reply = String::new();
    let asked = stream
        .write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut reply));
    Ok(asked.is_ok() && reply.lines().next().is_some_and(|line| line.contains(" 200 ")))
}
