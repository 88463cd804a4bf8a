//! The end of a guest.

use std::process::ExitCode;
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use rustix::system::RebootCommand;
use vcontainer_wire::Failure;

use crate::kernel_log::alarm;
use crate::serve::Agent;

/// How long programs have to end by themselves.
const GRACE: Duration = Duration::from_millis(500);

/// Stops everything and powers off. Comes back only when the kernel refuses.
///
/// # Errors
/// The state disk could not be written out.
pub fn off(agent: &Agent) -> Result<(), Failure> {
    agent.engine.stop();
    everybody(Signal::TERM);
    if agent.programs() > 0 {
        std::thread::sleep(GRACE);
    }
    everybody(Signal::KILL);
    let synced = agent.engine.sync();
    if let Some(state) = &agent.config.state {
        // What still holds it was killed just now; the journal takes care of the rest.
        let _ = rustix::mount::unmount(state.as_str(), UnmountFlags::empty())
            .or_else(|_| rustix::mount::unmount(state.as_str(), UnmountFlags::DETACH));
    }
    synced?;
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    Ok(())
}

fn everybody(signal: Signal) {
    // kill(-1): the group of number 1 is everybody but this process. Only PID 1 may mean that.
    if rustix::process::getpid() == Pid::INIT {
        let _ = rustix::process::kill_process_group(Pid::INIT, signal);
    }
}

/// The guest cannot be: says why on the console and powers off.
pub fn give_up(result: &Result<(), Failure>) -> ExitCode {
    if let Err(why) = result {
        alarm(format!("the guest cannot start: {why}"));
        rustix::fs::sync();
    }
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}
