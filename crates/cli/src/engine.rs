//! `vdkr` and `vpdmn`: an engine of another architecture as a command on this computer.

pub mod command;
pub mod config_file;
pub mod help;
pub mod options;
pub mod program;
pub mod settings;
pub mod words;
