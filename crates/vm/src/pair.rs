//! The record that makes a memory image and a state disk one pair.
//!
//! It exists only while the machine is suspended: it is removed before the guest may write, so a pair that exists was
//! not written to since.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::Stamp;

/// The version of the formats in a state directory.
pub(crate) const FORMAT: u32 = 1;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) format: u32,
    /// Differs for each suspend.
    pub(crate) suspend: String,
    /// What the memory needs to go on.
    pub(crate) needs: Needs,
    /// The disk when QEMU had closed it.
    pub(crate) disk: Stamp,
    /// Inode and size of the memory file.
    pub(crate) memory: (u64, u64),
    /// Size and SHA-256 of the device state.
    pub(crate) devices: (u64, String),
    /// The host's boot in which it was written.
    pub(crate) host_boot: String,
    /// Whether everything is safe on the disk, and so survives another boot of the host.
    pub(crate) synced: bool,
}

/// What must be the same for a memory image to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// QEMU's version.
    pub(crate) qemu: String,
    /// Identity of the guest files.
    pub(crate) guest: String,
    /// Everything of the virtual hardware.
    pub(crate) hardware: String,
}

/// What is there when a machine is about to start.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) needs: Needs,
    pub(crate) disk: Stamp,
    pub(crate) memory: (u64, u64),
    pub(crate) host_boot: String,
}

impl Pair {
    /// Why the memory image must not be used, if so.
    pub(crate) fn unfit(&self, found: &Found) -> Option<&'static str> {
        let checks = [
            (
                self.format == FORMAT,
                "it was suspended by another version of this tool",
            ),
            (
                self.needs.guest == found.needs.guest,
                "the guest files have changed",
            ),
            (self.needs.qemu == found.needs.qemu, "QEMU has been replaced"),
            (
                self.needs.hardware == found.needs.hardware,
                "the machine's options have changed",
            ),
            (
                self.disk == found.disk,
                "the state disk was changed or moved since it was suspended",
            ),
            (self.memory == found.memory, "its memory file has changed"),
            (
                self.synced || self.host_boot == found.host_boot,
                "the host went down before the suspended machine was safe on its disk",
            ),
        ];
        checks.into_iter().find_map(|(fits, why)| (!fits).then_some(why))
    }
}

/// The number of this boot of the host.
pub(crate) fn host_boot() -> String {
    std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, text).unwrap();
        Stamp::of(&path).unwrap()
    }

    #[test]
    fn each_difference_is_found() {
        let needs = Needs {
            qemu: "10".into(),
            guest: "g".into(),
            hardware: "h".into(),
        };
        let disk = stamp("disk");
        let found = Found {
            needs: needs.clone(),
            disk: disk.clone(),
            memory: (1, 2),
            host_boot: "b".into(),
        };
        let pair = Pair {
            format: FORMAT,
            suspend: "s".into(),
            needs,
            disk,
            memory: (1, 2),
            devices: (3, "x".into()),
            host_boot: "b".into(),
            synced: false,
        };
        assert_eq!(pair.unfit(&found), None);
        let text = serde_json::to_string(&pair).unwrap();
        assert_eq!(serde_json::from_str::<Pair>(&text).unwrap(), pair);

        let mut reboot = found.clone();
        reboot.host_boot = "c".into();
        assert!(pair.unfit(&reboot).is_some());
        assert_eq!(
            Pair {
                synced: true,
                ..pair.clone()
            }
            .unfit(&reboot),
            None
        );

        let changes: [fn(&mut Found); 5] = [
            |found| found.needs.qemu = "11".into(),
            |found| found.needs.guest = "other".into(),
            |found| found.needs.hardware = "other".into(),
            |found| found.disk = stamp("another disk"),
            |found| found.memory = (1, 3),
        ];
        for change in changes {
            let mut other = found.clone();
            change(&mut other);
            assert!(pair.unfit(&other).is_some(), "{other:?}");
        }
    }

    #[test]
    fn a_disk_that_is_written_to_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, "same size").unwrap();
        let before = Stamp::of(&path).unwrap();
        assert_eq!(before, Stamp::of(&path).unwrap());
        // Another file of the same content and times in its place.
        let times = std::fs::FileTimes::new().set_modified(path.metadata().unwrap().modified().unwrap());
        let copy = directory.path().join("copy");
        std::fs::write(&copy, "same size").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&copy)
            .unwrap()
            .set_times(times)
            .unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert_ne!(before, Stamp::of(&path).unwrap());
    }
}
