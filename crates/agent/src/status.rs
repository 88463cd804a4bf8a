//! What the guest is doing, found out without asking the engine.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use vcontainer_wire::Status;

use crate::serve::Agent;

/// Every container has one such process that looks after it (a process's name has at most 15 bytes).
const KEEPERS: [&str; 2] = ["containerd-shim", "conmon"];

/// How long what looked after a container may go on afterwards. It still writes into the store meanwhile.
const TIDYING: Duration = Duration::from_secs(30);
/// How often it is looked whether a container has begun to run: no event tells that.
const LOOK: Duration = Duration::from_secs(1);

/// Looks.
#[must_use]
pub fn status(agent: &Agent) -> Status {
    let disk = agent
        .config
        .state
        .as_ref()
        .and_then(|path| rustix::fs::statvfs(path.as_str()).ok())
        .map(|disk| {
            (
                (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
                disk.f_blocks * disk.f_frsize,
            )
        });
    Status {
        engine_ready: agent.engine.is_ready(),
        containers: containers(),
        programs: agent.programs(),
        disk: disk.unwrap_or_default(),
    }
}

/// Containers that run. Those that have just ended are waited for until nobody looks after them any more.
fn containers() -> u32 {
    let limit = Instant::now() + TIDYING;
    loop {
        let (running, tidying) = count(&processes());
        let Some(process) = tidying.first().and_then(|pid| Pid::from_raw(*pid)) else {
            return running;
        };
        if Instant::now() > limit {
            return running + u32::try_from(tidying.len()).unwrap_or(u32::MAX);
        }
        let look = Timespec {
            tv_sec: LOOK.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        // One that has ended already is fine.
        if let Ok(process) = pidfd_open(process, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&look));
        }
    }
}

/// A process, as far as it says whether a container runs.
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
    /// Which mounts it sees; nothing when it has ended.
    mounts: Option<PathBuf>,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(&entry)).collect()
}

/// `/proc/PID/stat` is `PID (name) state parent …`; a name may have any characters.
fn process(entry: &DirEntry) -> Option<Process> {
    let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let (pid, name) = head.split_once(" (")?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: tail.split(' ').nth(1)?.parse().ok()?,
        name: name.to_owned(),
        mounts: fs::read_link(entry.path().join("ns/mnt")).ok(),
    })
}

/// How many containers there are, and who looks after none any more. What runs in a container sees other mounts than
/// its keeper; the keeper's helpers see the same.
fn count(processes: &[Process]) -> (u32, Vec<i32>) {
    let mut containers = BTreeSet::new();
    let mut tidying = Vec::new();
    for keeper in processes
        .iter()
        .filter(|process| KEEPERS.contains(&process.name.as_str()))
    {
        let mut kept = processes
            .iter()
            .filter(|process| process.parent == keeper.pid && process.mounts.is_some())
            .filter(|process| process.mounts != keeper.mounts)
            .peekable();
        if kept.peek().is_none() && keeper.mounts.is_some() {
            tidying.push(keeper.pid);
        }
        containers.extend(kept.map(|process| &process.mounts));
    }
    (u32::try_from(containers.len()).unwrap_or(u32::MAX), tidying)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, name: &str, mounts: &str) -> Process {
        Process {
            pid,
            parent,
            name: name.into(),
            mounts: (!mounts.is_empty()).then(|| mounts.into()),
        }
    }

    #[test]
    fn containers_are_what_their_keepers_keep() {
        let system = [
            process(1, 0, "agent", "guest"),
            process(2, 1, "containerd", "guest"),
            process(3, 1, "sh", "other"),
        ];
        assert_eq!(count(&system), (0, vec![]));
        // One with a program that was started in it later, and one that another keeper looks after.
        let running = [
            process(10, 1, "containerd-shim", "guest"),
            process(11, 10, "sleep", "first"),
            process(12, 10, "sh", "first"),
            process(20, 1, "conmon", "guest"),
            process(21, 20, "sleep", "second"),
            process(22, 1, "conmon", "guest"),
            process(23, 22, "sh", "second"),
        ];
        assert_eq!(count(&running), (2, vec![]));
        // Its program has ended, and its keeper tidies up; the other one has ended too.
        let ending = [
            process(30, 1, "conmon", "guest"),
            process(31, 30, "sleep", ""),
            process(32, 30, "podman", "guest"),
            process(40, 1, "conmon", ""),
        ];
        assert_eq!(count(&ending), (0, vec![30]));
    }

    #[test]
    fn processes_are_read() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = processes();
        let own = found.iter().find(|process| process.pid == own).unwrap();
        assert!(
            own.parent > 0 && own.mounts.is_some() && !own.name.is_empty(),
            "{own:?}"
        );
    }
}
