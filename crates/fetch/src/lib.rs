//! Fetches images from registries by digest: verified on arrival and on use, kept in a cache, resumed where it was cut.
//!
//! [`fetch`] goes from a pinned [`Reference`](vcontainer_image::Reference) to an OCI layout, [`resolve`] from a tag to a
//! digest. HTTP and TLS are `ureq`'s and `rustls`'s; what a registry is asked, and what is made of its answers, is here,
//! because the field's own client (`oci-client` 0.18) reads manifests, tokens and errors without a limit, drops
//! `Retry-After`, and knows no identity tokens: every byte of a registry is taken to be hostile here, and a build must
//! survive a busy one.
//!
//! This crate never prints and never reads the environment.

pub mod address;
mod cache;
pub mod challenge;
pub mod credentials;
mod download;
mod error;
mod event;
mod fault;
mod fetch;
mod http;
mod layout;
pub mod place;
pub mod proxy;
mod registry;
pub mod retry;
mod select;
#[cfg(test)]
mod tests;
mod token;
pub mod trust;

pub use error::Error;
pub use event::{Event, Observer};
pub use fault::Fault;
pub use fetch::{Fetched, Request, fetch, resolve};
pub use http::Timeouts;
pub use registry::Network;
