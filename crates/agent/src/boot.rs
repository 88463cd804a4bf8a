//! From the kernel to a guest that answers. The first stage runs in the initramfs: it loads the modules that the disks
//! need and goes over to the root file system, where the second stage is PID 1 for the rest.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;
use vcontainer_wire::{Failure, Mux, Side};

use crate::children::Children;
use crate::config::Config;
use crate::engine::Engine;
use crate::failure::{Doing, failure};
use crate::kernel_log::note;
use crate::port::Port;
use crate::serve::{Agent, serve};
use crate::{disk, network};

/// The argument of the second stage.
pub const SECOND_STAGE: &str = "second-stage";
/// Where the agent lies in both stages.
const SELF: &str = "/init";
/// The longest wait for a device that the machine has.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const STEP: Duration = Duration::from_millis(5);

/// A process's own streams, by names that programs are given for them.
const STREAMS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "fd/0"),
    ("/dev/stdout", "fd/1"),
    ("/dev/stderr", "fd/2"),
];

const QUIET: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In the initramfs. Comes back only with an error.
///
/// # Errors
/// The root file system cannot be reached.
pub fn first_stage() -> Result<(), Failure> {
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")?;
    for (name, target) in STREAMS {
        symlink(target, name).doing(format!("making {name}"))?;
    }
    mount("proc", "/proc", "proc", QUIET, "")?;
    mount("sysfs", "/sys", "sysfs", QUIET, "")?;
    note("first stage");
    insert_modules(Path::new("/modules"))?;
    let device = wait_for("the disk with the serial number `rootfs`", || {
        disk::by_serial("rootfs")
    })?;
    mount("tmpfs", "/overlay", "tmpfs", MountFlags::empty(), "mode=0755")?;
    for folder in ["/overlay/lower", "/overlay/upper", "/overlay/work"] {
        fs::create_dir_all(folder).doing(format!("making {folder}"))?;
    }
    rustix::mount::mount(&device, "/overlay/lower", "squashfs", MountFlags::RDONLY, None)
        .doing("mounting the root file system")?;
    let layers = "lowerdir=/overlay/lower,upperdir=/overlay/upper,workdir=/overlay/work";
    mount("overlay", "/rootfs", "overlay", MountFlags::empty(), layers)?;
    fs::copy(SELF, "/rootfs/init").doing("copying the agent")?;
    fs::set_permissions("/rootfs/init", fs::Permissions::from_mode(0o755)).doing("copying the agent")?;
    for folder in ["/dev", "/proc", "/sys"] {
        let target = format!("/rootfs{folder}");
        fs::create_dir_all(&target).doing(format!("making {target}"))?;
        rustix::mount::mount_move(folder, target.as_str()).doing(format!("moving {folder}"))?;
    }
    rustix::process::chdir("/rootfs").doing("entering the root file system")?;
    rustix::mount::mount_move(".", "/").doing("moving the root file system")?;
    rustix::process::chroot(".").doing("entering the root file system")?;
    let error = Command::new(SELF).arg(SECOND_STAGE).exec();
    Err(error).doing("starting the second stage")
}

/// Inserts the kernel modules of a directory in the order of their names.
fn insert_modules(folder: &Path) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).doing(format!("opening {}", path.display()))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // Another one may do what this one would (no such bus in this machine).
            Err(rustix::io::Errno::NODEV) => {}
            Err(error) => return Err(error).doing(format!("inserting {}", path.display())),
        }
    }
    Ok(())
}

/// On the root file system, for the rest of the guest's life.
///
/// # Errors
/// The host can never be reached. What only the engine needs is told to those who ask for the engine.
pub fn second_stage() -> Result<(), Failure> {
    mount(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "mode=0620,gid=5,ptmxmode=0666",
    )?;
    mount(
        "tmpfs",
        "/run",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=0755",
    )?;
    let children = Children::start().doing("starting a thread")?;
    let text =
        fs::read_to_string("/etc/vcontainer/guest.conf").doing("reading /etc/vcontainer/guest.conf")?;
    let config = Arc::new(Config::parse(&text)?);
    let engine = Engine::new(
        Arc::clone(&config),
        Arc::clone(&children),
        "/run/vcontainer".into(),
    );
    let agent = Agent::new(config, children, engine, SELF.into());
    let preparing = Arc::clone(&agent);
    thread::Builder::new()
        .name("engine".into())
        .spawn(move || match prepare(&preparing) {
            Ok(()) => drop(preparing.engine.start()),
            Err(why) => preparing.engine.fail(why),
        })
        .doing("starting a thread")?;
    let device = wait_for("the port to the host", Port::find)?;
    let port = wait_for("the port to the host", || Port::open(device.clone()).ok())?;
    loop {
        match Mux::start(Side::Guest, port.clone(), port.clone()) {
            Ok((mux, mut incoming)) => {
                note("the host is here");
                serve(&agent, &mux, &mut incoming);
                // The port stays, and only one may read it: the reader of this conversation ends before the next. It
                // ends before the farewell too, or it would take the first words of the host that wakes the guest.
                port.call_off();
                incoming.for_each(drop);
                mux.end();
                port.renew();
            }
            Err(error) => {
                note(format!("no conversation with the host: {error}"));
                // Without anybody at the other end a read returns at once.
                thread::sleep(STEP);
            }
        }
    }
}

/// Everything that the engine needs.
fn prepare(agent: &Agent) -> Result<(), Failure> {
    let config = &agent.config;
    mount(
        "tmpfs",
        "/tmp",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=1777",
    )?;
    mount(
        "shm",
        "/dev/shm",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=1777",
    )?;
    mount("mqueue", "/dev/mqueue", "mqueue", QUIET, "")?;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", QUIET, "")?;
    delegate(Path::new("/sys/fs/cgroup"));
    rustix::system::sethostname(b"vcontainer").doing("setting the host name")?;
    for folder in &config.runtime_directories {
        fs::create_dir_all(folder).doing(format!("making {folder}"))?;
    }
    network::set_up()?;
    let modules = modprobe(agent);
    if let Some(state) = &config.state {
        disk::mount_state(&agent.children, state)?;
    }
    if let Ok(child) = modules {
        let _ = child.wait();
    }
    note("modules and state disk are there");
    for (key, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        if let Err(why) = fs::write(&path, value).doing(format!("setting {key}")) {
            note(why);
        }
    }
    Ok(())
}

/// Loads the modules of the configuration, all in one process, while other things go on.
fn modprobe(agent: &Agent) -> Result<crate::children::Child, Failure> {
    let mut command = Command::new("/usr/sbin/modprobe");
    command.args(["-a", "-q"]).args(&agent.config.modules);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (child, _) = agent.children.spawn(&mut command).doing("starting modprobe")?;
    Ok(child)
}

/// Lets groups below the root have every controller that there is.
fn delegate(root: &Path) {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn mount(
    source: &str,
    target: &str,
    file_system: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), Failure> {
    fs::create_dir_all(target).doing(format!("making {target}"))?;
    let options = std::ffi::CString::new(options).doing("reading mount options")?;
    rustix::mount::mount(source, target, file_system, flags, options.as_c_str())
        .doing(format!("mounting {target}"))
}

/// Looks until it is there.
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(failure(format!("the machine does not have {what}")));
        }
        thread::sleep(STEP);
    }
}
