//! The state disk: a sparse qcow2 file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::command_line::escape;
use crate::error::{During, Error};

/// Makes an empty disk of this virtual size with `program` (`qemu-img`). Only the agent formats it, and only because it
/// is blank.
pub(crate) fn create(path: &Path, size: u64, program: &Path) -> Result<(), Error> {
    image_program(program, path, |command| {
        command
            .args(["create", "-q", "-f", "qcow2"])
            .arg(path)
            .arg(size.to_string());
    })
}

/// Makes a disk that shows another one and keeps what is written.
pub(crate) fn create_overlay(path: &Path, below: &Path, program: &Path) -> Result<(), Error> {
    let mut options = std::ffi::OsString::from("backing_fmt=qcow2,backing_file=");
    options.push(escape(below.as_os_str()));
    image_program(program, path, |command| {
        command
            .args(["create", "-q", "-f", "qcow2", "-o"])
            .arg(options)
            .arg(path);
    })
}

fn image_program(program: &Path, path: &Path, arguments: impl FnOnce(&mut Command)) -> Result<(), Error> {
    let mut command = Command::new(program);
    arguments(&mut command);
    let output = command.stdin(Stdio::null()).output().on("starting", program)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        doing: format!("making the state disk {}", path.display()),
        detail: String::from_utf8_lossy(&output.stderr).trim().into(),
    })
}

/// Ties a memory image to what a disk was when QEMU closed it. Whoever changes the disk or puts another in its place
/// changes one of these: the time of change cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let metadata = fs::symlink_metadata(path).on("looking at", path)?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
