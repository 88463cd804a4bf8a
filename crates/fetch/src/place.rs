//! Where the blobs of a reference lie: its own registry, and mirrors that have the same.

use std::fmt;
use std::str::FromStr;

use vcontainer_image::{Digest, Reference};

/// The server behind the name `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A repository on a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The registry as references name it: host and perhaps port.
    pub registry: String,
    /// The repository in it.
    pub repository: String,
}

impl Place {
    /// The own place of a reference.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        Self {
            registry: reference.domain().to_owned(),
            repository: reference.path().to_owned(),
        }
    }

    /// The server that answers for the registry.
    #[must_use]
    pub fn authority(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" => DOCKER_HUB,
            registry => registry,
        }
    }

    /// Where on the server a manifest or index lies. Source: OCI distribution-spec, "Pulling manifests".
    #[must_use]
    pub fn manifest(&self, name: &str) -> String {
        format!("/v2/{}/manifests/{name}", self.repository)
    }

    /// Where on the server a blob lies. Source: OCI distribution-spec, "Pulling blobs".
    #[must_use]
    pub fn blob(&self, digest: Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.repository)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// Says that what has one prefix is also found below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// A registry, perhaps with the beginning of a repository: `docker.io` or `docker.io/library`.
    prefix: String,
    /// What stands in its place.
    place: String,
}

/// Why a text names no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no mirror: write PREFIX=PLACE, such as docker.io=mirror.example:5000/hub, with a registry at the start of \
     both"
)]
pub struct MirrorError(String);

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let wrong = || MirrorError(text.to_owned());
        let (prefix, place) = text.split_once('=').ok_or_else(wrong)?;
        // The start of a reference is fine if a reference goes on from it.
        let read = |start: &str| {
            let start = start.trim_end_matches('/');
            let first = start.split('/').next().unwrap_or_default();
            let reference = Reference::parse(&format!("{start}/a/b")).map_err(|_| wrong())?;
            let is_registry = first.contains(['.', ':']) || first == "localhost";
            let name = reference.canonical_name();
            let read = name.strip_suffix("/a/b").filter(|_| is_registry);
            read.map(str::to_owned).ok_or_else(wrong)
        };
        Ok(Self {
            prefix: read(prefix)?,
            place: read(place)?,
        })
    }
}

/// The places of a reference, in the order in which they are asked: mirrors as given, then its own.
#[must_use]
pub fn places(reference: &Reference, mirrors: &[Mirror]) -> Vec<Place> {
    let name = reference.canonical_name();
    let mirrored = mirrors.iter().filter_map(|mirror| {
        let rest = name.strip_prefix(&mirror.prefix)?.strip_prefix('/')?;
        let there = format!("{}/{rest}", mirror.place);
        let (registry, repository) = there.split_once('/')?;
        Some(Place {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
        })
    });
    let mut places: Vec<Place> = mirrored.collect();
    places.push(Place::of(reference));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reference: &str, mirrors: &[&str]) -> Vec<String> {
        let mirrors: Vec<Mirror> = mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect();
        let places = places(&reference.parse().unwrap(), &mirrors);
        places.iter().map(Place::to_string).collect()
    }

    #[test]
    fn mirrors_come_first_and_prefixes_end_at_slashes() {
        assert_eq!(all("redis:7", &[]), ["docker.io/library/redis"]);
        let mirrors = [
            "docker.io=mirror.example:5000/hub",
            "docker.io/library=official.example",
            "docker.io/lib=wrong.example",
            "quay.io=other.example",
        ];
        assert_eq!(
            all("redis:7", &mirrors),
            [
                "mirror.example:5000/hub/library/redis",
                "official.example/redis",
                "docker.io/library/redis"
            ]
        );
        assert_eq!(all("quay.io/a/b", &mirrors), ["other.example/a/b", "quay.io/a/b"]);
        for wrong in [
            "",
            "x",
            "=",
            "docker.io=",
            "=m.example",
            "docker.io=UPPER/Case",
            "docker.io=m.example/a b",
        ] {
            assert!(wrong.parse::<Mirror>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn docker_hub_is_another_server_than_its_name() {
        let place = Place::of(&"redis".parse().unwrap());
        assert_eq!(place.authority(), "registry-1.docker.io");
        assert_eq!(place.manifest("7"), "/v2/library/redis/manifests/7");
        let local = Place::of(&"localhost:5000/x".parse().unwrap());
        assert_eq!(local.authority(), "localhost:5000");
    }
}
