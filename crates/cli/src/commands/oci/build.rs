//! `vcontainer oci build`.

use std::path::Path;

use anyhow::{Context, Result};
use vcontainer_build::{Built, archive};
use vcontainer_image::Platform;

use super::naming::{layout, link, name_and_tag, place};
use super::request::Prepared;
use super::settings::settings;
use super::work;
use crate::args::OciBuild;
use crate::interruption::Interruption;
use crate::output::{bytes, columns, count, print};
use crate::settings::given_source_date_epoch;

/// Builds an image.
///
/// # Errors
/// See [`vcontainer_build::Error`].
pub fn run(args: &OciBuild) -> Result<()> {
    let (name, tag) = name_and_tag(&args.name)?;
    let prepared = Prepared::new(&args.layers)?;
    let settings = settings(&args.run, &prepared.file, given_source_date_epoch()?)?;
    let mut annotations = prepared.file.annotations.clone();
    annotations.extend(args.run.annotation.iter().cloned());
    let output = &args.layers.output;
    let target = place(output, name, tag, args.layout_name.as_deref())?;
    let interruption = Interruption::watch()?;
    let is_given_up = || interruption.signal().is_some();
    let request = prepared.request(&settings, tag, &annotations, &target, &is_given_up);
    let built = interruption.while_writing(|| {
        vcontainer_build::build(&request, &mut |event| work::show(event, args.quiet))
            .with_context(|| format!("`{}` cannot be built", target.display()))
    })?;
    let in_folder = |suffix: &str| format!("{name}-{tag}-{suffix}");
    if let Some(own) = args
        .layout_name
        .as_ref()
        .filter(|_| target != layout(output, name, tag))
    {
        link(output, &in_folder("oci"), own)?;
    }
    let mut suffixes = vec!["oci"];
    if args.tar {
        let directory = in_folder("oci");
        for (suffix, inside) in [("oci.tar", None), ("oci-dir.tar", Some(directory.as_str()))] {
            let file = output.join(in_folder(suffix));
            archive::write(&target, inside, prepared.times, &file)
                .with_context(|| format!("`{}` cannot be written", file.display()))?;
            suffixes.push(suffix);
        }
    }
    if tag != "latest" {
        for suffix in suffixes {
            link(output, &format!("{name}-latest-{suffix}"), &in_folder(suffix))?;
        }
    }
    if args.quiet {
        return Ok(());
    }
    show(&target, &prepared.platform, &built)
}

fn show(target: &Path, platform: &Platform, built: &Built) -> Result<()> {
    let rows: Vec<Vec<String>> = built
        .layers
        .iter()
        .map(|layer| {
            vec![
                format!("  {}", layer.name.as_deref().unwrap_or("(base)")),
                bytes(layer.size),
                layer
                    .objects
                    .map_or_else(String::new, |objects| count(objects, "object")),
                layer.digest.to_string(),
                match layer.is_cached {
                    true => "cached".into(),
                    false => String::new(),
                },
            ]
        })
        .collect();
    print(&format!(
        "{} ({platform}): {}\n{}\n{}",
        target.display(),
        count(built.layers.len(), "layer"),
        built.manifest,
        columns(&rows)
    ))
}
