//! `vcontainer-agent`: PID 1 of the guest. Boots it and runs commands for the host.

use std::ffi::OsString;
use std::process::ExitCode;

use vcontainer_agent::{boot, power, terminal};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some(terminal::CHILD) => {
            eprintln!("{}", terminal::become_child(&arguments));
            ExitCode::from(126)
        }
        stage if rustix::process::getpid().as_raw_nonzero().get() == 1 => {
            let result = if stage == Some(boot::SECOND_STAGE) {
                boot::second_stage()
            } else {
                boot::first_stage()
            };
            power::give_up(&result)
        }
        _ => {
            eprintln!("vcontainer-agent is the first process of a guest: it does nothing on a host");
            ExitCode::FAILURE
        }
    }
}
