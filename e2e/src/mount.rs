//! Small file systems, for tests of full ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Command;

/// A mounted file system, unmounted at the end. Needs root.
pub struct Mount(PathBuf);

impl Mount {
    /// In memory.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn tmpfs(at: impl Into<PathBuf>, options: &str) -> Result<Self> {
        Self::new(at.into(), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// An ext4 file system of so many bytes, in a sparse file beside it.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub fn ext4(at: impl Into<PathBuf>, bytes: u64) -> Result<Self> {
        let at = at.into();
        let mut image = at.clone().into_os_string();
        image.push(".ext4");
        fs::File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("making {}", image.display()))?;
        Command::new("mke2fs")
            .args([
                "-q",
                "-t",
                "ext4",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
            ])
            .arg(&image)
            .output()?;
        Self::image(at, Path::new(&image), "loop")
    }

    /// What is in the file system of a file, which stays as it is.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn read_only(at: impl Into<PathBuf>, image: &Path) -> Result<Self> {
        Self::image(at.into(), image, "loop,ro")
    }

    fn image(at: PathBuf, image: &Path, options: &str) -> Result<Self> {
        let image = image.to_str().context("a path of the tests is no text")?;
        Self::new(at, &["-o", options, image])
    }

    fn new(at: PathBuf, words: &[&str]) -> Result<Self> {
        fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        Command::new("mount").args(words).arg(&at).output()?;
        Ok(Self(at))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever still uses it after a failed test keeps it a little longer.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
