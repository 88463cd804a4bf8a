//! The commands.

pub mod bundle;
pub mod fetch;
pub mod guest;
pub mod inspect;
pub mod oci;
mod packages;
