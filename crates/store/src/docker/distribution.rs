//! `distribution/`: what Docker remembers about the blobs that layers came in.
//!
//! `diffid-by-digest/sha256/<blob>` lets a later `docker pull` say "Already exists" for a layer that is here;
//! `v2metadata-by-diffid/sha256/<diff ID>` lets `docker push` find the blob in the repository that it came from.
//! Source: moby `daemon/internal/distribution/metadata/v2_metadata_service.go`.

use serde_json::{Value, json};
use vcontainer_image::Digest;

/// How many blobs Docker remembers for a layer (`maxMetadata`); the oldest, which come first, are dropped.
const MAX_BLOBS: usize = 50;

/// Adds a blob of `repository` (a canonical name, `docker.io/library/busybox`) to the content of a
/// `v2metadata-by-diffid` file. Entries that are there keep their place and their unknown fields, so that adding one
/// again changes nothing. Content that is no JSON array counts as none, as Docker has it.
pub(crate) fn remember_blob(existing: Option<&[u8]>, blob: Digest, repository: &str) -> Vec<u8> {
    let existing = existing.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let mut blobs = match existing {
        Some(Value::Array(blobs)) => blobs,
        _ => Vec::new(),
    };
    let entry = json!({ "Digest": blob.to_string(), "SourceRepository": repository, "HMAC": "" });
    if !blobs.contains(&entry) {
        blobs.push(entry);
    }
    let surplus = blobs.len().saturating_sub(MAX_BLOBS);
    blobs.drain(..surplus);
    Value::Array(blobs).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_docker_writes_them_and_kept() {
        let blob = Digest::of(b"blob");
        let first = remember_blob(None, blob, "docker.io/library/a");
        let wanted = format!(r#"[{{"Digest":"{blob}","SourceRepository":"docker.io/library/a","HMAC":""}}]"#);
        assert_eq!(String::from_utf8(first.clone()).unwrap(), wanted);
        assert_eq!(remember_blob(Some(&first), blob, "docker.io/library/a"), first);
        let foreign = br#"[{"Digest":"sha256:x","SourceRepository":"r","HMAC":"h","Later":1}]"#;
        let merged = String::from_utf8(remember_blob(Some(foreign), blob, "docker.io/library/a")).unwrap();
        assert!(
            merged.starts_with(r#"[{"Digest":"sha256:x","SourceRepository":"r","HMAC":"h","Later":1},{"#),
            "{merged}"
        );
        assert_eq!(remember_blob(Some(b"junk"), blob, "docker.io/library/a"), first);
        let numbers = remember_blob(Some(b"[111111111111111111111111111111111111111, 0.1]"), blob, "r");
        assert_eq!(remember_blob(Some(&numbers), blob, "r"), numbers);
    }

    #[test]
    fn the_oldest_entries_are_dropped() {
        let mut content = remember_blob(None, Digest::of(b"0"), "r");
        for number in 1..60_u32 {
            content = remember_blob(Some(&content), Digest::of(&number.to_le_bytes()), "r");
        }
        let blobs: Vec<Value> = serde_json::from_slice(&content).unwrap();
        assert_eq!(blobs.len(), 50);
        assert_eq!(blobs[49]["Digest"], Digest::of(&59_u32.to_le_bytes()).to_string());
    }
}
