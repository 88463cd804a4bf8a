//! `cargo xtask man`: man pages and shell completions, made from the definitions that `--help` shows.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::Shell;
use vcontainer::engine::help::{self, Topic};
use vcontainer::engine::program::Tool;

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];
/// The one variable of the environment that stands for no option.
const TIME: &str =
    "SOURCE_DATE_EPOCH is the time of everything that has none of its own, in seconds since 1970";

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let target = e2e::cache::checkout().join("target");
    let (man, completions) = (target.join("man"), target.join("completions"));
    generate(&man, &completions)?;
    println!("man pages are in {}", man.display());
    println!("shell completions are in {}", completions.display());
    Ok(())
}

/// A command and all below it.
fn all(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().flat_map(all);
    std::iter::once(command).chain(below).collect()
}

/// Writes `vcontainer.1`, one page for each command, `vdkr.1` and `vpdmn.1` into `man`, and a file for each shell into `completions`.
fn generate(man: &Path, completions: &Path) -> Result<()> {
    for directory in [man, completions] {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    // Building gives the commands of this one their full names.
    let mut command = vcontainer::args::command().disable_help_subcommand(true);
    command.build();
    for described in all(&command) {
        let name = described.get_display_name().unwrap_or(described.get_name());
        let path = man.join(format!("{name}.1"));
        let mut page = Vec::new();
        // What comes after the options in `--help` is laid out by hand: filled as the generator does it, it is lost.
        clap_mangen::Man::new(described.clone().after_help(None::<&str>))
            .render(&mut page)
            .with_context(|| format!("making {}", path.display()))?;
        let variables: Vec<String> = described
            .get_arguments()
            .filter_map(|arg| Some((arg.get_env()?.to_str()?, arg.get_long()?)))
            .map(|(variable, option)| format!("{variable} is as good as --{option}"))
            .chain((name == "vcontainer-bundle").then(|| TIME.to_owned()))
            .collect();
        if !variables.is_empty() {
            page.extend(section("ENVIRONMENT", &variables.join("\n")).bytes());
        }
        if let Some(text) = described.get_after_help() {
            page.extend(section("NOTES", &text.to_string()).bytes());
        }
        fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    for tool in Tool::ALL {
        let path = man.join(format!("{}.1", tool.name()));
        fs::write(&path, tool_page(tool)).with_context(|| format!("writing {}", path.display()))?;
    }
    let name = command.get_name().to_owned();
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut vcontainer::args::command(), &name, completions)
            .with_context(|| format!("writing completions for {shell} into {}", completions.display()))?;
    }
    Ok(())
}

/// The page of `vdkr` or `vpdmn`: what its `--help` shows, and that of each of its own commands.
fn tool_page(tool: Tool) -> String {
    let name = tool.name();
    let text = help::text(Topic::Tool, tool);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let about = first.split_once(": ").map_or(first, |(_, about)| about);
    let mut page = format!(".TH {name} 1\n.SH NAME\n{name} \\- {about}\n");
    page.push_str(&section("SYNOPSIS AND OPTIONS", rest.trim_start()));
    for topic in Topic::OF_COMMANDS {
        let text = help::text(topic, tool);
        let command = text.split_whitespace().nth(2).unwrap_or_default().to_uppercase();
        page.push_str(&section(&command, &text));
    }
    page
}

/// A section of a man page whose lines are kept as they are.
fn section(title: &str, text: &str) -> String {
    let mut page = format!(".SH {title}\n.nf\n");
    for line in text.lines() {
        // Backslashes and hyphens mean something to roff, and so does a dot or a quote at the start of a line.
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        page.push_str(&format!("\\&{line}\n"));
    }
    page.push_str(".fi\n");
    page
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
            [
                "vcontainer-bundle.1",
                "vcontainer-fetch.1",
                "vcontainer-guest-build.1",
                "vcontainer-guest-list.1",
                "vcontainer-guest-pack.1",
                "vcontainer-guest.1",
                "vcontainer-inspect.1",
                "vcontainer-oci-build.1",
                "vcontainer-oci-cache-list.1",
                "vcontainer-oci-cache-lookup.1",
                "vcontainer-oci-cache-prune.1",
                "vcontainer-oci-cache-save.1",
                "vcontainer-oci-cache-verify.1",
                "vcontainer-oci-cache.1",
                "vcontainer-oci-diff.1",
                "vcontainer-oci-extract.1",
                "vcontainer-oci-index.1",
                "vcontainer-oci-inspect.1",
                "vcontainer-oci-layers.1",
                "vcontainer-oci-list.1",
                "vcontainer-oci-verify.1",
                "vcontainer-oci.1",
                "vcontainer.1",
                "vdkr.1",
                "vpdmn.1"
            ]
        );
        let names: Vec<&str> = completions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["_vcontainer", "vcontainer.bash", "vcontainer.fish"]);
        let mut command = vcontainer::args::command().disable_help_subcommand(true);
        command.build();
        // Those with commands below them have no options of their own.
        for sub in all(&command).into_iter().filter(|sub| !sub.has_subcommands()) {
            let page = format!("{}.1", sub.get_display_name().unwrap());
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
                let is_deep = sub.get_display_name().unwrap().matches('-').count() > 2;
                for (shell, text) in &completions {
                    // clap's generator for fish knows two levels of commands.
                    if is_deep && shell.ends_with(".fish") {
                        continue;
                    }
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
        for page in [
            "vcontainer.1",
            "vcontainer-bundle.1",
            "vcontainer-fetch.1",
            "vcontainer-guest.1",
            "vcontainer-guest-build.1",
            "vcontainer-guest-list.1",
            "vcontainer-guest-pack.1",
            "vcontainer-inspect.1",
            "vcontainer-oci.1",
            "vcontainer-oci-build.1",
            "vcontainer-oci-cache.1",
            "vcontainer-oci-cache-list.1",
            "vcontainer-oci-cache-lookup.1",
            "vcontainer-oci-cache-prune.1",
            "vcontainer-oci-cache-save.1",
            "vcontainer-oci-cache-verify.1",
            "vcontainer-oci-diff.1",
            "vcontainer-oci-extract.1",
            "vcontainer-oci-index.1",
            "vcontainer-oci-inspect.1",
            "vcontainer-oci-layers.1",
            "vcontainer-oci-list.1",
            "vcontainer-oci-verify.1",
            "vdkr.1",
            "vpdmn.1",
        ] {
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
