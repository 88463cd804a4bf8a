//! `vcontainer oci extract`.

use std::slice;

use anyhow::{Context as _, Result, bail};
use vcontainer_build::index::{self, Form};
use vcontainer_image::{Image, Platform, list_whole_layout};

use super::{naming, source};
use crate::args::OciExtract;
use crate::output::{count, print, visible};

/// Takes the image of one platform out of a layout.
///
/// # Errors
/// It is not there, or nothing can be written.
pub fn run(args: &OciExtract) -> Result<()> {
    let (name, tag) = naming::name_and_tag(&args.name)?;
    let platform = Platform::for_machine(&args.arch)
        .context("--arch cannot be used")?
        .with_variant(args.variant.as_deref());
    let images = source::images(&args.layout, list_whole_layout)?;
    let image = choose(args, &images, &platform)?;
    let target = naming::layout(&args.output, name, tag);
    index::write(slice::from_ref(image), Form::Flat, tag, &target)
        .with_context(|| format!("`{}` cannot be made", target.display()))?;
    naming::link_latest(&args.output, name, tag)?;
    if args.quiet {
        return Ok(());
    }
    print(&format!(
        "{} ({platform}): {}\n{}\n",
        target.display(),
        count(image.layers.len(), "layer"),
        image.manifest.digest
    ))
}

fn choose<'a>(args: &OciExtract, images: &'a [Image], platform: &Platform) -> Result<&'a Image> {
    let layout = args.layout.display();
    let called = |image: &&Image| match &args.select {
        None => true,
        Some(wanted) => image.tags.contains(wanted) || image.manifest.digest.to_string() == *wanted,
    };
    let fitting: Vec<&Image> = images
        .iter()
        .filter(|image| image.platform == *platform)
        .filter(called)
        .collect();
    match fitting.as_slice() {
        [image] => Ok(image),
        [] => {
            let there = images.iter().map(source::label).collect::<Vec<_>>().join(", ");
            let called = match &args.select {
                Some(wanted) => format!(" called `{wanted}`"),
                None => String::new(),
            };
            bail!("`{layout}` has no image for {platform}{called}, only: {there}")
        }
        several => {
            let which = several
                .iter()
                .map(|image| format!("{} ({})", image.manifest.digest, visible(&image.tags.join(", "))))
                .collect::<Vec<_>>()
                .join(", ");
            bail!("`{layout}` has several images for {platform}, choose one with --select: {which}")
        }
    }
}
