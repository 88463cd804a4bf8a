//! What the words on the command line, the environment and the configuration ask for cannot be.

use anyhow::Result;
use e2e::trials::Trials;

use crate::bench::{Bench, HELP, error};

pub fn add(trials: &mut Trials) {
    trials.anywhere("options::an_unknown_architecture", architecture);
    trials.anywhere("options::words_that_mean_nothing", words);
    trials.anywhere("options::a_shell_without_a_machine", shell);
}

fn architecture() -> Result<()> {
    let bench = Bench::new()?;
    let person = &bench.person;
    let known = "`vax` is no architecture of a machine: use aarch64 or x86_64";
    bench.fails(
        person.command("vdkr").args(["-a", "vax", "images"]),
        1,
        &(error("the value of `-a` cannot be used", &[known]) + HELP),
    )?;
    bench.fails(
        person.command("vdkr").arg("images").env("VDKR_ARCH", "vax"),
        1,
        &error("VDKR_ARCH cannot be used", &[known]),
    )?;
    for name in ["home/.config", "home/.config/vdkr"] {
        person.directory(name)?;
    }
    let file = person.write("home/.config/vdkr/arch", "vax\n")?;
    bench.fails(
        person.command("vdkr").arg("images"),
        1,
        &error(
            &format!("cannot use the configuration `{}`", file.display()),
            &[known],
        ),
    )?;
    let file = person.write("home/.config/vdkr/config", "# mine\narch=vax\n")?;
    bench.fails(
        person.command("vdkr").arg("images"),
        1,
        &error(
            &format!("cannot use the configuration `{}`", file.display()),
            &["line 2", known],
        ),
    )
}

fn words() -> Result<()> {
    let bench = Bench::new()?;
    for (words, what) in [
        (
            &["--frob", "images"][..],
            "`--frob` is no option of this tool: `--help` lists them. Options of the engine come after its command, or \
             after `--`",
        ),
        (&["--state-dir"], "`--state-dir` needs a value"),
        (&["--stateless=yes", "images"], "`--stateless` takes no value"),
        (&["--memory", "1", "images"], ""),
        (
            &["vmemres", "begin"],
            "Unknown memres subcommand `begin`: use start, stop, restart, status or list",
        ),
        (
            &["vimport"],
            "`vimport` needs what to import: vimport PATH [NAME:TAG]",
        ),
        (&["clean", "all"], "`all` is one word too many for `clean`"),
        (
            &["--registry", "x", "images"],
            "`--registry` is not possible yet: a later version brings it",
        ),
    ] {
        let expected = match words[0] {
            "--memory" => error(
                "the value of `--memory` cannot be used",
                &["`1` is less than a megabyte: give a unit, such as 2G"],
            ),
            _ => error(what, &[]),
        };
        bench.refused(words, &(expected + HELP))?;
    }
    for (words, what) in [
        (
            &["--stateless", "--state-dir", "x", "images"][..],
            "--stateless leaves nothing behind, and --state-dir and --instance say where: give only one of them",
        ),
        (
            &["--input-storage", "x", "-I", "y", "images"],
            "--input-storage makes a machine of its own: it cannot be given with --state-dir or --instance",
        ),
        (
            &["--stateless", "clean"],
            "a machine that leaves nothing behind (--stateless, --input-storage) has no state to speak of",
        ),
        (
            &["--memory", "255M", "images"],
            "--memory is too small: a machine needs 256 MiB at least",
        ),
        (
            &["--disk", "1M", "images"],
            "--disk is too small: a machine needs 256 MiB at least",
        ),
        (
            &["--memory", "8000T", "images"],
            "8388608000 MiB of memory are more than a machine can have: see --memory",
        ),
    ] {
        bench.refused(words, &error(what, &[]))?;
    }
    Ok(())
}

fn shell() -> Result<()> {
    let bench = Bench::new()?;
    bench.refused(
        &["vshell"],
        &error(
            "the machine is not up: start it with `vdkr vmemres start` and try again",
            &[],
        ),
    )
}
