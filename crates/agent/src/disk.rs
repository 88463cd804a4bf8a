//! Disks, found by serial number, and the state disk: formatted only when nothing at all is on it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::mount::MountFlags;
use vcontainer_wire::{ExitStatus, Failure};

use crate::children::Children;
use crate::failure::{Doing, failure};

/// The device of the disk with that serial number.
#[must_use]
pub fn by_serial(serial: &str) -> Option<PathBuf> {
    fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("serial")).ok()?;
        (found.trim_end_matches(['\n', '\0']) == serial).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// What is on a disk, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Blank,
    Ext4 { has_errors: bool },
    Other,
}

/// How much of a disk is looked at: every known file system and partition table starts in it.
const LOOK: usize = 1 << 20;

fn content(first: &[u8]) -> Content {
    // ext4's superblock is at 1024; its magic is at 0x38 of it, its state at 0x3a.
    let magic = first.get(1024 + 0x38..1024 + 0x3a);
    if magic == Some(&[0x53, 0xef]) {
        let state = first.get(1024 + 0x3a).copied().unwrap_or_default();
        return Content::Ext4 {
            has_errors: state & 2 != 0,
        };
    }
    if first.iter().all(|byte| *byte == 0) {
        Content::Blank
    } else {
        Content::Other
    }
}

/// Engines record a layer as whole without having written its files out, and take it for whole after a power cut. With
/// delayed allocation these files would be empty then; without it what a record is about is on the disk before the record
/// is (`data=ordered`).
const OPTIONS: &std::ffi::CStr = c"nodelalloc";

/// Mounts the state disk, after making its file system (blank) or mending it (the file system says it has errors).
/// The journal is replayed by the mount.
///
/// # Errors
/// There is none, something else is on it, or it cannot be mended.
pub fn mount_state(children: &Arc<Children>, target: &str) -> Result<(), Failure> {
    let device = by_serial("state")
        .ok_or_else(|| failure("the machine has no disk with the serial number `state`"))?;
    let name = device.display();
    let mut first = vec![0; LOOK];
    let file = File::open(&device).doing(format!("opening {name}"))?;
    file.read_exact_at(&mut first, 0)
        .doing(format!("reading {name}"))?;
    drop(file);
    let path = device.to_string_lossy().into_owned();
    let mut checked = false;
    match content(&first) {
        Content::Blank => {
            let lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
            let words = ["-q", "-t", "ext4", "-L", "state", "-m", "0", "-E", lazy, &path];
            let code = tool(children, "/usr/sbin/mke2fs", &words)?;
            if code != ExitStatus::Code(0) {
                return Err(failure(format!(
                    "making a file system on the state disk failed ({code:?})"
                )));
            }
        }
        Content::Ext4 { has_errors: false } => {}
        Content::Ext4 { has_errors: true } => {
            check(children, &path)?;
            checked = true;
        }
        Content::Other => {
            return Err(failure(
                "the state disk holds something that is no ext4 file system; nothing was written to it",
            ));
        }
    }
    fs::create_dir_all(target).doing(format!("making {target}"))?;
    let mount = || rustix::mount::mount(&device, target, "ext4", MountFlags::NOATIME, OPTIONS);
    match mount() {
        Ok(()) => Ok(()),
        Err(_) if !checked => {
            check(children, &path)?;
            mount().doing("mounting the state disk")
        }
        result => result.doing("mounting the state disk"),
    }
}

/// Mends what can be mended without a question.
fn check(children: &Arc<Children>, device: &str) -> Result<(), Failure> {
    match tool(children, "/usr/sbin/e2fsck", &["-p", device])? {
        // 1: something was mended.
        ExitStatus::Code(0 | 1) => Ok(()),
        code => Err(failure(format!(
            "the file system of the state disk is damaged and `e2fsck -p` does not mend it ({code:?})"
        ))),
    }
}

fn tool(children: &Arc<Children>, program: &str, words: &[&str]) -> Result<ExitStatus, Failure> {
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (child, _) = children
        .spawn(&mut command)
        .doing(format!("starting {program}"))?;
    Ok(child.wait())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nothing_is_blank() {
        let mut bytes = vec![0; LOOK];
        assert_eq!(content(&bytes), Content::Blank);
        bytes[LOOK - 1] = 1;
        assert_eq!(content(&bytes), Content::Other);
        bytes[1024 + 0x38] = 0x53;
        bytes[1024 + 0x39] = 0xef;
        bytes[1024 + 0x3a] = 1;
        assert_eq!(content(&bytes), Content::Ext4 { has_errors: false });
        bytes[1024 + 0x3a] = 3;
        assert_eq!(content(&bytes), Content::Ext4 { has_errors: true });
    }
}
