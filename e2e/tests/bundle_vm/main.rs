//! Bundles and machines together: what `vcontainer bundle` has written is the store of a machine, and a machine's engine
//! writes bundles.

mod images;
mod imported;
mod interchanged;
mod listing;
mod refused;
mod stores;
mod taken;

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    imported::add(&mut trials);
    interchanged::add(&mut trials);
    refused::add(&mut trials);
    taken::add(&mut trials);
    trials.run()
}
