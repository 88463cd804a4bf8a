//! Manifests and indexes: read-only views of the JSON that describes images.
//!
//! Sources: OCI image-spec `descriptor.md`, `manifest.md`, `image-index.md`; distribution's "Image Manifest Version 2,
//! Schema 2". The views name what this tool needs and ignore the rest; nothing is ever written from them, because a
//! manifest that came from outside is identified by its exact bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::platform::Platform;

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// What the media types of the obsolete schema 1 start with.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Annotation with the name that a layout gives to an image: a tag or a full reference.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the full reference, as containerd and `docker save` write it.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation with the digest of the index that an image of a layout was chosen from. The index lies beside it as a blob that no
/// entry names: most of what it lists is not there, and other tools would look for it.
pub const INDEX_DIGEST: &str = "vcontainer.index.digest";
/// Annotation by which BuildKit marks manifests that are no images.
const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Why JSON is not a usable manifest, index or configuration.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of the shape that the specification asks for.
    #[error("it is not valid JSON of its kind")]
    Json(#[from] serde_json::Error),
    /// Docker's format before 2016, which has no configuration to verify layers by.
    #[error(
        "it is a Docker schema 1 manifest, a format without image configuration: push or save the image again with a current tool"
    )]
    Schema1,
    /// Another version than 2.
    #[error("its schemaVersion is {0}, but only version 2 is known")]
    SchemaVersion(i64),
    /// A media type that is neither manifest nor index.
    #[error("its media type `{0}` is neither an image manifest nor an image index")]
    MediaType(String),
    /// Both a manifest and an index, so that two programs could read two different images.
    #[error("it has the fields of a manifest and of an index at once, which is not allowed")]
    Ambiguous,
    /// The descriptor says index and the content is a manifest, or the reverse.
    #[error("it is named as `{named}` but says itself that it is `{found}`")]
    Mismatch {
        /// Media type in the descriptor.
        named: String,
        /// Media type in the document.
        found: String,
    },
    /// A manifest of something else than an image.
    #[error("its config has media type `{0}`, so it is no container image but another kind of artifact")]
    NotAnImage(String),
}

/// A pointer to a blob: what it is, how big, and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type; empty when the document leaves it out.
    #[serde(default, deserialize_with = "null_as_default")]
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// Where else the blob may be downloaded; foreign layers have this.
    #[serde(default, deserialize_with = "null_as_default")]
    pub urls: Vec<String>,
    /// Free-form annotations.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// For entries of an index: the platform as written.
    #[serde(default)]
    pub platform: Option<DescriptorPlatform>,
    /// For entries of an index: what kind of artifact this is, if it is no image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub artifact_type: String,
}

/// A platform as written in an index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DescriptorPlatform {
    /// The operating system.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// The architecture.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// The variant of the architecture.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Descriptor {
    /// The platform that the entry names, normalised; `None` when it names none.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        let named = !platform.os.is_empty() && !platform.architecture.is_empty();
        named.then(|| Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref()))
    }

    /// Whether the entry is an attestation (provenance, software bill of materials) or another thing that is no image.
    ///
    /// BuildKit gives attestations the platform `unknown/unknown` and a marking annotation.
    #[must_use]
    pub fn is_no_image(&self) -> bool {
        let unknown = self
            .platform
            .as_ref()
            .is_some_and(|p| p.os == "unknown" || p.architecture == "unknown");
        // OCI 1.1 lets an entry repeat the media type of an image's configuration here.
        let artifact = !matches!(self.artifact_type.as_str(), "" | OCI_CONFIG | DOCKER_CONFIG);
        unknown || artifact || self.annotations.contains_key(DOCKER_REFERENCE_TYPE)
    }

    /// The index that the entry says it was chosen from; `None` also when what it says is no digest.
    #[must_use]
    pub fn chosen_from(&self) -> Option<Digest> {
        self.annotations.get(INDEX_DIGEST)?.parse().ok()
    }

    /// A pointer to a blob of which nothing else is known.
    #[must_use]
    pub fn of_blob(digest: Digest, size: u64) -> Self {
        Self {
            media_type: String::new(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: String::new(),
        }
    }

    /// The tag or full reference that the source gives to this entry, as written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [CONTAINERD_NAME, REF_NAME]
            .into_iter()
            .filter_map(|key| self.annotations.get(key))
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }
}

/// The manifest of one image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// Free-form annotations.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one a platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// What the document itself says it is; empty when it doesn't.
    #[serde(default, deserialize_with = "null_as_default")]
    pub media_type: String,
    /// The entries, in the order written.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Free-form annotations.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What a document with the media type of a manifest or an index turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestOrIndex {
    /// One image.
    Manifest(Box<Manifest>),
    /// A list.
    Index(Index),
}

/// The fields that tell the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

