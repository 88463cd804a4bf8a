//! From a specification to a running machine whose agent answers: by going on, or by booting.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sha2::{Digest, Sha256};
use vcontainer_guest::Arch;
use vcontainer_wire::{Event, Incoming, Mux, Reply, Request, Side, Wake};

use crate::accelerator;
use crate::command_line::{Files, Hardware, hex};
use crate::disk::{self, Stamp};
use crate::error::{During, Error};
use crate::instance::{Owner, StateDir};
use crate::json::{read_json, write_json};
use crate::machine::{Launch, Machine, within};
use crate::memory;
use crate::pair::{FORMAT, Found, Needs, Pair, host_boot};
use crate::progress::Progress;
use crate::qemu::{Qemu, find_image_program};
use crate::spec::{Accelerator, MachineSpec, Place};
use crate::template;

/// How long a guest that goes on may take to say its first word; one that was frozen in the middle never will.
const WAKE: Duration = Duration::from_secs(60);
/// How long the agent may take to end its conversation before the guest is frozen.
const FAREWELL: Duration = Duration::from_secs(60);
/// How long a booting guest may take. Emulated on a busy host it takes seconds.
const BOOT: Duration = Duration::from_secs(600);
/// How long a guest under KVM may take before KVM is distrusted.
const BOOT_KVM: Duration = Duration::from_secs(20);

/// A machine whose agent answers.
pub(crate) struct Running {
    pub(crate) machine: Machine,
    pub(crate) agent: Mux,
    pub(crate) incoming: Incoming,
    pub(crate) plan: Plan,
}

/// Called with QEMU's process when it is gone or its guest cannot go on. It may be called more than once.
pub(crate) type Ended = Arc<dyn Fn(u32) + Send + Sync>;

/// Gives up on a machine that is starting.
#[derive(Default)]
pub(crate) struct Abort {
    /// Whether it was given up, and the QEMU that runs.
    state: Mutex<(bool, Option<OwnedFd>)>,
}

impl Abort {
    fn state(&self) -> MutexGuard<'_, (bool, Option<OwnedFd>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the QEMU that runs, and lets no other start.
    pub(crate) fn abort(&self) {
        let mut state = self.state();
        state.0 = true;
        if let Some(process) = state.1.take() {
            // One that has ended already is fine.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    fn is_aborted(&self) -> bool {
        self.state().0
    }

    /// Whether to go on.
    fn check(&self) -> Result<(), Error> {
        match self.is_aborted() {
            false => Ok(()),
            true => Err(Error::Ended(
                "the machine was stopped while it was starting".into(),
            )),
        }
    }

    /// This QEMU runs from here on.
    fn starts(&self, pid: u32) -> Result<(), Error> {
        let mut state = self.state();
        if state.0 {
            drop(state);
            return self.check();
        }
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        state.1 = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(())
    }

    /// From here on nothing is ended.
    pub(crate) fn disarm(&self) {
        self.state().1 = None;
    }
}

/// Everything that is settled before QEMU starts.
pub(crate) struct Plan {
    pub(crate) spec: MachineSpec,
    pub(crate) qemu: Qemu,
    /// `qemu-img`, which makes disks.
    pub(crate) image_program: PathBuf,
    pub(crate) hardware: Hardware,
    /// Whether the disk keeps room for all of the guest's memory. Without, a full disk ends QEMU.
    pub(crate) reserve: bool,
    pub(crate) ended: Ended,
    pub(crate) abort: Arc<Abort>,
}

impl Plan {
    pub(crate) fn new(
        spec: MachineSpec,
        ended: Ended,
        abort: Arc<Abort>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        for file in [&spec.guest.kernel, &spec.guest.initramfs, &spec.guest.rootfs] {
            fs::metadata(file).on("opening the guest file", file)?;
        }
        let qemu = Qemu::find(spec.arch, &spec.search_path, &spec.cache)?;
        let image_program = find_image_program(&spec.search_path)?;
        let kvm = accelerator::choose(
            spec.accelerator,
            spec.arch,
            &qemu,
            &spec.program,
            &spec.cache,
            progress,
        )?;
        let hardware = Hardware {
            arch: spec.arch,
            kvm,
            cpus: cpus(&spec, kvm),
            memory: spec.memory,
            network: spec.network,
            guest: spec.guest.clone(),
        };
        check_host_memory(spec.memory)?;
        Ok(Self {
            spec,
            qemu,
            image_program,
            hardware,
            reserve: true,
            ended,
            abort,
        })
    }

    pub(crate) fn needs(&self) -> Needs {
        Needs {
            qemu: self.qemu.version.clone(),
            guest: self.spec.guest.identity.clone(),
            hardware: self.hardware.digest(),
        }
    }

    fn memory_size(&self) -> u64 {
        u64::from(self.spec.memory) << 20
    }

