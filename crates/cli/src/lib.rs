//! The command line of `vcontainer`: options, the environment, progress, errors as people read them, exit codes.
//!
//! The definitions in [`args`] are what `--help`, man pages and completions are made from. What is asked for is done by
//! the crates below; this one must not know a format.

pub mod args;
mod commands;
pub mod engine;
mod interruption;
mod output;
mod progress;
mod settings;

pub use output::{Exit, report_error};

/// Runs the command that `args` ask for.
///
/// # Errors
/// Whatever goes wrong, for [`report_error`].
pub fn run(args: args::Args) -> anyhow::Result<()> {
    match args.command {
        args::Command::Bundle(args) => commands::bundle::run(&args),
        args::Command::Inspect(args) => commands::inspect::run(&args),
        args::Command::Fetch(args) => commands::fetch::run(&args),
        args::Command::Guest(args) => commands::guest::run(&args),
        args::Command::Oci(args) => commands::oci::run(&args),
    }
}
