//! The project's own commands: set-up, checks, oracles, demo, benchmarks.
fn main() {}
