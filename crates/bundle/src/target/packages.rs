//! The versions of installed packages, from the package database in a root filesystem.
//!
//! dpkg and opkg keep text in the same form (deb-control(5)); apk has a text of its own. The databases of rpm are
//! binary and are not read: versions are unknown then, and what follows from a version is chosen so that it fits all.
//! A root filesystem that was only extracted has an empty database; there Debian's changelogs tell the version.

use std::io::Read;

use flate2::read::GzDecoder;
use vcontainer_store::Rootfs;

use super::{TargetError, Version, text, tree_path};

const CONTROL_FILES: [&str; 3] = [
    "/var/lib/dpkg/status",
    "/var/lib/opkg/status",
    "/usr/lib/opkg/status",
];
const APK_FILES: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
/// Enough of a changelog to hold its first line.
const FIRST_LINE: u64 = 256;

/// The packages of the engines, with their versions as text.
#[derive(Debug, Default)]
pub(super) struct Packages(Vec<(String, String)>);

impl Packages {
    /// Reads the databases that are there.
    pub(super) fn read(rootfs: &Rootfs) -> Result<Self, TargetError> {
        let mut found = Vec::new();
        for file in CONTROL_FILES {
            if let Some(text) = text(rootfs, file)? {
                found.extend(control_packages(&text));
            }
        }
        for file in APK_FILES {
            if let Some(text) = text(rootfs, file)? {
                found.extend(apk_packages(&text));
            }
        }
        for package in super::docker::PACKAGES.iter().chain(&super::podman::PACKAGES) {
            found.extend(changelog_version(rootfs, package)?.map(|version| ((*package).to_owned(), version)));
        }
        Ok(Self(found))
    }

    /// The version of the first of these packages that is installed.
    pub(super) fn version(&self, names: &[&str]) -> Option<Version> {
        names.iter().find_map(|name| {
            let (_, version) = self.0.iter().find(|(package, _)| package == name)?;
            Version::of_package(version)
        })
    }
}

/// Packages of a dpkg or opkg status file whose state is not "removed".
fn control_packages(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
            };
            // "install ok installed", "install user installed"; "deinstall ok config-files" is gone.
            let state = field("Status")?.split_whitespace().last()?;
            if matches!(state, "not-installed" | "config-files") {
                return None;
            }
            Some((field("Package")?.to_owned(), field("Version")?.to_owned()))
        })
        .collect()
}

/// Packages of apk's database: `P:` name, `V:` version, paragraphs.
fn apk_packages(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
            Some((field("P:")?.to_owned(), field("V:")?.to_owned()))
        })
        .collect()
}

/// The version on the first line of a Debian changelog: `libpod (5.4.2+ds1-2) unstable; urgency=medium`.
fn changelog_version(rootfs: &Rootfs, package: &str) -> Result<Option<String>, TargetError> {
    let path = tree_path(&format!("/usr/share/doc/{package}/changelog.Debian.gz"))?;
    let Some(bytes) = rootfs.read(&path, super::FILE_LIMIT)? else {
        return Ok(None);
    };
    let mut line = Vec::new();
    // A damaged changelog only means that the version is unknown.
    let _ = GzDecoder::new(&bytes[..]).take(FIRST_LINE).read_to_end(&mut line);
    let line = String::from_utf8_lossy(&line);
    let version = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    Ok(version.map(|(version, _)| version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read_without_what_is_removed() {
        let status = "Package: docker.io\nStatus: install ok installed\nDepends: x\n y\nVersion: 26.1.5+dfsg1-9\n\nPackage: \
                      podman\nStatus: deinstall ok config-files\nVersion: 4.3.1\n\nPackage: broken\n";
        let packages = Packages(control_packages(status));
        assert_eq!(
            packages.version(&["docker-ce", "docker.io"]),
            Some(Version::new(26, 1, 5))
        );
        assert_eq!(packages.version(&["podman"]), None);
        let packages = Packages(apk_packages("C:x\nP:podman\nV:5.2.5-r0\n\nP:musl\nV:1\n"));
        assert_eq!(packages.version(&["podman"]), Some(Version::new(5, 2, 5)));
    }
}
