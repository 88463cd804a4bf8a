//! `vcontainer oci inspect`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use vcontainer_view::describe::{Configuration, Description, Step, describe};

use super::source;
use crate::args::{Format, OciInspect};
use crate::output::{bytes, columns, count, json, print, visible};
use crate::progress::short;

/// Shows what the images of a source are.
///
/// # Errors
/// There is none, or it is damaged.
pub fn run(args: &OciInspect) -> Result<()> {
    let images = source::images_for(&args.image, args.arch.as_deref())?;
    let described = images
        .iter()
        .map(describe)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("`{}` cannot be used", args.image.display()))?;
    print(&match args.format {
        Format::Table => described.iter().map(table).collect::<Vec<_>>().join("\n"),
        Format::Json => json(&described)?,
    })
}

fn table(image: &Description) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), visible(&value)]);
    row("Platform", image.platform.clone());
    row("Tag", or_none(image.tags.join(", ")));
    row("Manifest", image.digest.to_string());
    row("Media type", image.media_type.clone());
    if let Some(index) = &image.index {
        row("Index", index.to_string());
    }
    row("Created", or_none(image.created.clone().unwrap_or_default()));
    row("Author", or_none(image.author.clone()));
    for (name, value) in settings(&image.configuration) {
        row(name, value);
    }
    for (name, value) in pairs(&image.annotations) {
        row("Annotation", format!("{name}={value}"));
    }
    let layers = image.history.iter().filter(|step| step.layer.is_some()).count();
    row(
        "Size",
        format!("{} in {}", bytes(image.size), count(layers, "layer")),
    );
    let mut history = vec![
        ["LAYER", "CONTENT", "SIZE", "TYPE", "MADE BY"]
            .map(String::from)
            .to_vec(),
    ];
    history.extend(image.history.iter().map(step));
    format!("{}\n{}", columns(&rows), columns(&history))
}

fn or_none(text: String) -> String {
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

fn pairs(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    map.iter()
}

/// What is set, with a line each for what there may be several of.
fn settings(configuration: &Configuration) -> Vec<(&'static str, String)> {
    let words = |words: &[String]| match words.is_empty() {
        true => "-".to_owned(),
        false => serde_json::json!(words).to_string(),
    };
    let mut settings = vec![
        ("Configuration", configuration.digest.to_string()),
        ("Entrypoint", words(&configuration.entrypoint)),
        ("Command", words(&configuration.cmd)),
        ("User", or_none(configuration.user.clone())),
        ("Directory", or_none(configuration.working_dir.clone())),
        (
            "Stop signal",
            or_none(configuration.stop_signal.clone().unwrap_or_default()),
        ),
    ];
    settings.extend(configuration.env.iter().map(|env| ("Environment", env.clone())));
    settings.extend(configuration.ports.iter().map(|port| ("Port", port.clone())));
    settings.extend(
        configuration
            .volumes
            .iter()
            .map(|volume| ("Volume", volume.clone())),
    );
    let labels = pairs(&configuration.labels).map(|(name, value)| ("Label", format!("{name}={value}")));
    settings.extend(labels);
    if let Some(check) = &configuration.healthcheck {
        settings.push(("Healthcheck", check.to_string()));
    }
    let other = configuration.other.iter();
    settings.extend(other.map(|(name, value)| ("Other", format!("{name}={value}"))));
    settings
}

fn step(step: &Step) -> Vec<String> {
    let made_by = match (step.created_by.is_empty(), step.comment.is_empty()) {
        (true, _) => or_none(step.comment.clone()),
        (false, true) => step.created_by.clone(),
        (false, false) => format!("{} ({})", step.created_by, step.comment),
    };
    let made_by = visible(&made_by);
    match &step.layer {
        None => ["-", "-", "-", "-", &made_by].map(str::to_owned).to_vec(),
        Some(layer) => vec![
            short(&layer.digest.hex()).to_owned(),
            short(&layer.diff_id.0.hex()).to_owned(),
            bytes(layer.size),
            visible(kind(&layer.media_type)),
            made_by,
        ],
    }
}

/// The part of a media type that tells layers apart.
fn kind(media_type: &str) -> &str {
    let known = [
        "application/vnd.oci.image.layer.v1.",
        "application/vnd.docker.image.rootfs.diff.",
    ];
    let rest = known.iter().find_map(|start| media_type.strip_prefix(start));
    rest.unwrap_or(media_type)
}
