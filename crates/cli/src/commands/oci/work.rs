//! How far a build is, line by line on standard error. The lines about the cache are those that scripts know (user's
//! document, "Build Log Example").

use vcontainer_build::Event;

use crate::commands::packages;
use crate::output::{tell, warn};

/// Names of packages in one line.
const NAMED: usize = 8;

/// Shows an event; with `quiet` only those that deserve attention.
pub(super) fn show(event: Event<'_>, quiet: bool) {
    let say = |text: String| {
        if !quiet {
            tell(&format!("{text}\n"));
        }
    };
    match event {
        Event::Damaged(damage) => warn(&format!("{damage}: the layer is made again")),
        Event::NotSaved { layer, error } => {
            let mut text = format!("layer `{layer}` is not kept: {error}");
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            warn(&text);
        }
        Event::Scripts { layer, packages } => {
            let mut names = packages
                .iter()
                .take(NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            if packages.len() > NAMED {
                names.push_str(&format!(" and {} more", packages.len() - NAMED));
            }
            say(format!(
                "layer {layer}: maintainer scripts were not run (docs/guide/images.md tells what is missing then): {names}"
            ));
        }
        Event::Packages(event) => packages::show(event, say),
        Event::Hit { layer, key } => say(format!("OCI Cache HIT: Layer '{layer}' ({key})")),
        Event::Miss { layer, content } => {
            say(format!("OCI Cache MISS: Layer '{layer}' ({layer}:{content})"));
        }
        Event::Saving { layer, key } => say(format!("OCI Cache: Saving layer '{layer}' to cache ({key})")),
        Event::Done { layers: 0, .. } => {}
        Event::Done { layers, hits } => say(format!(
            "OCI: Pre-installed packages for {layers} layers (cache: {hits} hits, {} misses)",
            layers - hits
        )),
    }
}
