//! The same definition gives the same bytes: in two directories, by two people, at once, with one thread and with two, today and
//! in ten years.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use anyhow::{Context, Result, ensure};
use e2e::person::Person;
use e2e::tree::{self, Tree};

use crate::content;

pub fn whoever_builds() -> Result<()> {
    let people = [Person::new()?, Person::new()?];
    let built: Vec<Vec<Tree>> = thread::scope(|scope| {
        let builders: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(number, person)| scope.spawn(move || builds(person, number)))
            .collect();
        builders
            .into_iter()
            .map(|builder| builder.join().ok().context("a builder panicked")?)
            .collect::<Result<_>>()
    })?;
    // The kind of a file has its digest.
    let files = |tree: &Tree| -> Vec<(String, String)> {
        tree.iter()
            .map(|(path, entry)| (path.clone(), entry.kind.clone()))
            .collect()
    };
    let all: BTreeSet<_> = built.iter().flatten().map(files).collect();
    ensure!(all.len() == 1, "{all:#?}");
    Ok(())
}

/// Two builds, with one thread and with two.
fn builds(person: &Person, number: usize) -> Result<Vec<Tree>> {
    // More than one block of what is compressed at a time.
    let program: Vec<u8> = (0..3_000_000u32)
        .flat_map(|word| (word / 7).to_le_bytes())
        .collect();
    person.write("work/base.tar", content::base(&program))?;
    person.write("work/app.tar", content::app())?;
    let mut trees = Vec::new();
    for threads in ["1", "2"] {
        let output = format!("somewhere-{number}-{threads}");
        for (rootfs, words) in [
            ("base.tar", &["base"][..]),
            (
                "app.tar",
                &["--base", "base", "--layer", "app:directories:/opt", "app"][..],
            ),
        ] {
            // What a build takes for today.
            let (time, program) = match number {
                0 => ("env", &["vcontainer"][..]),
                _ => ("faketime", &["2036-02-29 12:00:00", "vcontainer"][..]),
            };
            person
                .command(time)
                .args(program)
                .args([
                    "oci",
                    "build",
                    "--arch",
                    "aarch64",
                    "--quiet",
                    "--tar",
                    "--no-layer-cache",
                    "--threads",
                    threads,
                    "--output",
                    &output,
                ])
                .args(["--rootfs", rootfs])
                .args(words)
                .output()?;
        }
        let path = person.path(format!("work/{output}"));
        trees.push(tree::read(&path)?);
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(trees)
}
