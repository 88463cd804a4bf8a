//! The same odd tree through every sink, with nothing pretended but what fakeroot and pseudo pretend: into a directory
//! as root, under fakeroot and under pseudo as an ordinary user; into a tar stream that GNU tar, bsdtar, mksquashfs and
//! tar2sqfs read.
//!
//! A test that lacks a program or a privilege says so (`SKIPPED name: reason`) and passes; `make test` counts it among
//! those that were skipped.

#![allow(clippy::unwrap_used, clippy::panic)] // as in any test; the helpers here are outside of #[test] functions

mod directory;
mod file_systems;
mod odd_tree;
mod stream;

use std::path::Path;
use std::process::{Command, Output};

/// Compares line by line and shows what differs.
fn assert_same(got: &str, want: &str) {
    let (got, want): (Vec<_>, Vec<_>) = (got.lines().collect(), want.lines().collect());
    let more: Vec<_> = got.iter().filter(|line| !want.contains(line)).collect();
    let less: Vec<_> = want.iter().filter(|line| !got.contains(line)).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "got {more:#?} instead of {less:#?}"
    );
    assert_eq!(got.len(), want.len());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    found || Path::new("/usr/sbin").join(program).is_file()
}

fn skip(test: &str, reason: &str) {
    use std::io::Write as _;
    // Not by a macro, whose output the test harness keeps to itself.
    let line = format!("\nSKIPPED {test}: {reason}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}
