//! `vcontainer oci`: OCI images.

mod build;

use anyhow::Result;

use crate::args::{Oci, OciCommand};

/// Runs a command about OCI images.
///
/// # Errors
/// See those of the command.
pub fn run(args: &Oci) -> Result<()> {
    match &args.command {
        OciCommand::Build(args) => build::run(args),
    }
}
