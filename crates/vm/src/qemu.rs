//! The installed QEMU: where it is, and which version.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use vcontainer_guest::Arch;

use crate::error::{During, Error};
use crate::json::{read_json, write_json};

/// The oldest version that serves.
const OLDEST: (u32, u32) = (7, 2);

/// An installed QEMU for one architecture.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    /// `qemu-system-…`.
    pub(crate) program: PathBuf,
    /// Its whole version, with what the distribution added.
    pub(crate) version: String,
    /// Changes when the program is replaced.
    pub(crate) identity: String,
}

/// What was found out about a program.
#[derive(Serialize, Deserialize)]
struct Remembered {
    identity: String,
    version: String,
}

impl Qemu {
    /// Finds QEMU in `directories`. Its version is remembered in `cache`: asking it takes as long as half a resume.
    pub(crate) fn find(arch: Arch, directories: &[PathBuf], cache: &Path) -> Result<Self, Error> {
        let (name, package) = match arch {
            Arch::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
            Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
        };
        let program = find_program(name, package, directories)?;
        let metadata = fs::metadata(&program).on("looking at", &program)?;
        let identity = format!(
            "{} {} {} {}.{}",
            program.display(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let remembered = cache.join(format!("{name}.json"));
        if let Ok(Some(known)) = read_json::<Remembered>(&remembered)
            && known.identity == identity
        {
            return Ok(Self {
                program,
                version: known.version,
                identity,
            });
        }
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .on("starting", &program)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version_in(&text).ok_or_else(|| Error::Program {
            doing: format!("asking {} for its version", program.display()),
            detail: match String::from_utf8_lossy(&output.stderr).trim() {
                "" => format!("it said {:?}", text.trim()),
                error => error.into(),
            },
        })?;
        if numbers(version).is_none_or(|found| found < OLDEST) {
            return Err(Error::TooOld {
                program,
                found: version.into(),
            });
        }
        let version = version.to_owned();
        let known = Remembered {
            identity: identity.clone(),
            version: version.clone(),
        };
        // A cache that can't be written costs time, nothing else.
        let _ = fs::create_dir_all(cache).map(|()| write_json(&remembered, &known));
        Ok(Self {
            program,
            version,
            identity,
        })
    }
}

/// Finds `qemu-img`.
pub(crate) fn find_image_program(directories: &[PathBuf]) -> Result<PathBuf, Error> {
    find_program("qemu-img", "qemu-utils", directories)
}

fn find_program(
    name: &'static str,
    package: &'static str,
    directories: &[PathBuf],
) -> Result<PathBuf, Error> {
    directories
        .iter()
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
        .ok_or(Error::Missing {
            program: name,
            package,
        })
}

/// The version in what `--version` says: `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn version_in(text: &str) -> Option<&str> {
    let (_, version) = text.lines().next()?.split_once("version ")?;
    Some(version.trim())
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let debian = version_in("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright").unwrap();
        assert_eq!(debian, "10.0.2 (Debian 1:10.0.2+ds-2)");
        assert_eq!(numbers(debian), Some((10, 0)));
        assert!(numbers("10.0.2").unwrap() > OLDEST && numbers("7.2.22").unwrap() >= OLDEST);
        assert!(numbers("7.0.0").unwrap() < OLDEST && numbers("6.2").unwrap() < OLDEST);
        assert_eq!(version_in("hello"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Qemu::find(Arch::Aarch64, &[], Path::new("/nonexistent"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("apt install qemu-system-arm"), "{error}");
        let error = find_image_program(&["/nonexistent".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("apt install qemu-utils"), "{error}");
    }

    #[test]
    fn an_old_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu-system-x86_64");
        fs::write(&program, "#!/bin/sh\necho QEMU emulator version 6.2.0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Qemu::find(Arch::X86_64, &[directory.path().into()], directory.path()).unwrap_err();
        assert!(matches!(error, Error::TooOld { .. }), "{error}");
    }
}
