//! Properties of Docker's JSON files.

use serde_json::Value;
use vcontainer_image::Digest;

use super::distribution::remember_blob;
use super::repositories::Repositories;

/// `repositories.json`: what is set is there, everything else stays, setting twice changes nothing.
pub(crate) fn repositories(data: &[u8]) {
    let Ok(mut names) = Repositories::parse(data) else {
        return;
    };
    let (image, index) = (Digest::of(b"image"), Digest::of(b"index"));
    let pinned = format!("app@{index}");
    let ours = |reference: &str| reference == "app:1" || reference == pinned;
    let others = |names: &Repositories| -> Vec<(String, String)> {
        names
            .references()
            .filter(|(reference, _)| !ours(reference))
            .map(|(reference, image)| (reference.to_owned(), image.to_owned()))
            .collect()
    };
    let before = others(&names);
    let mut written = Vec::new();
    for _ in 0..2 {
        names.set_tag("app", "1", image);
        names.set_digest("app", index, image);
        let bytes = names.to_bytes().unwrap();
        assert!(written.is_empty() || written == bytes);
        names = Repositories::parse(&bytes).unwrap();
        written = bytes;
    }
    assert_eq!(others(&names), before);
    let tag = image.to_string();
    assert!(names.references().any(|found| found == ("app:1", &tag)));
    serde_json::from_slice::<Value>(&written).unwrap();
}

/// `v2metadata-by-diffid`: the blob is remembered once, last of at most fifty.
pub(crate) fn distribution(data: &[u8]) {
    let blob = Digest::of(b"blob");
    let once = remember_blob(Some(data), blob, "docker.io/library/app");
    assert_eq!(remember_blob(Some(&once), blob, "docker.io/library/app"), once);
    let entries: Vec<Value> = serde_json::from_slice(&once).unwrap();
    assert!(entries.len() <= 50);
    assert!(entries.iter().any(|entry| entry["Digest"] == blob.to_string()));
}
