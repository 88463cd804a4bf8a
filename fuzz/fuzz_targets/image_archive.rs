//! Image archives whose documents refer to each other with right digests and sizes, so that what stands in them is
//! reached. See `archive::image` for the form of the input.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use vcontainer_fuzz::{archive, folder, parts};
use vcontainer_image::{Image, OpenOptions, Platform, Reference};

fuzz_target!(|data: &[u8]| {
    let parts = parts(data);
    if parts.len() > 10 {
        return;
    }
    let folder = folder();
    let path = folder.path().join("archive");
    std::fs::write(&path, archive::image(&parts)).unwrap();
    let mut options = OpenOptions::new(Platform::for_machine("aarch64").unwrap());
    options.scratch = Some(folder.path().to_owned());
    options.limits.inflated_bytes = 8 << 20;
    if let Ok(image) = vcontainer_image::open(&path, &options) {
        check(&image);
        assert!(options.platform.rank(&image.platform).is_some());
    }
    vcontainer_image::list(&path, &options)
        .iter()
        .flatten()
        .for_each(check);
});

fn check(image: &Image) {
    assert_eq!(image.layers.len(), image.config_view.rootfs.diff_ids.len());
    for (layer, diff_id) in image.layers.iter().zip(&image.config_view.rootfs.diff_ids) {
        assert_eq!(layer.diff_id, *diff_id);
        let mut bytes = Vec::new();
        layer.open().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, layer.size);
    }
    for name in &image.names {
        assert_eq!(Reference::parse(&name.to_string()).as_ref(), Ok(name));
    }
}
