//! What the host and the agent in the guest say to each other.
//!
//! One ordered byte stream (a virtio-serial port, or the unix socket of a machine's supervisor) carries many channels.
//! A channel starts with a [`Request`] and ends with a [`Reply`]; in between flow bytes, in both directions and each
//! within its window, so that one channel that nobody reads never holds up another. docs/formats/wire.md is the
//! format; [`message`] are its words.
//!
//! This crate opens nothing and knows no system call: it works on whatever `Read` and `Write` it is given.

mod channel;
mod error;
pub mod flow;
pub mod frame;
pub mod message;
mod mux;
mod outbox;

pub use channel::{Channel, Event, Receiver, Sender};
pub use error::Error;
pub use frame::Side;
pub use message::{Address, Control, Exec, ExitStatus, Failure, Reply, Request, Size, Status, Stream, Wake};
pub use mux::{Incoming, Mux};

/// The version of this protocol. Both sides say theirs first and refuse any other: host and guest files that do not
/// fit are made anew, never guessed at.
pub const VERSION: u32 = 1;
