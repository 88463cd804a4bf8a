//! Where tests and demo take Debian packages from.

use anyhow::{Context, Result};
use vcontainer_debian::host;

/// The Debian mirror to take packages from: `VCONTAINER_MIRROR`, else the one that this machine's apt uses.
///
/// # Errors
/// Neither names one, as on a machine that isn't Debian.
pub fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("VCONTAINER_MIRROR")
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    host::mirror()?
        .context("this machine's apt has no Debian mirror: set VCONTAINER_MIRROR to the address of one")
}

/// Options of this machine's apt about fetching, for an apt that works elsewhere, in the syntax of apt.conf.
///
/// # Errors
/// apt is missing or broken.
pub fn fetch_options() -> Result<Vec<String>> {
    Ok(host::fetch_options()?)
}
