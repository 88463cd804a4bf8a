//! `vcontainer oci index`.

use anyhow::{Context as _, Result};
use vcontainer_build::index::{self, Form};
use vcontainer_image::list_whole_layout;

use super::{naming, source};
use crate::args::OciIndex;
use crate::output::{columns, count, print, visible};

/// Makes one image of several.
///
/// # Errors
/// A layout cannot be used, two images are for one platform, or nothing can be written.
pub fn run(args: &OciIndex) -> Result<()> {
    let (name, tag) = naming::name_and_tag(&args.name)?;
    let target = naming::place(&args.output, name, tag, args.layout_name.as_deref())?;
    let mut images = Vec::new();
    for layout in &args.layouts {
        images.extend(source::images(layout, list_whole_layout)?);
    }
    let form = match args.flat {
        true => Form::Flat,
        false => Form::Nested,
    };
    index::write(&images, form, tag, &target)
        .with_context(|| format!("`{}` cannot be made", target.display()))?;
    if args.layout_name.is_none() {
        naming::link_latest(&args.output, name, tag)?;
    }
    if args.quiet {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = images
        .iter()
        .map(|image| {
            let platform = visible(&image.platform.to_string());
            vec![format!("  {platform}"), image.manifest.digest.to_string()]
        })
        .collect();
    print(&format!(
        "{}: {}\n{}",
        target.display(),
        count(images.len(), "platform"),
        columns(&rows)
    ))
}
