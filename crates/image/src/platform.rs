//! Platforms: which operating system and processor an image is for, and which images a target can run.
//!
//! Names are those of the OCI image-spec (`config.md`: GOOS and GOARCH values, `arm64`, `amd64`). Normalisation follows
//! what containerd and Docker do (package `platforms`): `arm64/v8` is `arm64`, `amd64/v1` is `amd64`, `arm` is `arm/v7`.

use std::fmt;
use std::str::FromStr;

/// An operating system and an architecture, in normal form.
///
/// Two platforms that mean the same compare equal, because every constructor normalises: build one with
/// [`Platform::new`], [`Platform::for_machine`] or by parsing `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The operating system, `linux` for everything this tool can use.
    pub os: String,
    /// The processor architecture by its OCI name, such as `arm64`.
    pub architecture: String,
    /// The variant of the architecture, such as `v7` for `arm`; `None` where the variant is the usual one.
    pub variant: Option<String>,
}

/// Why a text does not name a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// No such machine name.
    #[error(
        "`{0}` is no known architecture: use aarch64 (arm64), x86_64 (amd64), armv7l, armv6l, armv5tel, i686 (386), \
         riscv64, ppc64le, s390x, loongarch64, mips64el or mipsel, or the OCI form such as linux/arm64"
    )]
    Machine(String),
    /// Not of the form `os/architecture[/variant]`.
    #[error(
        "`{0}` is no platform: write os/architecture or os/architecture/variant, such as linux/arm64 or linux/arm/v7"
    )]
    Syntax(String),
}

impl Platform {
    /// The platform with these OCI names, normalised.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty());
        let (architecture, implied) = match architecture.as_str() {
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            "x86_64" | "x86-64" => ("amd64", None),
            "i386" | "i486" | "i586" | "i686" => ("386", None),
            other => (other, None),
        };
        let variant = variant.as_deref().or(implied);
        let variant = match (architecture, variant) {
            ("arm64", Some("8" | "v8" | "8.0" | "v8.0")) => None,
            ("amd64", Some("1" | "v1")) => None,
            ("386", _) => None,
            ("arm", None) => Some("v7".to_owned()),
            ("arm" | "arm64" | "amd64", Some(digits)) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(format!("v{digits}"))
            }
            (_, variant) => variant.map(str::to_owned),
        };
        Self {
            os: if os == "macos" { "darwin".to_owned() } else { os },
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// The Linux platform of a machine named as the kernel (`uname -m`), Debian or Yocto name it, or by its OCI name;
    /// `os/architecture[/variant]` is taken as well.
    ///
    /// # Errors
    /// A name that is not in the list.
    pub fn for_machine(name: &str) -> Result<Self, PlatformError> {
        if name.contains('/') {
            return name.parse();
        }
        let (architecture, variant) = match name.to_ascii_lowercase().as_str() {
            "aarch64" | "arm64" | "armv8" | "armv8l" => ("arm64", None),
            "x86_64" | "x86-64" | "amd64" => ("amd64", None),
            "arm" | "armv7" | "armv7l" | "armv7a" | "armv7hf" | "armhf" => ("arm", Some("v7")),
            "armv6" | "armv6l" | "armel" => ("arm", Some("v6")),
            "armv5" | "armv5l" | "armv5te" | "armv5tel" | "armv5tejl" => ("arm", Some("v5")),
            "i386" | "i486" | "i586" | "i686" | "x86" | "386" => ("386", None),
            "riscv64" => ("riscv64", None),
            "ppc64le" | "ppc64el" | "powerpc64le" => ("ppc64le", None),
            "s390x" => ("s390x", None),
            "loongarch64" | "loong64" => ("loong64", None),
            "mips64el" | "mips64le" => ("mips64le", None),
            "mipsel" | "mipsle" => ("mipsle", None),
            _ => return Err(PlatformError::Machine(name.to_owned())),
        };
        Ok(Self::new("linux", architecture, variant))
    }

    /// The same with this variant, if one is given.
    #[must_use]
    pub fn with_variant(self, variant: Option<&str>) -> Self {
        match variant {
            Some(variant) => Self::new(&self.os, &self.architecture, Some(variant)),
            None => self,
        }
    }

    /// How well an image made for `offered` runs on this platform: `None` when it does not, else a rank where 0 is the
    /// exact platform and a higher number is an older variant that the processor still runs.
    ///
    /// Older variants are accepted as the engines accept them (`arm/v6` on `arm/v7`, `amd64` on `amd64/v3`). Another
    /// architecture never is, although a processor may have a mode for it (386 on amd64, arm on arm64): the engines'
    /// silent fall-back to those gives an image that a target without that mode cannot start.
    #[must_use]
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        let (mine, theirs) = (self.generation()?, offered.generation()?);
        // An equal generation with another spelling (v8.1 and v8.2) is no match: nothing says that it would run.
        mine.checked_sub(theirs).filter(|distance| *distance > 0)
    }

    /// The variant as a number of tenths (`v8.1` is 81), for the architectures whose variants are ordered.
    fn generation(&self) -> Option<u32> {
        let default = match self.architecture.as_str() {
            "arm" => "v7",
            "arm64" => "v8",
            "amd64" => "v1",
            _ => return None,
        };
        let text = self.variant.as_deref().unwrap_or(default).strip_prefix('v')?;
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        (minor < 10).then(|| major.checked_mul(10)?.checked_add(minor))?
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(plain) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(plain) => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(PlatformError::Syntax(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        for (text, normal) in [
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/8.0", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/ARM64", "linux/arm64"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(text).to_string(), normal, "{text}");
        }
        for wrong in ["", "linux", "linux/", "/arm64", "linux/arm/v7/x", "linux/ar m"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn machine_names_give_platforms() {
        for (machine, normal) in [
            ("aarch64", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("x86_64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("armv7l", "linux/arm/v7"),
            ("armv6l", "linux/arm/v6"),
            ("i686", "linux/386"),
            ("riscv64", "linux/riscv64"),
            ("linux/arm64/v8", "linux/arm64"),
        ] {
            assert_eq!(
                Platform::for_machine(machine).unwrap().to_string(),
                normal,
                "{machine}"
            );
        }
        let message = Platform::for_machine("sparc").unwrap_err().to_string();
        assert!(
            message.contains("`sparc`") && message.contains("aarch64"),
            "{message}"
        );
    }

    #[test]
    fn a_target_takes_its_own_and_older_variants_only() {
        for (target, offered, rank) in [
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm64", "linux/arm64/v9", None),
            ("linux/arm64/v9", "linux/arm64", Some(10)),
            ("linux/arm/v7", "linux/arm/v6", Some(10)),
            ("linux/arm/v7", "linux/arm", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64/v3", "linux/amd64", Some(20)),
            ("linux/amd64", "linux/386", None),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm64", "unknown/unknown", None),
            ("linux/ppc64le", "linux/ppc64le/power9", None),
            ("linux/arm/v7", "linux/arm/v99999999999", None),
        ] {
            assert_eq!(
                platform(target).rank(&platform(offered)),
                rank,
                "{offered} on {target}"
            );
        }
    }
}
