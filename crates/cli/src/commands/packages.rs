//! Where packages come from, as this machine and the command line say it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use vcontainer_debian::{Event, Mirror, host};

use crate::output::{count, warn};

/// A directory of this program's below `variable`, else below `usual` in the home directory.
pub fn own_directory(variable: &str, usual: &str) -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    match absolute(variable) {
        Some(directory) => Ok(directory.join("vcontainer")),
        None => {
            let home = absolute("HOME").with_context(|| {
                format!(
                    "there is no home directory: set HOME, or name a directory by {variable} or an option"
                )
            })?;
            Ok(home.join(usual).join("vcontainer"))
        }
    }
}

/// The mirrors to try, in their order.
pub fn mirrors(given: Option<&str>) -> Result<Vec<Mirror>> {
    let mut mirrors = Vec::new();
    if let Some(address) = given.filter(|address| !address.is_empty()) {
        let origin = "given by --mirror or VCONTAINER_MIRROR".to_owned();
        mirrors.push(Mirror {
            address: address.to_owned(),
            origin,
        });
    }
    if let Some(address) = host::mirror()? {
        let same = |mirror: &Mirror| mirror.address.trim_end_matches('/') == address.trim_end_matches('/');
        if !mirrors.iter().any(same) {
            mirrors.push(Mirror {
                address,
                origin: "of this machine's apt".into(),
            });
        }
    }
    Ok(mirrors)
}

/// Tells people what is being done about packages; `say` is not called for what deserves attention in any case.
pub fn show(event: Event<'_>, say: impl FnOnce(String)) {
    say(match event {
        Event::OldLists(mirror, why) => {
            return warn(&format!(
                "the lists of packages are old ones of {}, for they cannot be fetched: {why}",
                mirror.address
            ));
        }
        Event::Waiting => "waiting for another program that fetches packages".into(),
        Event::Lists(mirror) => format!("packages from {} ({})", mirror.address, mirror.origin),
        Event::NotServed(mirror) => format!("{} doesn't serve them", mirror.address),
        Event::Needed(number) => format!("{} needed", count(number, "package")),
        Event::Fetching(name) => format!("fetching {name}"),
    });
}
