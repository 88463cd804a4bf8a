//! `vcontainer oci verify`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use vcontainer_view::Limits;
use vcontainer_view::verify::{Verified, verify};

use crate::args::{Format, OciVerify};
use crate::output::{count, json, print, visible};

/// What was found at a path. This is the form of `--format json` (an array of these).
#[derive(Debug, Serialize)]
struct OfLayout {
    /// Where the layout is.
    path: PathBuf,
    /// What was found.
    #[serde(flatten)]
    found: Verified,
}

/// Looks for faults in layouts.
///
/// # Errors
/// There is one, or something is no layout.
pub fn run(args: &OciVerify) -> Result<()> {
    let mut all = Vec::new();
    for path in &args.layouts {
        let found = verify(path, Limits::default())
            .with_context(|| format!("`{}` cannot be verified", path.display()))?;
        all.push(OfLayout {
            path: path.clone(),
            found,
        });
    }
    print(&match args.format {
        Format::Table => all.iter().map(lines).collect::<String>(),
        Format::Json => json(&all)?,
    })?;
    match all.iter().map(|layout| layout.found.findings.len()).sum() {
        0 => Ok(()),
        findings => bail!(
            "{} found: build or copy what is damaged again",
            count(findings, "fault")
        ),
    }
}

fn lines(layout: &OfLayout) -> String {
    let path = layout.path.display();
    let mut text = String::new();
    let mut line = |of: &str, what: &str| text.push_str(&format!("{path}: {of}{}\n", visible(what)));
    for finding in &layout.found.findings {
        let image = layout
            .found
            .images
            .iter()
            .find(|image| Some(image.digest) == finding.image);
        let of = match image {
            Some(image) if !image.platform.is_empty() => visible(&format!("{}: ", image.platform)),
            _ => String::new(),
        };
        line(&of, &format!("{}: {}", finding.what, finding.fault));
    }
    for note in &layout.found.notes {
        line("note: ", note);
    }
    for image in layout.found.images.iter().filter(|image| image.ok) {
        let tags = match image.tags.is_empty() {
            true => String::new(),
            false => format!(" ({})", image.tags.join(", ")),
        };
        let layers = count(image.layers, "layer");
        line(
            "",
            &format!("{}{tags} {}: {layers}, ok", image.platform, image.digest),
        );
    }
    text
}
