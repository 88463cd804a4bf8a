//! `repositories.json`: which names belong to which images of a Docker overlay2 store.
//!
//! `{"Repositories":{"<familiar name>":{"<familiar name>:<tag>":"sha256:<image ID>",
//! "<familiar name>@sha256:<digest>":"sha256:<image ID>"}}}`, keys sorted. Source: moby
//! `daemon/internal/refstore/store.go`, `addReference`: names are *familiar* (`busybox`, not
//! `docker.io/library/busybox`), and a name with tag and digest is kept under its digest only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vcontainer_image::Digest;

/// The names in a store. Whatever this tool does not know is kept as it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Repositories {
    #[serde(rename = "Repositories", default)]
    repositories: Option<BTreeMap<String, Option<BTreeMap<String, String>>>>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Repositories {
    /// Reads the file.
    ///
    /// # Errors
    /// What is not JSON of that form.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The content of the file.
    ///
    /// # Errors
    /// None that can happen: every key is a string.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let filled = Self {
            repositories: Some(self.repositories.clone().unwrap_or_default()),
            other: self.other.clone(),
        };
        serde_json::to_vec(&filled)
    }

    /// Lets `<repository>:<tag>` name `image`; another image that had the name loses it, as with `docker tag`.
    pub(crate) fn set_tag(&mut self, repository: &str, tag: &str, image: Digest) {
        self.set(repository, format!("{repository}:{tag}"), image);
    }

    /// Lets `<repository>@<digest>` name `image`.
    pub(crate) fn set_digest(&mut self, repository: &str, digest: Digest, image: Digest) {
        self.set(repository, format!("{repository}@{digest}"), image);
    }

    fn set(&mut self, repository: &str, reference: String, image: Digest) {
        let repositories = self.repositories.get_or_insert_default();
        let references = repositories.entry(repository.to_owned()).or_default();
        references
            .get_or_insert_default()
            .insert(reference, image.to_string());
    }

    /// All references and the images they name, sorted.
    pub(crate) fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        let references = self
            .repositories
            .iter()
            .flatten()
            .filter_map(|(_, references)| references.as_ref());
        references
            .flatten()
            .map(|(reference, image)| (reference.as_str(), image.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_written_as_docker_writes_it() {
        let (image, index) = (Digest::of(b"config"), Digest::of(b"index"));
        let mut names = Repositories::default();
        names.set_tag("redis", "7", image);
        names.set_digest("redis", index, image);
        names.set_tag("ghcr.example/x/y", "latest", image);
        let text = String::from_utf8(names.to_bytes().unwrap()).unwrap();
        let wanted = format!(
            "{{\"Repositories\":{{\"ghcr.example/x/y\":{{\"ghcr.example/x/y:latest\":\"{image}\"}},\
             \"redis\":{{\"redis:7\":\"{image}\",\"redis@{index}\":\"{image}\"}}}}}}"
        );
        assert_eq!(text, wanted);
    }

    #[test]
    fn an_empty_or_null_index_is_one_without_names() {
        for text in ["{}", r#"{"Repositories":null}"#, r#"{"Repositories":{"a":null}}"#] {
            let names = Repositories::parse(text.as_bytes()).unwrap();
            assert_eq!(names.references().count(), 0);
        }
        let empty = Repositories::default().to_bytes().unwrap();
        assert_eq!(empty, br#"{"Repositories":{}}"#);
    }

    #[test]
    fn unknown_fields_and_other_images_are_kept_and_a_tag_moves() {
        let text = r#"{"Repositories":{"a":{"a:1":"sha256:x","a:2":"sha256:y"}},"Later":[1]}"#;
        let mut names = Repositories::parse(text.as_bytes()).unwrap();
        let image = Digest::of(b"new");
        names.set_tag("a", "1", image);
        let text = String::from_utf8(names.to_bytes().unwrap()).unwrap();
        let wanted =
            format!(r#"{{"Repositories":{{"a":{{"a:1":"{image}","a:2":"sha256:y"}}}},"Later":[1]}}"#);
        assert_eq!(text, wanted);
    }

    type Entries = BTreeMap<String, BTreeMap<String, String>>;

    fn entries() -> impl Strategy<Value = Entries> {
        let references = prop::collection::btree_map("[a-c]{1,2}:[0-9]", "sha256:[0-9a-f]{4}", 0..4);
        prop::collection::btree_map("[a-c]{1,2}", references, 0..4)
    }

    proptest! {
        #[test]
        fn merging_touches_only_what_it_sets(before in entries(), repository in "[a-c]{1,2}", tag in "[0-9]") {
            let image = Digest::of(b"image");
            let bytes = serde_json::to_vec(&serde_json::json!({ "Repositories": &before })).unwrap();
            let mut names = Repositories::parse(&bytes).unwrap();
            names.set_tag(&repository, &tag, image);
            let once = names.to_bytes().unwrap();
            let mut again = Repositories::parse(&once).unwrap();
            again.set_tag(&repository, &tag, image);
            prop_assert_eq!(&again.to_bytes().unwrap(), &once);

            let mut wanted = before;
            wanted.entry(repository.clone()).or_default().insert(format!("{repository}:{tag}"), image.to_string());
            let after: serde_json::Value = serde_json::from_slice(&once).unwrap();
            prop_assert_eq!(after, serde_json::json!({ "Repositories": wanted }));
        }
    }
}
