//! Machines at work: what a program in one is given and gives back, byte for byte, and what is left when something is killed.

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    Trials::new().run()
}
