//! `vcontainer`: puts containers into embedded Linux images at build time.
fn main() {}
