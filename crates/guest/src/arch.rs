//! Processor architectures that machines come for.

use std::fmt;
use std::str::FromStr;

/// A processor architecture of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit Arm: `arm64` for Debian and OCI.
    Aarch64,
    /// 64-bit x86: `amd64` for Debian and OCI.
    X86_64,
}

/// A text that names no architecture of a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no architecture of a machine: use aarch64 or x86_64")]
pub struct UnknownArch(String);

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// As Debian and OCI call it: `arm64` or `amd64`.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Aarch64 => "arm64",
            Self::X86_64 => "amd64",
        }
    }
}

/// As `uname -m` calls it.
impl fmt::Display for Arch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        })
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, UnknownArch> {
        match text {
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            "x86_64" | "x86-64" | "amd64" => Ok(Self::X86_64),
            _ => Err(UnknownArch(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
            assert_eq!(arch.debian().parse(), Ok(arch));
        }
        assert!(
            "sparc"
                .parse::<Arch>()
                .unwrap_err()
                .to_string()
                .contains("`sparc`")
        );
    }
}
