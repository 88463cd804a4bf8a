//! Properties of the indexes of containers/storage.

use vcontainer_image::{Digest, Timestamp};

use super::images_json::{BigData, ImageFields};
use super::records::{Records, text, texts};

/// `images.json`: our image is there with its names, no name twice through us, other records keep the rest.
pub(crate) fn images(data: &[u8]) {
    let Ok(mut images) = Records::parse(data) else {
        return;
    };
    assert_eq!(Records::parse(&images.to_bytes()).as_ref(), Ok(&images));
    let count = images.iter().count();
    let names = ["docker.io/library/app:1".to_owned(), "localhost/app:2".to_owned()];
    let big_data = [BigData {
        key: "manifest".to_owned(),
        content: b"{}",
        digest: Digest::of(b"{}"),
    }];
    let fields = ImageFields {
        config: Digest::of(b"config"),
        listed: Digest::of(b"{}"),
        names: &names,
        top_layer: Some("layer"),
        created: Timestamp::default(),
        big_data: &big_data,
    };
    let known = images.get(&fields.id()).is_some();
    let mut written = Vec::new();
    for _ in 0..2 {
        fields.put(&mut images);
        let bytes = images.to_bytes();
        assert!(written.is_empty() || written == bytes);
        images = Records::parse(&bytes).unwrap();
        written = bytes;
    }
    assert_eq!(images.iter().count(), count + usize::from(!known));
    for name in &names {
        let holders: Vec<Option<&str>> = images
            .iter()
            .filter(|record| texts(record, "names").contains(name))
            .map(|record| text(record, "id"))
            .collect();
        assert!(
            holders.iter().all(|id| *id == Some(&fields.id())) && !holders.is_empty(),
            "{holders:?}"
        );
    }
}
