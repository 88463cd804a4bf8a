//! `manifest.json`: what a guest was made of, and the sizes and digests of its files. `docs/formats/guest-manifest.md`
//! describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Arch, Engine};

/// The version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What is known about one guest. Nothing in it depends on when or where the guest was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that made the files and its version.
    pub tool: String,
    /// The engine in the guest.
    pub engine: Engine,
    /// The guest's architecture.
    pub arch: Arch,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// The agent in the initramfs: SHA-256 as hexadecimal digits.
    pub agent_sha256: String,
    /// The other files of the guest by name.
    pub files: BTreeMap<String, FileRecord>,
    /// Versions of the packages by name.
    pub packages: BTreeMap<String, String>,
}

/// One file of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// In bytes.
    pub size: u64,
    /// SHA-256 as hexadecimal digits.
    pub sha256: String,
}

/// Why text is no manifest of a guest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field is missing.
    #[error("it is no guest manifest")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error(
        "it has format {found}, which another version of vcontainer has written: this one knows format {FORMAT}"
    )]
    Format {
        /// The format it says it has.
        found: u64,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let value: serde_json::Value = serde_json::from_slice(text).map_err(ManifestError::Malformed)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(FORMAT) => Err(ManifestError::Format { found }),
            _ => serde_json::from_value(value).map_err(ManifestError::Malformed),
        }
    }

    /// The text of `manifest.json`.
    ///
    /// # Errors
    /// None in practice: every field has a form in JSON.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

/// SHA-256 of `bytes` as hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Manifest {
        Manifest {
            format: FORMAT,
            tool: "vcontainer 0.1.0".into(),
            engine: Engine::Docker,
            arch: Arch::Aarch64,
            kernel: "6.12.1".into(),
            agent_sha256: sha256(b"agent"),
            files: BTreeMap::new(),
            packages: BTreeMap::from([("runc".into(), "1.1".into())]),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = example().text().unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), example());
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let newer = br#"{"format": 2, "something": "else"}"#;
        assert!(matches!(
            Manifest::parse(newer),
            Err(ManifestError::Format { found: 2 })
        ));
        for damaged in [&b"{}"[..], b"", b"[1]", br#"{"format": 1}"#] {
            assert!(matches!(
                Manifest::parse(damaged),
                Err(ManifestError::Malformed(_))
            ));
        }
    }
}
