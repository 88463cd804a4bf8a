//! `vdkr` and `vpdmn` as their users call them: real engines, in real machines of both architectures.

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    Trials::new().run()
}
