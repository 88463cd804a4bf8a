//! Does what the host asks, each request in a thread of its own: one that fails, or panics, harms no other.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::mount::{MountFlags, UnmountFlags};
use vcontainer_wire::{Channel, Failure, Incoming, Mux, Reply, Request};

use crate::children::Children;
use crate::config::Config;
use crate::engine::Engine;
use crate::failure::{Doing, failure};
use crate::kernel_log::note;
use crate::{exec, power, status, tunnel, wake};

/// What all requests share.
pub struct Agent {
    /// What this guest is.
    pub config: Arc<Config>,
    /// All child processes.
    pub children: Arc<Children>,
    /// The engine's services.
    pub engine: Arc<Engine>,
    /// The agent's own program, for the child side of terminals.
    pub program: PathBuf,
    programs: AtomicU32,
}

impl Agent {
    /// Puts one together.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        children: Arc<Children>,
        engine: Arc<Engine>,
        program: PathBuf,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            children,
            engine,
            program,
            programs: AtomicU32::new(0),
        })
    }

    /// Programs that run for the host now.
    #[must_use]
    pub fn programs(&self) -> u32 {
        self.programs.load(Ordering::Relaxed)
    }
}

/// Serves one conversation until it is over, or until the host is about to freeze the guest: then everything is
/// written out and the answer is on its way. The caller ends the conversation; nothing may read it any more by then,
/// since the host freezes the guest as soon as it hears that.
pub fn serve(agent: &Arc<Agent>, mux: &Mux, incoming: &mut Incoming) {
    for (request, channel) in incoming {
        if request == Request::Suspend {
            if suspend(agent, channel) {
                break;
            }
            continue;
        }
        let (serving, mux) = (Arc::clone(agent), mux.clone());
        let thread = thread::Builder::new().name("request".into()).spawn(move || {
            let handled = catch_unwind(AssertUnwindSafe(|| handle(&serving, &mux, request, channel)));
            if handled.is_err() {
                note("a request panicked");
            }
        });
        if let Err(error) = thread {
            // The channel was dropped with the closure, so the host sees that it is closed.
            note(format!("a request could not be served: {error}"));
        }
    }
}

/// Whether the guest may be frozen now.
fn suspend(agent: &Agent, channel: Channel) -> bool {
    let (sender, _receiver) = channel.split();
    match agent.engine.sync() {
        Ok(()) => {
            rustix::fs::sync();
            sender.reply(Reply::Done).is_ok()
        }
        Err(failure) => {
            let _ = sender.reply(Reply::Failed(failure));
            false
        }
    }
}

fn handle(agent: &Arc<Agent>, mux: &Mux, request: Request, channel: Channel) {
    let result = match request {
        Request::Exec(asked) => {
            agent.programs.fetch_add(1, Ordering::Relaxed);
            let _count = Count(&agent.programs);
            return exec::run(agent, &asked, channel);
        }
        Request::Connect(address) => return tunnel::connect(&address, channel),
        Request::Listen(address) => return tunnel::listen(mux, &address, channel),
        Request::Mount {
            source,
            target,
            file_system,
            options,
            read_only,
        } => mount(&source, &target, &file_system, &options, read_only),
        Request::Unmount { target } => rustix::mount::unmount(target.as_str(), UnmountFlags::empty())
            .doing(format!("unmounting {target}")),
        Request::Wake(asked) => wake::wake(&asked),
        Request::Sync => agent.engine.sync(),
        Request::StopEngine => {
            agent.engine.stop();
            agent.engine.sync()
        }
        Request::StartEngine => agent.engine.ensure(),
        Request::Status => {
            let _ = channel.split().0.reply(Reply::Status(status::status(agent)));
            return;
        }
        Request::Shutdown => power::off(agent),
        Request::Accepted { .. } | Request::Machine(_) | Request::Suspend => {
            Err(failure("this is nothing to ask the guest's agent for"))
        }
    };
    let reply = match result {
        Ok(()) => Reply::Done,
        Err(failure) => Reply::Failed(failure),
    };
    let _ = channel.split().0.reply(reply);
}

/// Counts down at the end, however it comes.
struct Count<'a>(&'a AtomicU32);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mount(
    source: &str,
    target: &str,
    file_system: &str,
    options: &str,
    read_only: bool,
) -> Result<(), Failure> {
    fs::create_dir_all(target).doing(format!("making {target}"))?;
    let flags = if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let options = std::ffi::CString::new(options).doing("reading mount options")?;
    rustix::mount::mount(source, target, file_system, flags, options.as_c_str())
        .doing(format!("mounting {target}"))
}
