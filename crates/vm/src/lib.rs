//! QEMU machines of the target architecture that boot once and are resumed from then on.
//!
//! A [`MachineSpec`] says which machine. [`Client::connect`] gives a conversation with the agent of that machine: with
//! the one that runs, or it starts the machine's supervisor, a process of its own that owns QEMU, relays channels
//! between clients and agent, and suspends the machine when nobody needs it. docs/formats/machine-state.md describes
//! the files of a machine.
//!
//! The supervisor and the start of QEMU are hidden sub-commands ([`SUPERVISE`], [`QEMU`]) of the program that
//! [`MachineSpec::program`] names: that program calls [`supervise`] and [`exec_qemu`] for them.

mod accelerator;
mod client;
mod command_line;
mod disk;
mod error;
mod instance;
mod json;
mod machine;
mod memory;
mod pair;
mod progress;
mod qemu;
mod qmp;
mod relay;
mod spec;
mod start;
mod stop;
mod supervisor;
mod template;

pub use client::{Client, Presence};
pub use error::Error;
pub use machine::exec_qemu;
pub use progress::Progress;
pub use spec::{Accelerator, BootFiles, MachineSpec, Place};
pub use stop::{clean, give_up};
pub use supervisor::supervise;

/// The hidden sub-command that runs [`supervise`].
pub const SUPERVISE: &str = "__supervise";

/// The hidden sub-command that runs [`exec_qemu`] with the words that follow it.
pub const QEMU: &str = "__qemu";
