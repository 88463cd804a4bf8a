//! `vcontainer oci`: OCI images.

mod build;
mod cache;
mod diff;
mod extract;
mod index;
mod inspect;
mod layers;
mod list;
pub(super) mod naming;
mod request;
mod settings;
mod source;
mod verify;
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
        OciCommand::Inspect(args) => inspect::run(args),
        OciCommand::Layers(args) => layers::run(args),
        OciCommand::Diff(args) => diff::run(args),
        OciCommand::Verify(args) => verify::run(args),
    }
}
