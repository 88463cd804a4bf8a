//! Stores that `vcontainer bundle` wrote, before the engines that are to use them: Docker 20.10, 26.1 and 28.5, Podman
//! 4.3, 5.4 and 5.8 as Debian has them.

mod archives;
mod attributes;
mod containerd;
mod deviations;
mod docker;
mod fixture;
mod foreign;
mod generated;
mod platforms;
mod podman;
mod questions;

use std::process::ExitCode;

use e2e::debian::Suite;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    for suite in Suite::WITH_ENGINES {
        docker::add(&mut trials, suite);
        podman::add(&mut trials, suite);
        attributes::add(&mut trials, suite);
        archives::add(&mut trials, suite);
        platforms::add(&mut trials, suite);
    }
    for suite in [Suite::Trixie, Suite::Sid] {
        containerd::add(&mut trials, suite);
    }
    for suite in [Suite::Bookworm, Suite::Trixie] {
        foreign::add(&mut trials, suite);
    }
    generated::add(&mut trials, Suite::Trixie);
    trials.run()
}
