//! `vcontainer-agent`: PID 1 of the guest. Boots it and runs commands for the host.

fn main() {}
