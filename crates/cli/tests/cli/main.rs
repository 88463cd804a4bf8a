//! The built program, run as its users run it: what it writes, what it says, how it exits.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundle;
mod docs;
mod engine;
mod fetch;
mod fixture;
// One reader of pages for all that run them.
#[path = "../../../../e2e/src/guide.rs"]
mod guide;
mod inspect;
mod oci_build;
mod oci_feed;
mod oci_labels;
mod oci_mirror;
mod oci_tools;
mod wrong_input;
