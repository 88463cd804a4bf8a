//! `overlay-images/images.json`: the images of a containers/storage store.
//!
//! Source: containers/storage `images.go`: `type Image` (fields and their order), `updateNames`, `addNameToHistory`;
//! `store.go` `makeBigDataBaseName`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vcontainer_image::{Digest, Timestamp};

use super::records::{Record, Records, text, texts};
use crate::time::to_rfc3339;

/// A document that the store keeps beside the record, in a file of its own.
#[derive(Debug, Clone)]
pub(crate) struct BigData<'a> {
    /// Under which name the engine asks for it.
    pub key: String,
    /// The document as it came.
    pub content: &'a [u8],
    /// Digest of `content`.
    pub digest: Digest,
}

impl BigData<'_> {
    /// The file's name: the key if it consists only of `.`, digits and small letters, else `=` and its base64.
    pub(crate) fn file_name(&self) -> String {
        let plain = |byte: u8| byte == b'.' || byte.is_ascii_digit() || byte.is_ascii_lowercase();
        match self.key.bytes().all(plain) {
            true => self.key.clone(),
            false => format!("={}", STANDARD.encode(&self.key)),
        }
    }
}

/// What `images.json` says about an image.
#[derive(Debug)]
pub(crate) struct ImageFields<'a> {
    /// Digest of the configuration; the image's ID is its hex form.
    pub config: Digest,
    /// The digest that the image is listed by: of the index that it was chosen from, else of the manifest, as a pull
    /// by containers/image leaves it.
    pub listed: Digest,
    /// Canonical names with tag.
    pub names: &'a [String],
    /// ID of the topmost layer; none for an image without layers.
    pub top_layer: Option<&'a str>,
    /// When the image was made, from its configuration.
    pub created: Timestamp,
    /// The documents that belong to it.
    pub big_data: &'a [BigData<'a>],
}

impl ImageFields<'_> {
    /// The image's ID.
    pub(crate) fn id(&self) -> String {
        self.config.hex()
    }

    /// Puts the image into the index: a new record, or names and documents added to the one that it has there.
    /// Its names are taken from the images that had them; those keep them in their history.
    pub(crate) fn put(&self, images: &mut Records) {
        let id = self.id();
        for other in images.iter_mut().filter(|record| text(record, "id") != Some(&id)) {
            self.take_names(other);
        }
        match images.position(&id).and_then(|position| images.at_mut(position)) {
            Some(record) => self.extend(record),
            None => images.push(self.record()),
        }
    }

    fn take_names(&self, other: &mut Record) {
        let before = texts(other, "names");
        let after: Vec<&String> = before.iter().filter(|name| !self.names.contains(name)).collect();
        if after.is_empty() && !before.is_empty() {
            other.shift_remove("names");
        } else if after.len() < before.len() {
            other.insert("names".into(), json!(after));
        }
    }

    fn record(&self) -> Record {
        let mut record = Record::new();
        record.insert("id".into(), json!(self.id()));
        record.insert("digest".into(), json!(self.listed));
        if !self.names.is_empty() {
            record.insert("names".into(), json!(self.names));
            // Names come one by one and the newest stands first.
            let history: Vec<&String> = self.names.iter().rev().collect();
            record.insert("names-history".into(), json!(history));
        }
        if let Some(layer) = self.top_layer {
            record.insert("layer".into(), json!(layer));
        }
        record.insert("metadata".into(), json!("{}"));
        self.set_big_data(&mut record);
        record.insert("created".into(), json!(to_rfc3339(self.created)));
        record
    }

    fn extend(&self, record: &mut Record) {
        let before = texts(record, "names");
        if self.names.iter().any(|name| !before.contains(name)) {
            let names = without_repetition(self.names.iter().chain(&before));
            let history = texts(record, "names-history");
            let history = without_repetition(names.iter().rev().chain(&history));
            record.insert("names".into(), json!(names));
            record.insert("names-history".into(), json!(history));
        }
        match self.top_layer {
            Some(layer) => drop(record.insert("layer".into(), json!(layer))),
            None => drop(record.shift_remove("layer")),
        }
        self.set_big_data(record);
    }

    fn set_big_data(&self, record: &mut Record) {
        let keys: Vec<String> = self.big_data.iter().map(|item| item.key.clone()).collect();
        let names = without_repetition(texts(record, "big-data-names").iter().chain(&keys));
        record.insert("big-data-names".into(), json!(names));
        for (field, value) in [
            (
                "big-data-sizes",
                (|item| json!(item.content.len())) as fn(&BigData<'_>) -> Value,
            ),
            ("big-data-digests", |item| json!(item.digest)),
        ] {
            // Go writes maps with sorted keys.
            let mut values = record
                .get(field)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            values.extend(self.big_data.iter().map(|item| (item.key.clone(), value(item))));
            values.sort_keys();
            record.insert(field.into(), Value::Object(values));
        }
    }
}

