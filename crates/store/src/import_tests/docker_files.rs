//! Everything that an import into an empty Docker store writes.

use tempfile::tempdir;

use super::tiny_image::tiny_image;
use super::{bundle, named_listing};
use crate::StoreKind;

#[test]
fn a_store_has_exactly_these_files() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["etc/", "etc/a=1"], &["etc/.wh.a", "etc/b=2"]]);
    let root = tempdir().unwrap();
    let images = [(&image, "app:1 ghcr.example/x/y")];
    let (report, sink) = bundle(StoreKind::DockerOverlay2, root.path(), &images);
    assert_eq!(named_listing(&sink, &image, &report), include_str!("docker.list"));

    let repositories = &sink.entries()["var/lib/store/image/overlay2/repositories.json"].content;
    let (id, digest) = (image.config.digest, image.manifest.digest);
    let wanted = format!(
        r#"{{"Repositories":{{"app":{{"app:1":"{id}","app@{digest}":"{id}"}},"ghcr.example/x/y":{{"ghcr.example/x/y:latest":"{id}","ghcr.example/x/y@{digest}":"{id}"}}}}}}"#
    );
    assert_eq!(String::from_utf8_lossy(repositories), wanted);
    assert_eq!(report.images[0].names, ["app:1", "ghcr.example/x/y:latest"]);
    assert_eq!(report.images[0].id, id);
}

#[test]
fn names_come_last() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["a"], &["b"]]);
    let (_, sink) = bundle(
        StoreKind::DockerOverlay2,
        tempdir().unwrap().path(),
        &[(&image, "app")],
    );
    let order = sink.order.lock().unwrap();
    assert_eq!(
        order.last().unwrap(),
        "var/lib/store/image/overlay2/repositories.json"
    );
}

#[test]
fn a_pinned_name_is_kept_by_its_digest() {
    let folder = tempdir().unwrap();
    let image = tiny_image(folder.path(), &[&["a"]]);
    let pinned = format!("app@{}", image.manifest.digest);
    let (report, sink) = bundle(
        StoreKind::DockerOverlay2,
        tempdir().unwrap().path(),
        &[(&image, &pinned)],
    );
    assert_eq!(report.images[0].names, [pinned.as_str()]);
    let repositories = &sink.entries()["var/lib/store/image/overlay2/repositories.json"].content;
    let wanted = format!(
        r#"{{"Repositories":{{"app":{{"{pinned}":"{}"}}}}}}"#,
        image.config.digest
    );
    assert_eq!(String::from_utf8_lossy(repositories), wanted);
}
