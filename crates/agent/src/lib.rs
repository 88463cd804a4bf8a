//! The agent: PID 1 of a guest. It boots the guest, starts the engine's services, and does what the host asks.
//!
//! What a guest is made of is data (`/etc/vcontainer/guest.conf`, read by [`config`]); no engine is known by name.
//! [`serve()`](serve::serve) needs no guest: tests call it over a socket pair.

pub mod boot;
pub mod children;
pub mod config;
pub mod disk;
pub mod engine;
pub mod exec;
pub mod failure;
pub mod kernel_log;
pub mod network;
pub mod port;
pub mod power;
pub mod serve;
pub mod status;
pub mod terminal;
pub mod tunnel;
pub mod wake;

pub use serve::{Agent, serve};
