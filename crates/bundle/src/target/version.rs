//! Versions of engines.

use std::fmt;

/// A version as engines have it: three numbers, the rest of a package's version left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// A version from its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The upstream version in a package's: `5:27.0.3-1~debian.12~bookworm`, `26.1.5+dfsg1-9+b4`, `5.0.2+git0+abc-r0`.
    #[must_use]
    pub fn of_package(text: &str) -> Option<Self> {
        let upstream = text.split_once(':').map_or(text, |(_epoch, rest)| rest);
        let end = upstream
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(upstream.len());
        let mut numbers = upstream[..end].split('.').map(str::parse::<u32>);
        let major = numbers.next()?.ok()?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, next(), next()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_versions_are_read() {
        for (text, version) in [
            ("5:27.0.3-1~debian.12~bookworm", Some(Version::new(27, 0, 3))),
            ("26.1.5+dfsg1-9+b4", Some(Version::new(26, 1, 5))),
            ("20.10.24+dfsg1-1+deb12u1", Some(Version::new(20, 10, 24))),
            ("5.0.2+git0+abc-r0", Some(Version::new(5, 0, 2))),
            ("29.1-r0", Some(Version::new(29, 1, 0))),
            ("git-r0", None),
            ("", None),
        ] {
            assert_eq!(Version::of_package(text), version, "{text}");
        }
    }
}
