//! Image names in the normalised form that Docker and Podman share.
//!
//! Grammar and normalisation: the `reference` package of the distribution project (`regexp.go`, `normalize.go`).
//!
//! ```text
//! reference  = name [":" tag] ["@" digest]
//! name       = [domain "/"] component *("/" component)
//! domain     = host [":" port]             host = labels joined by "." or an IPv6 address in brackets
//! component  = [a-z0-9]+ *( separator [a-z0-9]+ )        separator = "." / "_" / "__" / "-"+
//! tag        = [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//! ```
//!
//! The first component is a domain when it contains `.` or `:`, is `localhost`, or has an upper-case letter; else the
//! domain is `docker.io`, and a single component there gets `library/` before it.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
/// The name that very old configurations use for the same registry.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const LOCAL_DOMAIN: &str = "localhost";
/// Longest tag and longest path, in bytes.
const MAX_TAG: usize = 128;
const MAX_NAME: usize = 255;

/// A fully qualified image name with an optional tag and an optional digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing where the name should be.
    #[error("image name `{0}` has no name part")]
    Empty(String),
    /// Repository names are lower-case.
    #[error(
        "image name `{0}` has upper-case letters: repository names are lower-case, only tags may have them"
    )]
    UpperCase(String),
    /// The registry part is not a host name with an optional port.
    #[error("image name `{name}`: `{domain}` is no registry host, write HOST or HOST:PORT")]
    Domain {
        /// The whole text.
        name: String,
        /// The part before the first slash.
        domain: String,
    },
    /// A path component breaks the grammar.
    #[error(
        "image name `{name}`: `{component}` is no valid component: lower-case letters and digits, separated by one \
         `.`, one or two `_`, or any number of `-`"
    )]
    Component {
        /// The whole text.
        name: String,
        /// The offending part.
        component: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "image name `{name}`: `{tag}` is no valid tag: at most 128 letters, digits, `_`, `.` and `-`, not starting with \
         `.` or `-`"
    )]
    Tag {
        /// The whole text.
        name: String,
        /// The part after the colon.
        tag: String,
    },
    /// The digest breaks the grammar or is of an unsupported algorithm.
    #[error("image name `{name}` has an unusable digest")]
    Digest {
        /// The whole text.
        name: String,
        /// What is wrong with it.
        source: DigestError,
    },
    /// The path is longer than a registry takes.
    #[error("image name `{0}` is too long: at most 255 bytes without registry, tag and digest")]
    TooLong(String),
    /// 64 hex digits are an image ID, which no name may look like.
    #[error("image name `{0}` looks like an image ID: 64 hex digits cannot be a name")]
    LooksLikeId(String),
}

impl Reference {
    /// Parses and normalises `text` as Docker does: `redis:7` is `docker.io/library/redis:7`.
    ///
    /// No tag is invented: see [`Reference::tag_or_latest`].
    ///
    /// # Errors
    /// Text that breaks the grammar; the error names the offending part.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_with(text, DEFAULT_DOMAIN)
    }

    /// The name that Podman gives to a local image: a name without registry goes below `localhost/`.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn local_podman(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_with(text, LOCAL_DOMAIN)
    }

    fn parse_with(text: &str, default_domain: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    name: text.to_owned(),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (first, after) = match rest.split_once('/') {
            Some((first, after)) => (Some(first), after),
            None => (None, rest),
        };
        let (domain, remainder) = match first {
            Some(first) if is_domain(first) => (Some(first), after),
            _ => (None, rest),
        };
        // A colon in the remainder can only start the tag: ports are in the domain.
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        // With a tag or digest it can be no ID, and Docker takes it: `docker.io/library/<64 digits>:1` is so shown.
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let domain = match domain {
            None => default_domain,
            Some(LEGACY_DEFAULT_DOMAIN) => DEFAULT_DOMAIN,
            Some(domain) => domain,
        };
        if !valid_domain(domain) {
            return Err(ReferenceError::Domain {
                name: text.to_owned(),
                domain: domain.to_owned(),
            });
        }
        check_path(text, path)?;
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        let reference = Self {
            domain: domain.to_owned(),
            path,
            tag: None,
            digest,
        };
        match tag {
            Some(tag) if !valid_tag(tag) => Err(ReferenceError::Tag {
                name: text.to_owned(),
                tag: tag.to_owned(),
            }),
            tag => Ok(Self {
                tag: tag.map(str::to_owned),
                ..reference
            }),
        }
    }

    /// The registry host with its port, such as `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository below the registry, such as `library/redis`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if the name has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The tag, or `latest` as the engines assume for a name with neither tag nor digest.
    #[must_use]
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// The digest, if the name pins one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Registry and repository without tag and digest: `docker.io/library/redis`.
    #[must_use]
    pub fn canonical_name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The shortest name that Docker reads as this repository: `redis`, `user/app`, `example.com/app`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.canonical_name();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name,
            _ => &self.path,
        };
        // `docker.io/foo.bar/x` must not become `foo.bar/x`, which is a name on the registry foo.bar.
        match short.split_once('/') {
            Some((first, _)) if is_domain(first) => self.canonical_name(),
            _ => short.to_owned(),
        }
    }

    /// The familiar name with tag and digest, as `docker images` shows it.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// A tag that breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !valid_tag(tag) {
            return Err(ReferenceError::Tag {
                name: self.to_string(),
                tag: tag.to_owned(),
            });
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository by digest, without tag: `docker.io/library/redis@sha256:…`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.canonical_name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// Whether the first component of a name is a registry.
fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == LOCAL_DOMAIN || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return valid_ipv6(address),
            Some((address, port)) => match port.strip_prefix(':') {
                Some(port) => return valid_ipv6(address) && valid_port(port),
                None => return false,
            },
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(valid_port)
}