    /// The files of a machine that keeps its state in its directory.
    fn own_files(&self) -> Files {
        Files {
            memory: "memory".into(),
            memory_is_shared: true,
            disk: StateDir::disk_name(self.spec.engine).into(),
            disk_is_temporary: false,
        }
    }

    fn launch(&self, state: &StateDir, files: &Files, resume: bool) -> Result<(Machine, Stream), Error> {
        let ended = Arc::clone(&self.ended);
        let launched = Machine::launch(
            &Launch {
                program: &self.spec.program,
                qemu: &self.qemu.program,
                arguments: self.hardware.command_line(files, resume),
                directory: state.path(),
            },
            move |pid| ended(pid),
        )?;
        // On an error the machine is dropped, and with it QEMU.
        self.abort.starts(launched.0.pid())?;
        Ok(launched)
    }

    /// Boots from the state disk, which is made when there is none.
    pub(crate) fn boot(self, state: &StateDir, progress: &mut dyn FnMut(Progress)) -> Result<Running, Error> {
        progress(Progress::Booting);
        self.boot_quietly(state, progress)
    }

    /// As [`Plan::boot`]; does not say that it boots.
    pub(crate) fn boot_quietly(
        mut self,
        state: &StateDir,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Running, Error> {
        loop {
            let result = self.try_boot(state);
            match result {
                Err(error) if self.may_distrust_kvm() => {
                    let why = format!("a machine did not start with it: {}", error.chain());
                    progress(accelerator::distrust(&self.qemu, &self.spec.cache, &why));
                    self.hardware.kvm = false;
                }
                Err(error) => return Err(error),
                Ok((machine, agent, incoming)) => {
                    return Ok(Running {
                        machine,
                        agent,
                        incoming,
                        plan: self,
                    });
                }
            }
        }
    }

    fn may_distrust_kvm(&self) -> bool {
        self.hardware.kvm && self.spec.accelerator == Accelerator::Auto && !self.abort.is_aborted()
    }

    fn try_boot(&self, state: &StateDir) -> Result<(Machine, Mux, Incoming), Error> {
        invalidate(state)?;
        for name in ["memory", "devices"] {
            state.remove(name)?;
        }
        memory::create(&state.file("memory"), self.memory_size(), self.reserve)?;
        let files = self.own_files();
        let disk = state.path().join(&files.disk);
        if !exists(&disk)? {
            disk::create(&disk, self.spec.disk, &self.image_program)?;
        }
        let (machine, stream) = self.launch(state, &files, false)?;
        let patience = if self.hardware.kvm { BOOT_KVM } else { BOOT };
        greet(machine, stream, patience, "the machine did not start")
    }

    /// Goes on with the memory in `files`. The state is used up whatever the result.
    pub(crate) fn resume(
        &self,
        state: &StateDir,
        files: &Files,
        devices: Vec<u8>,
    ) -> Result<(Machine, Mux, Incoming), Error> {
        let (machine, stream) = self.launch(state, files, true)?;
        machine.go_on(devices)?;
        let greeted = greet(machine, stream, WAKE, "the machine did not go on")?;
        wake(&greeted.1)?;
        Ok(greeted)
    }
}

type Stream = std::os::unix::net::UnixStream;

/// Starts a machine with its state in `state`, whose lock is held.
pub(crate) fn start(
    plan: Plan,
    state: &StateDir,
    progress: &mut dyn FnMut(Progress),
) -> Result<Running, Error> {
    for name in ["console.log", "devices.new"] {
        state.remove(name)?;
    }
    match plan.spec.place {
        Place::Persistent(_) => start_persistent(plan, state, progress),
        Place::Stateless => start_stateless(plan, state, progress),
    }
}

fn start_persistent(
    plan: Plan,
    state: &StateDir,
    progress: &mut dyn FnMut(Progress),
) -> Result<Running, Error> {
    let (engine, arch) = (plan.spec.engine, plan.spec.arch);
    state.claim(Owner {
        format: FORMAT,
        engine,
        arch,
    })?;
    let files = plan.own_files();
    let devices = if exists(&state.path().join(&files.disk))? {
        match suspended(&plan, state)? {
            Suspended::Fits(devices) => devices,
            Suspended::Unfit(why) => {
                progress(Progress::Notice(format!(
                    "the suspended machine cannot go on ({why}): it boots anew"
                )));
                return plan.boot(state, progress);
            }
            Suspended::Nothing => return plan.boot(state, progress),
        }
    } else {
        let template = match template::ensure(&plan, progress) {
            Ok(template) => template,
            // Without a template it would be the same, and leave something behind.
            Err(error @ Error::NotStarted(_)) => return Err(error),
            Err(error) => return boot_without_template(plan, state, &error, progress),
        };
        match template.copy_into(state, StateDir::disk_name(engine)) {
            Ok(devices) => devices,
            // A machine that boots needs the room as well.
            Err(error) if error.is_full() => return Err(error),
            Err(error) => return boot_without_template(plan, state, &error, progress),
        }
    };
    progress(Progress::Resuming);
    invalidate(state)?;
    match plan.resume(state, &files, devices) {
        Ok((machine, agent, incoming)) => Ok(Running {
            machine,
            agent,
            incoming,
            plan,
        }),
        Err(error) => {
            plan.abort.check()?;
            progress(Progress::Notice(format!(
                "the suspended machine cannot go on ({}): it boots anew",
                error.chain()
            )));
            plan.boot(state, progress)
        }
    }
}

fn boot_without_template(
    plan: Plan,
    state: &StateDir,
    error: &Error,
    progress: &mut dyn FnMut(Progress),
) -> Result<Running, Error> {
    plan.abort.check()?;
    progress(Progress::Notice(format!(
        "the machine boots without a template: {}",
        error.chain()
    )));
    plan.boot(state, progress)
}

fn start_stateless(
    plan: Plan,
    state: &StateDir,
    progress: &mut dyn FnMut(Progress),
) -> Result<Running, Error> {
    let template = template::ensure(&plan, progress)?;
    progress(Progress::Resuming);
    let disk = StateDir::disk_name(plan.spec.engine);
    disk::create_overlay(&state.file(disk), &template.disk(), &plan.image_program)?;
    let files = Files {
        memory: template.memory(),
        memory_is_shared: false,
        disk: disk.into(),
        disk_is_temporary: true,
    };
    let (machine, agent, incoming) = plan.resume(state, &files, template.devices()?)?;
    Ok(Running {
        machine,
        agent,
        incoming,
        plan,
    })
}

/// What a state directory has beside its disk.
enum Suspended {
    /// A memory image that goes on, with this device state.
    Fits(Vec<u8>),
    /// One that doesn't, and why.
    Unfit(String),
    /// None.
    Nothing,
}

fn suspended(plan: &Plan, state: &StateDir) -> Result<Suspended, Error> {
    let pair = match read_json::<Pair>(&state.file("pair.json")) {
        Ok(Some(pair)) => pair,
        Ok(None) => return Ok(Suspended::Nothing),
        Err(error) => return Ok(Suspended::Unfit(error.chain())),
    };
    let Ok(memory) = memory_stamp(&state.file("memory")) else {
        return Ok(Suspended::Unfit("its memory file is missing".into()));
    };
    let found = Found {
        needs: plan.needs(),
        disk: Stamp::of(&state.file(StateDir::disk_name(plan.spec.engine)))?,
        memory,
        host_boot: host_boot(),
    };
    if let Some(why) = pair.unfit(&found) {
        return Ok(Suspended::Unfit(why.into()));
    }
    let devices = fs::read(state.file("devices")).unwrap_or_default();
    if (devices.len() as u64, hex(&Sha256::digest(&devices))) != pair.devices {
        return Ok(Suspended::Unfit(
            "the state of its devices is missing or damaged".into(),
        ));
    }
    Ok(Suspended::Fits(devices))
}

/// From here on nothing goes on with the memory image that is there: the guest will write to its disk.
fn invalidate(state: &StateDir) -> Result<(), Error> {
    if exists(&state.file("pair.json"))? {
        state.remove("pair.json")?;
        state.sync()?;
    }
    Ok(())
}

/// Suspends a machine into its directory. QEMU has ended afterwards, whatever the result; when there was an error the
/// next start boots from the disk, which the agent has written out.
pub(crate) fn suspend(machine: Machine, agent: &Mux, plan: &Plan, state: &StateDir) -> Result<Pair, Error> {
    let suspend = || -> Result<(u64, String), Error> {
        ask(agent, Request::Suspend, "getting the guest ready to be suspended")?;
        // Frozen any earlier, the guest would take the greeting after its wake for a part of this conversation.
        if !agent.wait_over(FAREWELL) {
            return Err(Error::Ended("the guest's agent did not fall silent".into()));
        }
        state.remove("devices.new")?;
        machine.save(&state.file("devices.new"))
    };
    let devices = suspend();
    let devices = match devices {
        Ok(devices) => {
            machine.quit()?;
            devices
        }
        Err(error) => {
            let _ = state.remove("devices.new");
            return Err(match error {
                // That was the host: what the guest has said has nothing to do with it.
                Error::Io { .. } => error,
                // What broke the conversation is what there is to say.
                Error::Wire { .. } => Error::Ended(machine.kill("the machine ended")),
                error => Error::Ended(machine.kill(&error.chain())),
            });
        }
    };
    let disk = state.file(StateDir::disk_name(plan.spec.engine));
    let (from, to) = (state.file("devices.new"), state.file("devices"));
    fs::rename(&from, &to).on("renaming to", &to)?;
    let pair = Pair {
        format: FORMAT,
        suspend: hex(&random::<16>()?),
        needs: plan.needs(),
        disk: Stamp::of(&disk)?,
        memory: memory_stamp(&state.file("memory"))?,
        devices,
        host_boot: host_boot(),
        synced: false,
    };
    write_json(&state.file("pair.json"), &pair)?;
    Ok(pair)
}

/// Writes everything of a suspended machine out to the host's disk.
pub(crate) fn sync(state: &StateDir, disk: &str) -> Result<(), Error> {
    for name in ["devices", "memory", disk] {
        let path = state.file(name);
        fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .on("writing out", &path)?;
    }
    state.sync()
}

pub(crate) fn memory_stamp(path: &Path) -> Result<(u64, u64), Error> {
    let metadata = fs::symlink_metadata(path).on("looking at", path)?;
    Ok((metadata.ino(), metadata.len()))
}

fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => Err(Error::Unusable {
            path: path.into(),
            what: "is no regular file: move it away".into(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).on("looking at", path),
    }
}

/// Exchanges greetings with the agent.
fn greet(
    machine: Machine,
    stream: Stream,
    patience: Duration,
    what: &str,
) -> Result<(Machine, Mux, Incoming), Error> {
    let writer = stream
        .try_clone()
        .during(|| "duplicating the agent's channel".into())?;
    match within(patience, move || Mux::start(Side::Host, stream, writer))? {
        Some(Ok((agent, incoming))) => Ok((machine, agent, incoming)),
        Some(Err(error @ vcontainer_wire::Error::Version { .. })) => Err(Error::Wire {
            doing:
                "talking to the agent of the guest: make the guest files anew with `vcontainer guest build`"
                    .into(),
            source: error,
        }),
        Some(Err(_)) => Err(Error::Ended(machine.kill(what))),
        None => Err(Error::Ended(
            machine.kill(&format!("{what}: its agent is silent")),
        )),
    }
}

fn wake(agent: &Mux) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wake = Wake {
        unix_nanoseconds: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        entropy: random::<64>()?.to_vec(),
    };
    ask(agent, Request::Wake(wake), "waking the guest")
}

/// Asks the agent for something that has no other answer than that it is done.
pub(crate) fn ask(agent: &Mux, request: Request, doing: &str) -> Result<(), Error> {
    match answer(agent, request, doing)? {
        Reply::Done => Ok(()),
        other => Err(Error::Refused {
            doing: doing.into(),
            message: format!("unexpected answer {other:?}"),
        }),
    }
}

/// Asks the other side for something, and waits for the reply.
pub(crate) fn answer(agent: &Mux, request: Request, doing: &str) -> Result<Reply, Error> {
    let wrong = |source| Error::Wire {
        doing: doing.into(),
        source,
    };
    let (_sender, mut receiver) = agent.open(request).map_err(wrong)?.split();
    loop {
        match receiver.next().map_err(wrong)? {
            Event::Reply(Reply::Failed(failure)) => {
                return Err(Error::Refused {
                    doing: doing.into(),
                    message: failure.message,
                });
            }
            Event::Reply(reply) => return Ok(reply),
            Event::Closed => return Err(wrong(vcontainer_wire::Error::Closed)),
            _ => {}
        }
    }
}

pub(crate) fn random<const SIZE: usize>() -> Result<[u8; SIZE], Error> {
    use std::io::Read;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; SIZE];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .on("reading", path)?;
    Ok(bytes)
}

/// Processors of a machine. A kernel for x86_64 that has several changes its own code by breakpoints whenever a feature
/// comes into use (memory limits with the first container, say), and relies on processors seeing that in order. QEMU 7.2
/// emulates them in threads of their own, where one may go on with code that it translated a moment too early: the kernel
/// meets a breakpoint of which it knows nothing, and panics. Processors that take turns in one thread are no faster than one.
fn cpus(spec: &MachineSpec, kvm: bool) -> u8 {
    match (kvm, spec.arch) {
        (false, Arch::X86_64) => 1,
        _ => spec.cpus.max(1),
    }
}

/// A guest's memory is pages of a file: the host can write them out. Below half of it that is all it would do.
fn check_host_memory(wanted: u32) -> Result<(), Error> {
    let memory = u64::from(wanted);
    let need = memory / 2;
    match memory::available() {
        Some(available) if available < need => Err(Error::LittleMemory {
            memory,
            need,
            available,
        }),
        _ => Ok(()),
    }
}

/// The place of a stateless machine's own files.
pub(crate) fn stateless_places(cache: &Path) -> PathBuf {
    cache.join("stateless")
}
