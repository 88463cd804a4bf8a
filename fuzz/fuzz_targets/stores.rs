//! Whole stores that are there already, in every kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::{folder, parts};

/// Where the parts of an input lie. `ID` is the name of an image, layer or snapshot, of 64 hex digits.
const FILES: &[&str] = &[
    "image/overlay2/repositories.json",
    "image/overlay2/imagedb/content/sha256/ID",
    "image/overlay2/layerdb/sha256/ID/diff",
    "image/overlay2/layerdb/sha256/ID/size",
    "image/overlay2/layerdb/sha256/ID/parent",
    "image/overlay2/layerdb/sha256/ID/cache-id",
];
const PODMAN_FILES: &[&str] = &[
    "overlay-layers/layers.json",
    "overlay-images/images.json",
    "overlay-images/ID/=c2hhMjU2OklE",
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let folder = folder();
    let files = if kind & 1 == 0 { FILES } else { PODMAN_FILES };
    for (name, content) in files.iter().zip(parts(data)) {
        let path = folder.path().join(name.replace("ID", &"0".repeat(64)));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let Ok(view) = vcontainer_store::read_store(folder.path()) else {
        return;
    };
    serde_json::to_string(&view).unwrap();
});
