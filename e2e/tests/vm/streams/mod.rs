//! What goes into a machine and comes out of it through its agent, byte for byte.

mod broken;
mod bulk;
mod files;
mod programs;
mod sockets;
mod terminals;

use anyhow::{Context, Result};
use e2e::trials::Trials;
use vcontainer_vm::Client;

use crate::program::{Program, sh};
use crate::up::Up;

pub fn add(trials: &mut Trials) {
    trials.anywhere("streams::programs", programs);
    trials.anywhere("streams::files_and_sockets", files_and_sockets);
    trials.anywhere("streams::broken", broken::broken);
}

/// A check and what it is called.
type Check = (&'static str, fn(&Up) -> Result<()>);

fn all(up: &Up, checks: &[Check]) -> Result<()> {
    for (name, check) in checks {
        check(up).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Everything about programs, in one machine, while one of them is silent for longer than any time limit of the
/// reference.
fn programs() -> Result<()> {
    let up = Up::new()?;
    let silent: Client = up.connect()?;
    let silent =
        Program::start(&silent.mux, sh("sleep 90; printf 'not a word'; exit 9")).map(|one| (silent, one))?;
    all(&up, programs::CHECKS)?;
    all(&up, terminals::CHECKS)?;
    all(&up, bulk::CHECKS)?;
    let (_client, program) = silent;
    program
        .end()?
        .is(9, "not a word", "")
        .context("silence, and then output")?;
    up.stop()
}

fn files_and_sockets() -> Result<()> {
    let up = Up::new()?;
    all(&up, files::CHECKS)?;
    all(&up, sockets::CHECKS)?;
    up.stop()
}