/// Parses a manifest or an index. `named` is the media type by which it was referred to, empty if unknown.
///
/// # Errors
/// JSON of another shape, schema 1, artifacts that are no images, and documents that contradict themselves or the
/// media type they were named by.
pub fn parse_manifest_or_index(bytes: &[u8], named: &str) -> Result<ManifestOrIndex, DocumentError> {
    let kind: Kind = serde_json::from_slice(bytes)?;
    if kind.schema_version == Some(1) {
        return Err(DocumentError::Schema1);
    }
    // Some old writers leave the version out; a wrong one is never right.
    if let Some(version) = kind.schema_version.filter(|version| *version != 2) {
        return Err(DocumentError::SchemaVersion(version));
    }
    let (has_list, has_image) = (
        kind.manifests.is_some(),
        kind.config.is_some() || kind.layers.is_some(),
    );
    // CVE-2021-41190: a document that is both is read differently by different programs.
    if has_list && has_image {
        return Err(DocumentError::Ambiguous);
    }
    let (by_name, by_content) = (is_index(named)?, is_index(&kind.media_type)?);
    let index = by_content.or(by_name).unwrap_or(has_list);
    let mismatch = |found: &str| DocumentError::Mismatch {
        named: named.to_owned(),
        found: found.to_owned(),
    };
    if by_name.is_some_and(|by_name| by_name != index) {
        return Err(mismatch(&kind.media_type));
    }
    if index {
        if has_image {
            return Err(mismatch(OCI_MANIFEST));
        }
        return Ok(ManifestOrIndex::Index(serde_json::from_slice(bytes)?));
    }
    if has_list {
        return Err(mismatch(OCI_INDEX));
    }
    let manifest: Box<Manifest> = serde_json::from_slice(bytes)?;
    match manifest.config.media_type.as_str() {
        "" | OCI_CONFIG | DOCKER_CONFIG => Ok(ManifestOrIndex::Manifest(manifest)),
        other => Err(DocumentError::NotAnImage(other.to_owned())),
    }
}

/// Whether a media type is an index or a manifest; `None` when it is not given.
///
/// # Errors
/// A media type that is neither, and schema 1.
pub(crate) fn is_index(media_type: &str) -> Result<Option<bool>, DocumentError> {
    match media_type {
        "" => Ok(None),
        OCI_MANIFEST | DOCKER_MANIFEST => Ok(Some(false)),
        OCI_INDEX | DOCKER_MANIFEST_LIST => Ok(Some(true)),
        old if old.starts_with(DOCKER_SCHEMA_1) => Err(DocumentError::Schema1),
        other => Err(DocumentError::MediaType(other.to_owned())),
    }
}

/// Go writes an empty list or map as `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, named: &str) -> Result<ManifestOrIndex, DocumentError> {
        parse_manifest_or_index(json.as_bytes(), named)
    }

    #[test]
    fn null_and_missing_lists_are_empty() {
        for json in [
            r#"{"schemaVersion":2,"manifests":null,"annotations":null}"#,
            r#"{"manifests":[]}"#,
        ] {
            let ManifestOrIndex::Index(index) = parse(json, OCI_INDEX).unwrap() else {
                panic!("{json} is an index");
            };
            assert!(index.manifests.is_empty());
        }
    }

    #[test]
    fn the_kind_comes_from_content_when_nobody_names_it() {
        let digest = Digest::of(b"");
        let config = format!(r#"{{"digest":"{digest}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#);
        assert!(matches!(parse(&manifest, ""), Ok(ManifestOrIndex::Manifest(_))));
        assert!(matches!(
            parse(&manifest, DOCKER_MANIFEST),
            Ok(ManifestOrIndex::Manifest(_))
        ));
        assert!(matches!(
            parse(&manifest, OCI_INDEX),
            Err(DocumentError::Mismatch { .. })
        ));
        assert!(matches!(
            parse(r#"{"manifests":[]}"#, ""),
            Ok(ManifestOrIndex::Index(_))
        ));
        assert!(matches!(
            parse(r#"{"manifests":[]}"#, OCI_MANIFEST),
            Err(DocumentError::Mismatch { .. })
        ));
    }

    #[test]
    fn foreign_documents_are_refused() {
        assert!(matches!(
            parse(r#"{"schemaVersion":1}"#, ""),
            Err(DocumentError::Schema1)
        ));
        assert!(matches!(
            parse(r#"{"schemaVersion":3}"#, ""),
            Err(DocumentError::SchemaVersion(3))
        ));
        assert!(matches!(
            parse(r#"{"schemaVersion":2,"mediaType":"text/html"}"#, ""),
            Err(DocumentError::MediaType(_))
        ));
        let negative = format!(
            r#"{{"manifests":[{{"digest":"{}","size":-1}}]}}"#,
            Digest::of(b"")
        );
        let sha512 = r#"{"manifests":[{"digest":"sha512:00","size":1}]}"#;
        for json in ["", "[]", "null", &negative, sha512, &"[".repeat(100_000)] {
            assert!(matches!(parse(json, ""), Err(DocumentError::Json(_))));
        }
    }
}
