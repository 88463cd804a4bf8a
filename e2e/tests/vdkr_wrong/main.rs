//! `vdkr` and `vpdmn` with everything wrong that can be: one clear error, nothing lost.

mod bench;
mod files;
mod guests;
mod images;
mod inside;
mod options;
mod places;
mod programs;

use std::process::ExitCode;

use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    options::add(&mut trials);
    guests::add(&mut trials);
    programs::add(&mut trials);
    places::add(&mut trials);
    files::add(&mut trials);
    images::add(&mut trials);
    inside::add(&mut trials);
    trials.run()
}
