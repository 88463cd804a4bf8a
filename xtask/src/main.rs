//! The project's own commands. `make help` lists them for people; each target of the Makefile calls one.

mod agent;
mod bench;
mod check;
mod clean;
mod demo;
mod dependencies;
mod fuzz;
mod install;
mod man;
mod setup;
mod test;
mod workspace;
mod yocto;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One sub-command: its name, what it does in a line, and the function that does it.
struct Task {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// All sub-commands, in the order in which help shows them. A new one is a module and a line here.
const TASKS: &[Task] = &[
    Task {
        name: "setup",
        summary: "install the system packages that tests and demo need",
        run: setup::run,
    },
    Task {
        name: "demo",
        summary: "two aarch64 containers bundled into a Debian arm64 root filesystem, and run by real engines",
        run: demo::run,
    },
    Task {
        name: "check",
        summary: "formatting, clippy, dependencies, architecture",
        run: check::run,
    },
    Task {
        name: "test",
        summary: "every test; further words go to `cargo test`",
        run: test::run,
    },
    Task {
        name: "test-long",
        summary: "machines killed at fifty random moments (words go to that test), all suites of vdkr and vpdmn",
        run: test::long,
    },
    Task {
        name: "test-yocto",
        summary: "builds with the openembedded-core that OECORE_DIR names; further words go to pytest",
        run: yocto::run,
    },
    Task {
        name: "bench",
        summary: "comparisons of speed and memory; words choose among them",
        run: bench::run,
    },
    Task {
        name: "man",
        summary: "man pages and shell completions, into target/man and target/completions",
        run: man::run,
    },
    Task {
        name: "agent",
        summary: "the static agents of the guests, into target/share/vcontainer",
        run: agent::run,
    },
    Task {
        name: "fuzz",
        summary: "the fuzz targets (or the one named) for 60 seconds each (or as many as given)",
        run: fuzz::run,
    },
    Task {
        name: "install",
        summary: "the tool into PREFIX=DIR (below DESTDIR=DIR), with what it needs and its links",
        run: install::run,
    },
    Task {
        name: "clean",
        summary: "remove build output and caches",
        run: clean::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let (name, rest) = match arguments.split_first() {
        None => ("help", &[][..]),
        Some((name, rest)) => (name.as_str(), rest),
    };
    if matches!(name, "help" | "--help" | "-h") {
        for task in TASKS {
            println!("cargo xtask {:<10} {}", task.name, task.summary);
        }
        return Ok(());
    }
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(rest),
        None => bail!("there is no sub-command {name:?}; `cargo xtask help` lists them"),
    }
}
