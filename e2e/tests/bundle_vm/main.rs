//! Bundles and machines together: what `vcontainer bundle` has written is the store of a machine, and a machine's engine writes bundles.

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    Trials::new().run()
}
