//! How a layer blob is compressed: what its media type says and what its first bytes say.
//!
//! Media types: OCI image-spec `layer.md` and `media-types.md`; Docker's are those of distribution's schema 2. When the
//! two disagree the bytes win, as in the engines: there are tools that label a gzip stream `tar` and the reverse.

/// How the bytes of a layer blob are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878).
    Zstd,
}

/// Why a layer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerTypeError {
    /// A layer that may not be redistributed and so is not in the image.
    #[error(
        "it is a foreign (non-distributable) layer, whose content is not part of the image: rebuild the image on a base without such layers"
    )]
    Foreign,
    /// An encrypted layer.
    #[error("it is encrypted: decrypt the image first, for example with `skopeo copy --decryption-key`")]
    Encrypted,
    /// A compression that this tool does not read.
    #[error(
        "it is compressed with {0}, but only gzip, zstd and plain tar are known: compress the image again, for example with `skopeo copy --dest-compress-format gzip`"
    )]
    UnknownCompression(String),
    /// No layer at all.
    #[error("this is not the media type of a file system layer")]
    NotALayer,
}

impl Compression {
    /// What the first bytes of a stream say; 8 are enough.
    ///
    /// # Errors
    /// The magic number of a compression that is known but not supported.
    pub fn sniff(start: &[u8]) -> Result<Self, LayerTypeError> {
        let unknown = |name: &str| Err(LayerTypeError::UnknownCompression(name.to_owned()));
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, which some parallel compressors put first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unknown("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => unknown("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => unknown("lz4"),
            _ => Ok(Self::None),
        }
    }

    /// What the media type of a layer says.
    ///
    /// # Errors
    /// Foreign and encrypted layers, unknown compressions, and what is no layer.
    pub fn of_media_type(media_type: &str) -> Result<Self, LayerTypeError> {
        const OCI: &str = "application/vnd.oci.image.layer.";
        const DOCKER: &str = "application/vnd.docker.image.rootfs.";
        if media_type.ends_with("+encrypted") || media_type.contains("+encrypted+") {
            return Err(LayerTypeError::Encrypted);
        }
        let suffix = if let Some(rest) = media_type.strip_prefix(OCI) {
            if rest.starts_with("nondistributable.") {
                return Err(LayerTypeError::Foreign);
            }
            rest.strip_prefix("v1.tar")
        } else if let Some(rest) = media_type.strip_prefix(DOCKER) {
            if rest.starts_with("foreign.") {
                return Err(LayerTypeError::Foreign);
            }
            rest.strip_prefix("diff.tar")
        } else {
            None
        };
        match suffix {
            None => Err(LayerTypeError::NotALayer),
            Some("") => Ok(Self::None),
            Some(suffix) => match suffix.trim_start_matches(['+', '.']) {
                "gzip" => Ok(Self::Gzip),
                "zstd" => Ok(Self::Zstd),
                other => Err(LayerTypeError::UnknownCompression(other.to_owned())),
            },
        }
    }

    /// Its name, as options and files of this project have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The compression with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|compression| compression.name() == name)
    }

    /// The OCI media type of a layer with this compression.
    #[must_use]
    pub const fn oci_media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The Docker media type of a layer with this compression.
    #[must_use]
    pub const fn docker_media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.docker.image.rootfs.diff.tar",
            Self::Gzip => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Self::Zstd => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_name_their_compression() {
        for (media_type, expected) in [
            ("application/vnd.oci.image.layer.v1.tar", Ok(Compression::None)),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Ok(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Ok(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar",
                Ok(Compression::None),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Ok(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                Ok(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Err(LayerTypeError::Foreign),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                Err(LayerTypeError::Foreign),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                Err(LayerTypeError::Encrypted),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+br",
                Err(LayerTypeError::UnknownCompression("br".to_owned())),
            ),
            ("application/vnd.in-toto+json", Err(LayerTypeError::NotALayer)),
            ("", Err(LayerTypeError::NotALayer)),
        ] {
            assert_eq!(Compression::of_media_type(media_type), expected, "{media_type}");
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for media_type in [compression.oci_media_type(), compression.docker_media_type()] {
                assert_eq!(Compression::of_media_type(media_type), Ok(compression));
            }
        }
    }

    #[test]
    fn magic_numbers_are_known() {
        assert_eq!(Compression::sniff(b"\x1f\x8b\x08\0"), Ok(Compression::Gzip));
        assert_eq!(Compression::sniff(b"\x28\xb5\x2f\xfd"), Ok(Compression::Zstd));
        assert_eq!(Compression::sniff(b"etc/passwd\0"), Ok(Compression::None));
        assert_eq!(Compression::sniff(b""), Ok(Compression::None));
        assert_eq!(
            Compression::sniff(b"\xfd7zXZ\0"),
            Err(LayerTypeError::UnknownCompression("xz".to_owned()))
        );
    }
}
