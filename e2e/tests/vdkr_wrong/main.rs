//! `vdkr` and `vpdmn` with everything wrong that can be: one clear error, nothing lost.

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    Trials::new().run()
}
