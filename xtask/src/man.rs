//! `cargo xtask man`: man pages and shell completions, made from the definitions that `--help` shows.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::Shell;

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let target = e2e::cache::checkout().join("target");
    let (man, completions) = (target.join("man"), target.join("completions"));
    generate(&man, &completions)?;
    println!("man pages are in {}", man.display());
    println!("shell completions are in {}", completions.display());
    Ok(())
}

/// Writes `vcontainer.1` and one page for each command into `man`, and a file for each shell into `completions`.
fn generate(man: &Path, completions: &Path) -> Result<()> {
    for directory in [man, completions] {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let command = vcontainer::args::command();
    let name = command.get_name().to_owned();
    clap_mangen::generate_to(command.clone(), man)
        .with_context(|| format!("writing man pages into {}", man.display()))?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command.clone(), &name, completions)
            .with_context(|| format!("writing completions for {shell} into {}", completions.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The content of every file in a directory.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    /// Whether an option stands in a text, not only as the start of a longer one.
    fn mentions(text: &str, option: &str) -> bool {
        text.match_indices(option).any(|(at, _)| {
            !text[at + option.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
        })
    }

    #[test]
    fn every_option_of_every_command_is_mentioned() {
        let directory = tempfile::tempdir().unwrap();
        let (man, completions) = (directory.path().join("man"), directory.path().join("completions"));
        generate(&man, &completions).unwrap();
        let (pages, completions) = (files(&man), files(&completions));
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["vcontainer-bundle.1", "vcontainer-inspect.1", "vcontainer.1"]
        );
        let names: Vec<&str> = completions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["_vcontainer", "vcontainer.bash", "vcontainer.fish"]);
        let command = vcontainer::args::command();
        for sub in command.get_subcommands() {
            let page = format!("vcontainer-{}.1", sub.get_name());
            let (_, page) = pages.iter().find(|(name, _)| *name == page).unwrap();
            // roff writes a hyphen that is no place to break a line as `\-`.
            let page = page.replace("\\-", "-");
            let options: Vec<&str> = sub.get_arguments().filter_map(|arg| arg.get_long()).collect();
            assert!(!options.is_empty());
            for option in options {
                assert!(
                    mentions(&page, &format!("--{option}")),
                    "no --{option} in:\n{page}"
                );
                for (shell, text) in &completions {
                    // fish writes `-l rootfs`.
                    let known =
                        mentions(text, &format!("--{option}")) || mentions(text, &format!("-l {option}"));
                    assert!(known, "no --{option} in {shell}");
                }
            }
        }
    }

    #[test]
    fn the_pages_are_clean_roff() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path(), &directory.path().join("completions")).unwrap();
        for page in ["vcontainer.1", "vcontainer-bundle.1", "vcontainer-inspect.1"] {
            let judged = Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .arg(directory.path().join(page))
                .output();
            match judged {
                Err(_) => eprintln!("skipped: this machine has no groff"),
                Ok(judged) => {
                    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
                    assert!(judged.status.success() && said.is_empty(), "{page}: {said}");
                }
            }
        }
    }
}
