//! What the Yocto layer builds, before real engines: images by BitBake from PyPI with a stub of openembedded-core, their
//! stores, units and Quadlets in Debian 13.

mod content;
mod example;
mod given;
mod imported;
mod judged;
mod native;

use std::process::ExitCode;

use e2e::privilege;
use e2e::process::Command;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    native::add(&mut trials);
    imported::add(&mut trials);
    given::add(&mut trials);
    trials.run()
}

/// Why nothing can be tried here, if it cannot.
fn possible() -> Result<(), &'static str> {
    privilege::can_run_engines()?;
    if Command::exists("pseudo") {
        Ok(())
    } else {
        Err("needs pseudo, which this Debian does not have")
    }
}
