//! The built program as a user meets it: an ordinary user, root, one who pretends to be root; with everything that can
//! be wrong, killed at any moment, and twice.

mod alter;
mod bench;
mod interrupted;
mod pretended;
mod repeated;
mod unprivileged;
mod who;
mod wrong_images;
mod wrong_layers;
mod wrong_requests;
mod wrong_targets;

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    unprivileged::add(&mut trials);
    pretended::add(&mut trials);
    wrong_images::add(&mut trials);
    wrong_layers::add(&mut trials);
    wrong_requests::add(&mut trials);
    wrong_targets::add(&mut trials);
    interrupted::add(&mut trials);
    repeated::add(&mut trials);
    trials.run()
}
