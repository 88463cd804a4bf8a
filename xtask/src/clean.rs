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
    for folder in ["target", "corpus", "artifacts"] {
        let folder = cache::checkout().join("fuzz").join(folder);
        if folder.exists() {
            println!("removing {}", folder.display());
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Command::new("cargo").arg("clean").run()
}
