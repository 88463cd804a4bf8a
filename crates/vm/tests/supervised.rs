//! Supervisors and real QEMUs whose guest never answers: what starts, what is told, what is left behind. Needs
//! `qemu-system-aarch64`, `qemu-system-x86_64` and `qemu-img`, and no guest files.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use vcontainer_guest::{Arch, Engine};
use vcontainer_vm::{Accelerator, BootFiles, Client, Error, MachineSpec, Place, Presence, Progress};

/// How long something may take that should take milliseconds, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == vcontainer_vm::SUPERVISE => {
            return ExitCode::from(u8::from(vcontainer_vm::supervise().is_err()));
        }
        Some(word) if word == vcontainer_vm::QEMU => {
            eprintln!("{}", vcontainer_vm::exec_qemu(words).chain());
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    let tests: [(&str, fn()); 14] = [
        (
            "a_kernel_that_is_none_is_explained",
            a_kernel_that_is_none_is_explained,
        ),
        (
            "a_missing_qemu_names_its_package",
            a_missing_qemu_names_its_package,
        ),
        ("missing_guest_files_are_named", missing_guest_files_are_named),
        ("too_little_memory_is_told", too_little_memory_is_told),
        (
            "kvm_for_another_architecture_is_refused",
            kvm_for_another_architecture_is_refused,
        ),
        ("a_lock_of_others_is_told", a_lock_of_others_is_told),
        (
            "nothing_runs_in_an_empty_directory",
            nothing_runs_in_an_empty_directory,
        ),
        (
            "a_killed_supervisor_takes_qemu_along",
            a_killed_supervisor_takes_qemu_along,
        ),
        (
            "a_lock_is_held_until_qemu_is_gone",
            a_lock_is_held_until_qemu_is_gone,
        ),
        (
            "who_waits_for_a_state_that_is_cleaned_starts_anew",
            who_waits_for_a_state_that_is_cleaned_starts_anew,
        ),
        ("a_killed_qemu_is_an_error", a_killed_qemu_is_an_error),
        (
            "a_machine_that_starts_is_told_and_given_up",
            a_machine_that_starts_is_told_and_given_up,
        ),
        (
            "cleaning_stops_a_machine_that_starts",
            cleaning_stops_a_machine_that_starts,
        ),
        (
            "a_stateless_machine_leaves_nothing",
            a_stateless_machine_leaves_nothing,
        ),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = tests.map(trial).into();
    let kvm = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let name = "a_killed_supervisor_takes_its_trial_of_kvm_along";
    trials.push(
        trial((name, a_killed_supervisor_takes_its_trial_of_kvm_along))
            .with_kind(if kvm { "" } else { "needs /dev/kvm" })
            .with_ignored_flag(!kvm),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A machine whose kernel does nothing for ever.
struct Machine {
    root: TempDir,
    spec: MachineSpec,
}

impl Machine {
    fn new(arch: Arch) -> Self {
        let root = tempfile::tempdir().unwrap();
        let guest = root.path().join("guest, files");
        fs::create_dir(&guest).unwrap();
        // aarch64: `b .`; no kernel of x86_64 at all.
        fs::write(guest.join("kernel"), 0x1400_0000_u32.to_le_bytes()).unwrap();
        fs::write(guest.join("initramfs"), b"none").unwrap();
        fs::write(guest.join("rootfs"), [0; 4096]).unwrap();
        let spec = MachineSpec {
            engine: Engine::Docker,
            arch,
            guest: BootFiles {
                kernel: guest.join("kernel"),
                initramfs: guest.join("initramfs"),
                rootfs: guest.join("rootfs"),
                identity: "none".into(),
            },
            cpus: 1,
            memory: 128,
            disk: MachineSpec::DEFAULT_DISK,
            accelerator: Accelerator::Tcg,
            network: true,
            place: Place::Persistent(root.path().join("state, of a machine")),
            cache: root.path().join("cache"),
            linger: Duration::ZERO,
            program: std::env::current_exe().unwrap(),
            search_path: std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect(),
        };
        Self { root, spec }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state, of a machine")
    }

    fn connect(&self, progress: &mut dyn FnMut(Progress)) -> Error {
        match Client::connect(&self.spec, progress) {
            Ok(_) => panic!("there is no agent, but somebody greeted"),
            Err(error) => error,
        }
    }

    fn error(&self) -> String {
        self.connect(&mut |_| ()).chain()
    }

    /// Starts, and calls `body` with QEMU's process once it runs.
    fn while_starting(&self, body: impl FnOnce(u32)) -> (String, Vec<Progress>) {
        let mut steps = Vec::new();
        let error = thread::scope(|scope| {
            let client = scope.spawn(|| self.connect(&mut |step| steps.push(step)).chain());
            body(wait(|| qemu_below(self.root.path())));
            client.join().unwrap()
        });
        (error, steps)
    }

    /// A disk that is there is never made anew, so there is no template and only one QEMU.
    fn with_disk(&self) -> PathBuf {
        fs::create_dir(self.state()).unwrap();
        let disk = self.state().join("docker-state.img");
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1G");
        assert!(command.status().unwrap().success());
        disk
    }
}

fn wait<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < limit, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The QEMU whose files lie in a directory.
fn qemu_below(directory: &Path) -> Option<u32> {
    let name = directory.file_name()?.to_str()?.to_owned();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words);
        let is_qemu = words.split('\0').next()?.contains("qemu-system") && words.contains(&name);
        is_qemu.then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// `kill`, by a process's number.
fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn a_kernel_that_is_none_is_explained() {
    let machine = Machine::new(Arch::X86_64);
    let error = machine.error();
    assert!(error.contains("QEMU said") && error.contains("kernel"), "{error}");
    assert!(!machine.state().join("daemon.sock").exists());
    assert!(!machine.state().join("daemon.pid").exists());
}

fn a_missing_qemu_names_its_package() {
    let mut machine = Machine::new(Arch::Aarch64);
    machine.spec.search_path = vec!["/nonexistent".into()];
    let error = machine.error();
    assert!(error.contains("apt install qemu-system-arm"), "{error}");
}

fn missing_guest_files_are_named() {
    let machine = Machine::new(Arch::Aarch64);
    fs::remove_file(&machine.spec.guest.rootfs).unwrap();
    let error = machine.error();
    assert!(error.contains("guest, files/rootfs"), "{error}");
}

fn too_little_memory_is_told() {
    let mut machine = Machine::new(Arch::Aarch64);
    machine.spec.memory = 1 << 31;
    let error = machine.error();
    assert!(error.contains("MiB of memory"), "{error}");
    assert!(!machine.state().join("memory").exists());
}

fn kvm_for_another_architecture_is_refused() {
    let foreign = match std::env::consts::ARCH {
        "x86_64" => Arch::Aarch64,
        _ => Arch::X86_64,
    };
    let mut machine = Machine::new(foreign);
    machine.spec.accelerator = Accelerator::Kvm;
    let error = machine.error();
    assert!(
        error.starts_with("KVM was asked for and cannot be used"),
        "{error}"
    );
}

fn a_lock_of_others_is_told() {
    let machine = Machine::new(Arch::Aarch64);
    fs::create_dir(machine.state()).unwrap();
    let lock = File::create(machine.state().join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut steps = Vec::new();
    let error = machine.connect(&mut |step| steps.push(step));
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert_eq!(steps, [Progress::WaitingForOther]);
}

fn nothing_runs_in_an_empty_directory() {
    let machine = Machine::new(Arch::Aarch64);
    assert!(Client::running(&machine.state()).unwrap().up().is_none());
    assert!(!machine.state().exists());
    fs::create_dir(machine.state()).unwrap();
    assert!(Client::running(&machine.state()).unwrap().up().is_none());
    assert!(!vcontainer_vm::clean(&machine.state()).unwrap());
}

fn a_killed_supervisor_takes_qemu_along() {
    let machine = Machine::new(Arch::Aarch64);
    machine.with_disk();
    let (error, _) = machine.while_starting(|_| {
        let pid = fs::read_to_string(machine.state().join("daemon.pid")).unwrap();
        kill("-KILL", pid.trim().parse().unwrap());
    });
    assert!(error.contains("ended before the machine was ready"), "{error}");
    wait(|| qemu_below(machine.root.path()).is_none().then_some(()));
    // What it has left is nobody's: the next one starts.
    assert!(machine.state().join("daemon.sock").exists());
    assert!(Client::running(&machine.state()).unwrap().up().is_none());
    let (error, steps) = machine.while_starting(|qemu| kill("-KILL", qemu));
    assert!(
        error.contains("QEMU") && steps == [Progress::Booting],
        "{error} {steps:?}"
    );
}

fn a_machine_that_starts_is_told_and_given_up() {
    let machine = Machine::new(Arch::Aarch64);
    machine.with_disk();
    let (error, _) = machine.while_starting(|_| {
        let pid = fs::read_to_string(machine.state().join("daemon.pid")).unwrap();
        let found = Client::running(&machine.state()).unwrap();
        assert!(
            matches!(found, Presence::Starting(found) if found.to_string() == pid.trim()),
            "not {pid}"
        );
        vcontainer_vm::give_up(&machine.state()).unwrap();
        assert_eq!(qemu_below(machine.root.path()), None);
    });
    assert!(error.contains("stopped while it was starting"), "{error}");
    let found = Client::running(&machine.state()).unwrap();
    assert!(matches!(found, Presence::Down));
    vcontainer_vm::give_up(&machine.state()).unwrap();
}

/// Whoever had it earlier would boot beside a QEMU that still writes.
fn a_lock_is_held_until_qemu_is_gone() {
    let machine = Machine::new(Arch::Aarch64);
    machine.with_disk();
    machine.while_starting(|_| {
        let pid = fs::read_to_string(machine.state().join("daemon.pid")).unwrap();
        kill("-KILL", pid.trim().parse().unwrap());
        let lock = File::open(machine.state().join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert_eq!(qemu_below(machine.root.path()), None);
    });
}

/// A QEMU that hangs where it tries KVM.
fn a_killed_supervisor_takes_its_trial_of_kvm_along() {
    let mut machine = Machine::new(std::env::consts::ARCH.parse().unwrap());
    machine.spec.accelerator = Accelerator::Auto;
    let bin = machine.root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let qemu = bin.join(format!("qemu-system-{}", std::env::consts::ARCH));
    let script =
        "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 10.0.0 && exit\nexec sleep 1000\n";
    fs::write(&qemu, script).unwrap();
    fs::set_permissions(&qemu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    machine.spec.search_path.insert(0, bin);
    let cache = fs::canonicalize(machine.root.path()).unwrap().join("cache");
    let tried = || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let runs_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&cache));
            runs_there.then(|| entry.file_name())
        })
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| machine.error());
        wait(tried);
        let pid = fs::read_to_string(machine.state().join("daemon.pid")).unwrap();
        kill("-KILL", pid.trim().parse().unwrap());
        let error = client.join().unwrap();
        assert!(error.contains("ended before the machine was ready"), "{error}");
    });
    wait(|| tried().is_none().then_some(()));
}

