//! `cargo xtask clean`: back to a fresh clone.

use anyhow::{Context, Result};
use e2e::{cache, process::Command};

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let cache = cache::directory()?;
    if cache.exists() {
        println!("removing {}", cache.display());
        std::fs::remove_dir_all(&cache).with_context(|| {
            format!(
                "removing {} (made as root? then clean as root too)",
                cache.display()
            )
        })?;
    }
    Command::new("cargo").arg("clean").run()
}
