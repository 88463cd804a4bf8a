//! Image sources, read as a user would give them: every form, and every way in which one can be wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod faults;
mod fixture;
mod forms;
mod layouts;
