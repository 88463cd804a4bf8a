//! `vdkr` and `vpdmn`: an engine of another architecture as a command on this computer.

pub mod command;
pub mod config_file;
mod console;
mod folders;
pub mod help;
mod host_file;
mod image_stream;
mod machine;
pub mod options;
pub mod program;
mod registry;
mod run;
mod session;
pub mod settings;
mod store_tar;
mod terminal;
mod vimport;
pub mod vm_import;
pub mod words;

pub use run::main;
