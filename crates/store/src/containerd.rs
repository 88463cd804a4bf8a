//! The containerd image store: Docker's own store since version 29.

mod metadata;
mod snapshots;
mod value;

#[cfg(test)]
mod tests;
