//! Where things live that are slow to make: `.cache` of the checkout, or the directory in `VCONTAINER_CACHE`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of this checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The cache directory (absolute; it may not exist yet).
///
/// # Errors
/// The current directory cannot be read, so that a relative `VCONTAINER_CACHE` has no meaning.
pub fn directory() -> Result<PathBuf> {
    match std::env::var_os("VCONTAINER_CACHE") {
        Some(path) if !path.is_empty() => std::path::absolute(path).context("reading VCONTAINER_CACHE"),
        _ => Ok(checkout().join(".cache")),
    }
}
