//! `vcontainer oci diff`.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use serde_json::Value;
use vcontainer_view::Limits;
use vcontainer_view::diff::{Change, Difference, FileDifference, diff};

use super::source;
use crate::args::{Format, OciDiff};
use crate::output::{Quiet, columns, json, print, visible};
use crate::progress::short;

/// Shows how two images differ.
///
/// # Errors
/// An image cannot be read; with `--exit-code` also when they differ.
pub fn run(args: &OciDiff) -> Result<()> {
    let a = source::image_for(&args.a, args.arch.as_deref())?;
    let b = source::image_for(&args.b, args.arch.as_deref())?;
    let found = diff(&a, &b, Limits::default(), &args.temp_dir).context("the images cannot be compared")?;
    print(&match args.format {
        Format::Table => table(&found),
        Format::Json => json(&found)?,
    })?;
    match args.exit_code && !found.is_empty() {
        true => Err(Quiet.into()),
        false => Ok(()),
    }
}

fn table(found: &Difference) -> String {
    if found.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut parts = Vec::new();
    if !found.settings.is_empty() {
        let mut rows = vec![["SETTING", "A", "B"].map(String::from).to_vec()];
        rows.extend(
            found
                .settings
                .iter()
                .map(|setting| vec![visible(&setting.field), shown(&setting.a), shown(&setting.b)]),
        );
        parts.push(columns(&rows));
    }
    let layers = &found.layers;
    if !layers.only_a.is_empty() || !layers.only_b.is_empty() {
        let mut rows = vec![["LAYER", "IN"].map(String::from).to_vec()];
        let all = [
            (&layers.both, "both"),
            (&layers.only_a, "A"),
            (&layers.only_b, "B"),
        ];
        for (digests, place) in all {
            rows.extend(
                digests
                    .iter()
                    .map(|digest| vec![short(&digest.hex()).to_owned(), place.to_owned()]),
            );
        }
        parts.push(columns(&rows));
    }
    if !found.files.is_empty() {
        let mut rows = vec![["", "FILE", "CHANGED"].map(String::from).to_vec()];
        rows.extend(found.files.iter().map(file));
        parts.push(columns(&rows));
    }
    parts.join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}

fn file(file: &FileDifference) -> Vec<String> {
    let sign = match file.change {
        Change::Added => "+",
        Change::Removed => "-",
        Change::Changed => "~",
    };
    let what: Vec<String> = file
        .what
        .iter()
        .map(|what| format!("{what:?}").to_lowercase())
        .collect();
    vec![sign.to_owned(), visible(&file.path), list(&what)]
}

fn list(items: &[impl Display]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
