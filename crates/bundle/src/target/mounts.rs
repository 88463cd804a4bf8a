//! What the target mounts over its root filesystem: `/etc/fstab` (fstab(5)) and mount units (systemd.mount(5)).
//!
//! A store below such a place would be hidden on the running target.

use vcontainer_image::TreePath;
use vcontainer_store::Rootfs;

use super::{TargetError, UNIT_DIRECTORIES, text, tree_path};
use crate::systemd_text::last_value;

/// One mount, other than that of `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The device or file system.
    pub what: String,
    /// Where it is mounted: the physical path in the root filesystem.
    pub point: TreePath,
    /// The file that says so.
    pub file: String,
}

impl Mount {
    /// Whether `path` lies on it.
    pub(super) fn covers(&self, path: &TreePath) -> bool {
        let mut rest = path.components();
        self.point.components().all(|part| rest.next() == Some(part))
    }
}

/// Reads fstab and the mount units.
pub(super) fn read(rootfs: &Rootfs) -> Result<Vec<Mount>, TargetError> {
    let mut found = Vec::new();
    let mut add = |what: &str, point: &str, file: &str| -> Result<(), TargetError> {
        if !point.starts_with('/') {
            return Ok(());
        }
        let point = rootfs.resolve(&tree_path(point)?)?;
        if !point.is_root() {
            found.push(Mount {
                what: what.to_owned(),
                point,
                file: file.to_owned(),
            });
        }
        Ok(())
    };
    let fstab = text(rootfs, "/etc/fstab")?.unwrap_or_default();
    for (what, point) in fstab.lines().filter_map(fstab_line) {
        add(&what, &point, "/etc/fstab")?;
    }
    let mut seen = Vec::new();
    for directory in UNIT_DIRECTORIES {
        for name in rootfs.list(&tree_path(directory)?)?.unwrap_or_default() {
            let Ok(name) = String::from_utf8(name) else {
                continue;
            };
            // The first directory that has a unit overrides the others; `-.mount` is the root itself.
            if !name.ends_with(".mount") || seen.contains(&name) {
                continue;
            }
            let file = format!("{directory}/{name}");
            // A link to /dev/null masks the unit.
            let path = rootfs.resolve(&tree_path(&file)?)?;
            if path == tree_path("/dev/null")? {
                seen.push(name);
                continue;
            }
            let unit = text(rootfs, &file)?.unwrap_or_default();
            if let Some(point) = last_value(&unit, "Mount", "Where") {
                let what = last_value(&unit, "Mount", "What").unwrap_or_default();
                add(&what, &point, &file)?;
            }
            seen.push(name);
        }
    }
    Ok(found)
}

/// Device and mount point of a line of fstab that is mounted at boot.
fn fstab_line(line: &str) -> Option<(String, String)> {
    let mut fields = line.split_whitespace();
    let what = fields.next().filter(|what| !what.starts_with('#'))?;
    let point = fields.next()?;
    let options = fields.nth(1).unwrap_or_default();
    if options.split(',').any(|option| option == "noauto") {
        return None;
    }
    Some((what.to_owned(), unescape(point)))
}

/// fstab writes a space in a path as `\040`, a tab as `\011`, a backslash as `\134`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fstab_are_read() {
        for (line, mount) in [
            ("# /dev/sda1 /data ext4", None),
            ("", None),
            ("/dev/sda2 /data ext4 defaults 0 2", Some(("/dev/sda2", "/data"))),
            ("LABEL=x\t/my\\040data\text4", Some(("LABEL=x", "/my data"))),
            ("/dev/sdb1 /media vfat ro,noauto 0 0", None),
        ] {
            let mount = mount.map(|(what, point): (&str, &str)| (what.to_owned(), point.to_owned()));
            assert_eq!(fstab_line(line), mount, "{line}");
        }
    }

    #[test]
    fn a_mount_covers_what_is_below_it_only() {
        let path = |text: &str| TreePath::clean(text.as_bytes()).unwrap();
        let mount = Mount {
            what: String::new(),
            point: path("/var/lib"),
            file: String::new(),
        };
        for (covered, yes) in [
            ("/var/lib", true),
            ("/var/lib/docker", true),
            ("/var/libx", false),
            ("/var", false),
        ] {
            assert_eq!(mount.covers(&path(covered)), yes, "{covered}");
        }
    }
}
