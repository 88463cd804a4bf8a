//! Short names of layer directories, which Docker's and Podman's overlay drivers put into mount options.
//!
//! A container of many layers is mounted with `lowerdir=l/<LINK>:l/<LINK>:…`; the kernel allows one page of options,
//! so the drivers give every layer directory a symlink with a name of 26 characters: 128 × (26 + 2) fits a page.
//! The engines draw the name at random; here it follows from the layer, so that a store is reproducible.
//! Source: moby `daemon/graphdriver/overlay2/randomid.go` and containers/storage `drivers/overlay/randomid_linux.go`
//! (base32 of random bytes, 26 characters); any unique name without `:`, `,` and `\` works.

use std::fmt;

use vcontainer_image::Digest;

/// How many characters a link name has.
const LENGTH: usize = 26;

/// The name of one layer directory's symlink in the `l` directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Link(String);

impl Link {
    /// The name that follows from `seed`, a text that no other layer of the store has.
    pub(crate) fn derive(seed: &str) -> Self {
        let digest = Digest::of(seed.as_bytes());
        let mut name = base32(digest.as_bytes());
        name.truncate(LENGTH);
        Self(name)
    }

    /// A name that an engine wrote; `None` if it could not stand in a mount option or leaves the `l` directory.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (!text.is_empty() && text.len() <= 64 && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Content of the `lower` file of a layer on top of `parents`, nearest parent first: `l/A:l/B`.
    pub(crate) fn lower<'a>(parents: impl IntoIterator<Item = &'a Self>) -> String {
        let parts: Vec<String> = parents.into_iter().map(|link| format!("l/{link}")).collect();
        parts.join(":")
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 4648 base32 without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count) as usize & 31]));
        }
    }
    if count > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - count)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_matches_the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), text);
        }
    }

    #[test]
    fn names_have_the_drivers_length_and_follow_the_seed() {
        let link = Link::derive("a");
        assert_eq!(link.as_str().len(), 26);
        assert_eq!(link, Link::derive("a"));
        assert_ne!(link, Link::derive("b"));
        assert_eq!(Link::parse(link.as_str()), Some(link));
    }

    #[test]
    fn lower_lists_the_nearest_parent_first() {
        let (a, b) = (Link("A".into()), Link("B".into()));
        assert_eq!(Link::lower([&b, &a]), "l/B:l/A");
        assert_eq!(Link::lower([]), "");
    }

    #[test]
    fn foreign_names_cannot_leave_their_directory_or_the_mount_option() {
        for text in ["", "..", "a/b", "a:b", "a,b", "a\\b", "a\n"] {
            assert_eq!(Link::parse(text), None, "{text:?}");
        }
    }
}