fn who_waits_for_a_state_that_is_cleaned_starts_anew() {
    let machine = Machine::new(Arch::Aarch64);
    fs::create_dir(machine.state()).unwrap();
    let lock = File::create(machine.state().join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let client = scope.spawn(|| machine.connect(&mut |step| waits.send(step).unwrap()).chain());
        assert_eq!(waiting.recv().unwrap(), Progress::WaitingForOther);
        fs::remove_dir_all(machine.state()).unwrap();
        drop(lock);
        // The one that makes the template; one that boots without may follow.
        let mut killed = vec![wait(|| qemu_below(machine.root.path()))];
        kill("-KILL", killed[0]);
        while !client.is_finished() {
            if let Some(qemu) = qemu_below(machine.root.path()).filter(|pid| !killed.contains(pid)) {
                kill("-KILL", qemu);
                killed.push(qemu);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let error = client.join().unwrap();
        assert!(error.contains("QEMU"), "{error}");
    });
}

fn a_killed_qemu_is_an_error() {
    let machine = Machine::new(Arch::Aarch64);
    let disk = machine.with_disk();
    let before = fs::read(&disk).unwrap();
    let (error, steps) = machine.while_starting(|qemu| kill("-KILL", qemu));
    assert!(error.contains("QEMU"), "{error}");
    assert_eq!(steps, [Progress::Booting]);
    assert!(before == fs::read(&disk).unwrap());
    assert!(!machine.state().join("pair.json").exists());
}

fn cleaning_stops_a_machine_that_starts() {
    for has_disk in [true, false] {
        let machine = Machine::new(Arch::Aarch64);
        if has_disk {
            machine.with_disk();
        }
        let mut cleaned = false;
        machine.while_starting(|_| cleaned = vcontainer_vm::clean(&machine.state()).unwrap());
        assert!(cleaned && !machine.state().exists());
        assert_eq!(qemu_below(machine.root.path()), None);
    }
}

fn a_stateless_machine_leaves_nothing() {
    let mut machine = Machine::new(Arch::Aarch64);
    machine.spec.place = Place::Stateless;
    let (error, steps) = machine.while_starting(|qemu| kill("-KILL", qemu));
    assert!(error.contains("QEMU"), "{error}");
    assert_eq!(steps, [Progress::MakingTemplate]);
    for directory in ["stateless", "templates"] {
        let entries = fs::read_dir(machine.spec.cache.join(directory))
            .unwrap()
            .flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let left: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}
