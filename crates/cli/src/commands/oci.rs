//! `vcontainer oci`: OCI images.

mod build;
mod cache;
mod extract;
mod index;
mod list;
mod naming;
mod request;
mod settings;
mod source;
mod work;

use anyhow::Result;

use crate::args::{Oci, OciCommand};

/// Runs a command about OCI images.
///
/// # Errors
/// See those of the command.
pub fn run(args: &Oci) -> Result<()> {
    match &args.command {
        OciCommand::Build(args) => build::run(args),
        OciCommand::Cache(args) => cache::run(args),
        OciCommand::Index(args) => index::run(args),
        OciCommand::List(args) => list::run(args),
        OciCommand::Extract(args) => extract::run(args),
    }
}
