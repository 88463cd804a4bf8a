//! The commands.

pub mod bundle;
pub mod inspect;
