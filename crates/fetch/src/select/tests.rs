use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Documents by digest, as a registry has them.
#[derive(Default)]
struct Documents(BTreeMap<Digest, Vec<u8>>);

impl Documents {
    fn add(&mut self, document: &Value) -> (Digest, usize) {
        let bytes = document.to_string().into_bytes();
        let (digest, size) = (Digest::of(&bytes), bytes.len());
        self.0.insert(digest, bytes);
        (digest, size)
    }

    /// A descriptor of a new document.
    fn described(&mut self, media_type: &str, document: &Value) -> Value {
        let (digest, size) = self.add(document);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    }

    /// An image whose configuration says this of its platform.
    fn image(&mut self, platform: &Value) -> Value {
        let mut config = platform.clone();
        config["rootfs"] = json!({"type": "layers", "diff_ids": []});
        let config = self.described(vcontainer_image::OCI_CONFIG, &config);
        self.described(
            OCI_MANIFEST,
            &json!({"schemaVersion": 2, "config": config, "layers": []}),
        )
    }

    fn index(&mut self, entries: &[Value]) -> Value {
        self.described(
            OCI_INDEX,
            &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}),
        )
    }

    fn choose(&self, digest: &Value, platform: &str) -> Result<Chosen, Error> {
        let platform = Platform::for_machine(platform).ok();
        let mut get = |wanted: &Wanted<'_>| {
            self.0.get(&wanted.digest).cloned().ok_or(Error::Offline {
                what: wanted.what.into(),
                cache: "none".into(),
            })
        };
        let digest = digest["digest"].as_str().unwrap().parse().unwrap();
        Selection::new("app", platform.as_ref(), &mut get).choose(digest)
    }
}

fn marked(mut entry: Value, platform: Value) -> Value {
    entry["platform"] = platform;
    entry
}

fn arm(variant: &str) -> Value {
    json!({"os": "linux", "architecture": "arm", "variant": variant})
}

#[test]
fn the_best_variant_is_chosen_and_no_attestation() {
    let mut documents = Documents::default();
    let entries = ["v5", "v6", "v8"].map(|variant| marked(documents.image(&arm(variant)), arm(variant)));
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let attestation = marked(documents.image(&unknown), unknown);
    let index = documents.index(&[&[attestation][..], &entries].concat());
    assert_eq!(
        documents.choose(&index, "armv7l").unwrap().platform.to_string(),
        "linux/arm/v6"
    );
    let error = documents.choose(&index, "").unwrap_err();
    assert!(
        matches!(&error, Error::NoPlatform { available, .. } if available.len() == 3),
        "{error}"
    );
    assert!(matches!(
        documents.choose(&index, "x86_64"),
        Err(Error::Platform { .. })
    ));
}

#[test]
fn entries_without_a_platform_and_nested_indexes_are_looked_into() {
    let mut documents = Documents::default();
    let arm = documents.image(&arm("v7"));
    let amd = documents.image(&json!({"os": "linux", "architecture": "amd64"}));
    let below = documents.index(&[arm.clone(), amd]);
    let index = documents.index(std::slice::from_ref(&below));
    let chosen = documents.choose(&index, "x86_64").unwrap();
    assert_eq!(chosen.platform.to_string(), "linux/amd64");
    let indexes: Vec<String> = chosen
        .indexes
        .iter()
        .map(|index| index.digest.to_string())
        .collect();
    assert_eq!(
        indexes,
        [&index, &below].map(|index| index["digest"].as_str().unwrap())
    );
    // An index with one image needs no platform.
    let single = documents.index(&[arm]);
    assert_eq!(
        documents.choose(&single, "").unwrap().platform.to_string(),
        "linux/arm/v7"
    );
    let mut deep = index;
    for _ in 0..3 {
        deep = documents.index(&[deep]);
    }
    let error = documents.choose(&deep, "x86_64").unwrap_err().to_string();
    assert!(error.contains("nested more than 3 deep"), "{error}");
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let mut documents = Documents::default();
    let image = documents.image(&json!({"os": "linux", "architecture": "amd64"}));
    let (marked_wrong, mut size_wrong) = (marked(image.clone(), arm("v7")), image.clone());
    size_wrong["size"] = json!(1);
    let config = documents.described(vcontainer_image::OCI_CONFIG, &json!({"rootfs": {"diff_ids": []}}));
    let mut layer = documents.described("application/vnd.oci.image.layer.v1.tar", &json!(1));
    let layers = documents.described(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": config, "layers": [layer.clone()]}),
    );
    layer["size"] = json!(u64::MAX);
    let mut large = config.clone();
    large["size"] = json!(MOST_CONFIG + 1);
    let large = documents.described(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": large, "layers": []}),
    );
    let artifact = documents.described("application/x", &json!(1));
    let artifact = documents.described(
        OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": artifact, "layers": []}),
    );
    for (wrong, says) in [
        (
            documents.index(&[marked_wrong]),
            "its index says it is for linux/arm/v7",
        ),
        (documents.index(&[size_wrong]), "bytes, and what names it says 1"),
        (documents.index(&[]), "lists no image"),
        (layers, "its manifest has 1 layers and its configuration 0"),
        (large, "more than the limit"),
        (artifact, "cannot be used"),
        (config, "cannot be used"),
    ] {
        let error = documents.choose(&wrong, "armv7l").unwrap_err().to_string();
        assert!(error.contains(says), "{error} instead of {says}");
    }
    let many: Vec<Value> = (0..=MOST_DOCUMENTS)
        .map(|number| {
            documents.image(&json!({"os": "linux", "architecture": "arm", "author": number.to_string()}))
        })
        .collect();
    let many = documents.index(&many);
    let error = documents.choose(&many, "armv7l").unwrap_err().to_string();
    assert!(
        error.contains("more than 64 images without a platform"),
        "{error}"
    );
}

#[test]
fn the_media_type_is_told_by_whoever_knows_it() {
    let mut documents = Documents::default();
    let config = |documents: &mut Documents, media_type: &str| {
        documents.described(
            media_type,
            &json!({"architecture": "amd64", "rootfs": {"diff_ids": []}}),
        )
    };
    for (config_type, own, expected) in [
        (DOCKER_CONFIG, None, DOCKER_MANIFEST),
        (vcontainer_image::OCI_CONFIG, None, OCI_MANIFEST),
        (
            vcontainer_image::OCI_CONFIG,
            Some(DOCKER_MANIFEST),
            DOCKER_MANIFEST,
        ),
    ] {
        let config = config(&mut documents, config_type);
        let manifest = documents.described(
            "",
            &json!({"schemaVersion": 2, "mediaType": own, "config": config}),
        );
        let chosen = documents.choose(&manifest, "").unwrap();
        assert_eq!(chosen.manifest.media_type, expected);
        assert_eq!(
            chosen.manifest.digest.to_string(),
            manifest["digest"].as_str().unwrap()
        );
    }
}

proptest! {
    #[test]
    fn any_documents_are_chosen_from_or_refused(
        texts in proptest::collection::vec("[\\[\\]{}:,\"a-z0-9]{0,40}", 1..4),
        platform in "(aarch64|armv7l|)",
    ) {
        let mut documents = Documents::default();
        let entries: Vec<Value> = texts
            .iter()
            .map(|text| {
                let bytes = text.clone().into_bytes();
                let digest = Digest::of(&bytes);
                documents.0.insert(digest, bytes);
                json!({"digest": digest.to_string(), "size": text.len()})
            })
            .collect();
        let index = documents.index(&entries);
        let _ = documents.choose(&index, &platform);
    }
}