fn without_repetition<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for text in texts {
        if !kept.contains(text) {
            kept.push(text.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(index: &str, config: &[u8], names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let big_data = [BigData {
            key: "manifest".into(),
            content: b"{}",
            digest: Digest::of(b"{}"),
        }];
        let mut images = Records::parse(index.as_bytes()).unwrap();
        let fields = ImageFields {
            config: Digest::of(config),
            listed: Digest::of(b"{}"),
            names: &names,
            top_layer: Some("top"),
            created: Timestamp::default(),
            big_data: &big_data,
        };
        fields.put(&mut images);
        String::from_utf8(images.to_bytes()).unwrap()
    }

    #[test]
    fn file_names_follow_containers_storage() {
        let name = |key: &str| {
            BigData {
                key: key.into(),
                content: b"",
                digest: Digest::of(b""),
            }
            .file_name()
        };
        assert_eq!(name("manifest"), "manifest");
        assert_eq!(name("sha256:00"), "=c2hhMjU2OjAw");
        assert_eq!(name("manifest-sha256:0"), "=bWFuaWZlc3Qtc2hhMjU2OjA=");
    }

    #[test]
    fn a_record_is_written_as_podman_writes_it() {
        let (id, digest) = (Digest::of(b"c").hex(), Digest::of(b"{}"));
        let wanted = format!(
            "[{{\"id\":\"{id}\",\"digest\":\"{digest}\",\"names\":[\"localhost/a:1\",\"localhost/b:1\"],\
             \"names-history\":[\"localhost/b:1\",\"localhost/a:1\"],\"layer\":\"top\",\"metadata\":\"{{}}\",\
             \"big-data-names\":[\"manifest\"],\"big-data-sizes\":{{\"manifest\":2}},\
             \"big-data-digests\":{{\"manifest\":\"{digest}\"}},\"created\":\"1970-01-01T00:00:00Z\"}}]"
        );
        assert_eq!(put("", b"c", &["localhost/a:1", "localhost/b:1"]), wanted);
    }

    #[test]
    fn a_name_moves_to_the_new_image_and_stays_in_the_history_of_the_old() {
        let one = put("", b"old", &["localhost/a:1", "localhost/b:1"]);
        let two: Value = serde_json::from_str(&put(&one, b"new", &["localhost/a:1"])).unwrap();
        assert_eq!(two[0]["names"], json!(["localhost/b:1"]));
        assert_eq!(two[0]["names-history"], json!(["localhost/b:1", "localhost/a:1"]));
        assert_eq!(two[1]["names"], json!(["localhost/a:1"]));
        let three: Value =
            serde_json::from_str(&put(&one, b"new", &["localhost/a:1", "localhost/b:1"])).unwrap();
        assert_eq!(three[0].get("names"), None);
    }

    #[test]
    fn an_image_that_is_there_gets_names_and_keeps_the_rest() {
        let id = Digest::of(b"c").hex();
        let index = format!(
            r#"[{{"id":"{id}","names":["localhost/a:1"],"layer":"top","big-data-names":["x"],"big-data-sizes":{{"x":1}},"later":7}}]"#
        );
        let after: Value = serde_json::from_str(&put(&index, b"c", &["localhost/b:1"])).unwrap();
        assert_eq!(after[0]["names"], json!(["localhost/b:1", "localhost/a:1"]));
        assert_eq!(after[0]["big-data-names"], json!(["x", "manifest"]));
        assert_eq!(after[0]["later"], 7);
    }

    proptest! {
        #[test]
        fn putting_twice_is_putting_once_and_no_name_names_two(
            images in prop::collection::vec((0_u8..4, prop::collection::btree_set("[a-d]", 0..3)), 0..6),
        ) {
            let mut index = String::new();
            for (config, names) in &images {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                index = put(&index, &[*config], &names);
                prop_assert_eq!(&put(&index, &[*config], &names), &index);
            }
            let records = Records::parse(index.as_bytes()).unwrap();
            let all: Vec<String> = records.iter().flat_map(|record| texts(record, "names")).collect();
            let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
    }
}
