//! `vcontainer`: puts containers into embedded Linux images at build time.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match vcontainer::run(vcontainer::args::Args::parse()) {
        Ok(()) => vcontainer::Exit::Success.into(),
        Err(error) => vcontainer::report_error(&error),
    }
}
