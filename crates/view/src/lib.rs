//! Images side by side: what is in them, what they share, how they differ, whether they are whole.
//!
//! [`describe`] says what one image is; [`layers`] what several have in common, and [`page`] draws that; [`diff`] tells two
//! apart down to their files; [`verify`] looks for faults. Nothing here prints or writes: results are values, with a form for
//! JSON. Images are taken to be hostile: layers are streams with [`Limits`], and their texts are passed on as they are, so that
//! whoever shows them must escape them (the page does).

pub mod describe;
pub mod diff;
mod error;
pub mod layers;
pub mod page;
mod read;
mod stacks;
#[cfg(test)]
mod tests;
pub mod verify;

pub use error::Error;
pub use read::{Limits, Measured, measure};