fn valid_ipv6(address: &str) -> bool {
    !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

fn valid_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

fn check_path(name: &str, path: &str) -> Result<(), ReferenceError> {
    if path.is_empty() {
        return Err(ReferenceError::Empty(name.to_owned()));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(name.to_owned()));
    }
    match path.split('/').find(|component| !valid_component(component)) {
        Some(component) => Err(ReferenceError::Component {
            name: name.to_owned(),
            component: component.to_owned(),
        }),
        None => Ok(()),
    }
}

fn valid_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = component.starts_with(alphanumeric) && component.ends_with(alphanumeric);
    ends && component
        .split(alphanumeric)
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_and_shortened_as_docker_does() {
        for (text, canonical, familiar) in [
            ("redis", "docker.io/library/redis", "redis"),
            ("redis:7", "docker.io/library/redis:7", "redis:7"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("library/redis", "docker.io/library/redis", "redis"),
            ("docker.io/redis", "docker.io/library/redis", "redis"),
            ("index.docker.io/redis", "docker.io/library/redis", "redis"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
            (
                "docker.io/foo.bar/x",
                "docker.io/foo.bar/x",
                "docker.io/foo.bar/x",
            ),
            ("ghcr.io/org/app:1", "ghcr.io/org/app:1", "ghcr.io/org/app:1"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
            ("host:5000/x", "host:5000/x", "host:5000/x"),
            ("[fe80::1]:5000/x", "[fe80::1]:5000/x", "[fe80::1]:5000/x"),
            ("Upper/x", "Upper/x", "Upper/x"),
            (
                "a__b/c--d.e_f:V1.0-rc",
                "docker.io/a__b/c--d.e_f:V1.0-rc",
                "a__b/c--d.e_f:V1.0-rc",
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
        let pinned = Reference::parse(&format!("app:1@sha256:{HEX}")).unwrap();
        assert_eq!(pinned.tag(), Some("1"));
        assert_eq!(
            pinned.to_string(),
            format!("docker.io/library/app:1@sha256:{HEX}")
        );
        assert_eq!(
            pinned.with_tag("2").unwrap().to_string(),
            "docker.io/library/app:2"
        );
    }

    #[test]
    fn podman_puts_unqualified_names_below_localhost() {
        for (text, canonical) in [
            ("app", "localhost/app"),
            ("team/app:2", "localhost/team/app:2"),
            ("docker.io/app", "docker.io/library/app"),
            ("example.com/app", "example.com/app"),
        ] {
            assert_eq!(Reference::local_podman(text).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_by_its_part() {
        type Check = fn(&ReferenceError) -> bool;
        let cases: [(&str, Check); 21] = [
            ("", |e| matches!(e, ReferenceError::Empty(_))),
            (":1", |e| matches!(e, ReferenceError::Empty(_))),
            ("example.com/", |e| matches!(e, ReferenceError::Empty(_))),
            ("App", |e| matches!(e, ReferenceError::UpperCase(_))),
            ("example.com/App", |e| matches!(e, ReferenceError::UpperCase(_))),
            ("a/B", |e| matches!(e, ReferenceError::UpperCase(_))),
            ("-a.b/x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("host:port/x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("a..b/x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("[::1/x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("a//b", |e| matches!(e, ReferenceError::Component { .. })),
            ("a___b", |e| matches!(e, ReferenceError::Component { .. })),
            ("a..b", |e| matches!(e, ReferenceError::Component { .. })),
            ("a b", |e| matches!(e, ReferenceError::Component { .. })),
            ("../x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("a:", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a:.x", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a:b:c", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a:ü", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a@sha512:00", |e| matches!(e, ReferenceError::Digest { .. })),
            ("a@sha256:00", |e| matches!(e, ReferenceError::Digest { .. })),
        ];
        for (text, expected) in cases {
            let error = Reference::parse(text).unwrap_err();
            assert!(expected(&error), "{text}: {error:?}");
        }
        assert!(matches!(
            Reference::parse(HEX),
            Err(ReferenceError::LooksLikeId(_))
        ));
        let tagged = Reference::parse(&format!("docker.io/library/{HEX}:1")).unwrap();
        assert_eq!(Reference::parse(&tagged.familiar()), Ok(tagged));
        assert!(matches!(
            Reference::parse(&"a".repeat(256)),
            Err(ReferenceError::TooLong(_))
        ));
        assert!(Reference::parse(&format!("a:{}", "x".repeat(128))).is_ok());
        assert!(Reference::parse(&format!("a:{}", "x".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn canonical_and_familiar_forms_parse_back(
            domain in proptest::option::of("(localhost|[a-z0-9]{1,5}\\.[a-z]{2,3}|docker\\.io)(:[0-9]{2,4})?"),
            path in "[a-z0-9]{1,4}((_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}(\\.[a-z]{1,2})?){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest in proptest::option::of(any::<[u8; 32]>()),
        ) {
            let mut text = domain.map(|d| format!("{d}/")).unwrap_or_default() + &path;
            if let Some(tag) = &tag {
                text = format!("{text}:{tag}");
            }
            if let Some(digest) = digest {
                text = format!("{text}@{}", Digest::from_bytes(digest));
            }
            let reference = Reference::parse(&text).unwrap();
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            prop_assert_eq!(reference.tag(), tag.as_deref());
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in "\\PC{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            }
        }
    }
}
