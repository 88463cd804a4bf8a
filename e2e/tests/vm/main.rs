//! Machines at work: what a program in one is given and gives back, byte for byte, and what is left when something is killed.

mod full;
mod killed;
mod machine;
mod moment;
mod program;
mod resume;
mod state;
mod streams;
mod up;

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    streams::add(&mut trials);
    resume::add(&mut trials);
    state::add(&mut trials);
    full::add(&mut trials);
    killed::add(&mut trials);
    trials.run()
}
