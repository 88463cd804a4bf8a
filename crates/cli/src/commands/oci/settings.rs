//! How the image that is built is run: options, before what the file says.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use vcontainer_build::config::{Healthcheck, Settings};
use vcontainer_build::file::{ImageFile, Words};
use vcontainer_image::Timestamp;

use crate::args::RunArgs;

/// The settings; `epoch` is `SOURCE_DATE_EPOCH`.
pub(super) fn settings(args: &RunArgs, file: &ImageFile, epoch: Option<Timestamp>) -> Result<Settings> {
    let text = |option: &Option<String>, file: &Option<String>| option.clone().or_else(|| file.clone());
    let arguments = words("--entrypoint-args", args.entrypoint_args.as_ref())?;
    let cmd = match arguments {
        Some(arguments) => Some(arguments),
        None => either("--cmd", args.cmd.as_ref(), "cmd", file.cmd.as_ref())?,
    };
    // What the command line says comes behind, and so takes the place of what the file says.
    let mut labels = auto_labels(args, epoch);
    labels.extend(file.labels.clone());
    labels.extend(args.label.iter().cloned());
    let mut env: Vec<(String, String)> = file.env.clone().into_iter().collect();
    env.extend(args.env.iter().cloned());
    Ok(Settings {
        entrypoint: either(
            "--entrypoint",
            args.entrypoint.as_ref(),
            "entrypoint",
            file.entrypoint.as_ref(),
        )?,
        cmd,
        env,
        labels: labels.into_iter().collect(),
        user: text(&args.user, &file.user),
        working_dir: text(&args.working_dir, &file.working_dir),
        stop_signal: text(&args.stop_signal, &file.stop_signal),
        ports: file
            .ports()?
            .into_iter()
            .chain(args.port.iter().cloned())
            .collect(),
        volumes: file.volumes.iter().chain(&args.volume).cloned().collect(),
        healthcheck: healthcheck(args, file)?,
        author: text(&args.author, &file.author),
    })
}

fn words(option: &str, text: Option<&String>) -> Result<Option<Vec<String>>> {
    text.map(|text| {
        shlex::split(text).with_context(|| format!("{option} `{text}` has a quote that is not closed"))
    })
    .transpose()
}

/// The words of an option, else those of the file.
fn either(
    option: &str,
    given: Option<&String>,
    key: &str,
    file: Option<&Words>,
) -> Result<Option<Vec<String>>> {
    match (given, file) {
        (None, Some(Words::List(list))) => Ok(Some(list.clone())),
        (None, Some(Words::Text(text))) => words(&format!("`{key}`"), Some(text)),
        (given, _) => words(option, given),
    }
}

fn healthcheck(args: &RunArgs, file: &ImageFile) -> Result<Option<Healthcheck>> {
    if args.no_healthcheck {
        return Ok(Some(Healthcheck {
            test: vec!["NONE".into()],
            ..Healthcheck::default()
        }));
    }
    let Some(command) = &args.health_cmd else {
        return Ok(file.healthcheck()?);
    };
    Ok(Some(Healthcheck {
        test: vec!["CMD-SHELL".into(), command.clone()],
        interval: args.health_interval.unwrap_or(0),
        timeout: args.health_timeout.unwrap_or(0),
        start_period: args.health_start_period.unwrap_or(0),
        retries: args.health_retries.unwrap_or(0),
    }))
}

/// Labels of the image-spec (`annotations.md`) about where an image comes from.
fn auto_labels(args: &RunArgs, epoch: Option<Timestamp>) -> Vec<(String, String)> {
    let of_git = |words: &[&str]| args.auto_labels.then(|| git(words)).flatten();
    let wanted = |given: &Option<String>, words: &[&str]| match given.as_deref() {
        Some("none" | "") => None,
        Some(text) => Some(text.to_owned()),
        None => of_git(words),
    };
    let revision = wanted(&args.revision, &["rev-parse", "--short", "HEAD"]);
    let branch = wanted(&args.branch, &["symbolic-ref", "--short", "--quiet", "HEAD"]);
    let created = args.auto_labels.then_some(epoch).flatten();
    [
        ("revision", revision),
        ("ref.name", branch),
        ("created", created.map(|time| time.rfc3339())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((format!("org.opencontainers.image.{name}"), value?)))
    .collect()
}

/// What git says about this directory; nothing where there is no git, or no repository.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
