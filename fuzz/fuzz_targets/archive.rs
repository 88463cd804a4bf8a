//! Files that may be image archives or tarballs of a root filesystem, of any form.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::{archive, folder};
use vcontainer_image::{OpenOptions, Platform};

fuzz_target!(|data: &[u8]| {
    let folder = folder();
    let path = folder.path().join("archive");
    // With bit 1 of the first byte clear the bytes are taken as they are, compressed streams for example.
    let bytes = match data.first() {
        Some(mode) if mode & 2 != 0 => archive::tar(data),
        _ => data.get(1..).unwrap_or_default().to_vec(),
    };
    std::fs::write(&path, bytes).unwrap();
    let mut options = OpenOptions::new(Platform::for_machine("aarch64").unwrap());
    options.scratch = Some(folder.path().to_owned());
    options.limits.inflated_bytes = 8 << 20;
    let _ = vcontainer_image::open(&path, &options);
    for image in vcontainer_image::list(&path, &options).into_iter().flatten() {
        assert_eq!(image.layers.len(), image.config_view.rootfs.diff_ids.len());
        for layer in &image.layers {
            let mut bytes = Vec::new();
            layer.open().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, layer.size);
        }
    }
});
