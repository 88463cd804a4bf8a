//! Which image it is, and what the cache is good for.

use std::collections::BTreeSet;
use std::fs;

use vcontainer_image::Platform;

use super::{Bench, Notes, told};
use crate::{Error, Request, fetch, resolve};

#[test]
fn the_platform_of_the_target_comes_byte_for_byte_and_once() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    let fetched = bench.fetch(&server).unwrap();
    assert_eq!(fetched.manifest, bench.image.manifests["arm64"]);
    assert_eq!(
        (fetched.layers, fetched.platform.to_string().as_str()),
        (2, "linux/arm64")
    );
    let seen = server.seen().len();
    assert_eq!(seen, 5, "{:?}", server.seen());
    // From now on nobody is asked, whether it is allowed or not.
    bench.fetch(&server).unwrap();
    bench.change = |request| request.offline = true;
    bench.fetch(&server).unwrap();
    assert_eq!(server.seen().len(), seen);
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.change = |request| {
        request.offline = true;
        request.platform = Some(Platform::for_machine("x86_64").unwrap());
    };
    let error = bench.fetch(&server).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");
    assert_eq!(server.seen().len(), seen);
    bench.change = |request| request.platform = Some(Platform::for_machine("x86_64").unwrap());
    let fetched = bench.fetch(&server).unwrap();
    assert_eq!(fetched.manifest, bench.image.manifests["amd64"]);
}

#[test]
fn a_platform_is_chosen_or_told() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.change = |request| request.platform = None;
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("--arch") && error.contains("linux/amd64, linux/arm64"),
        "{error}"
    );
    bench.change = |request| request.platform = Some(Platform::for_machine("riscv64").unwrap());
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("no image for linux/riscv64, only for: linux/amd64"),
        "{error}"
    );
    // The digest of a layer, which the cache may have, is no image.
    bench.change = |request| request.digest = super::Image::new().layer.unwrap();
    let error = told(&bench.fetch(&server).unwrap_err());
    assert!(
        error.contains("answers 404") || error.contains("cannot be used"),
        "{error}"
    );
    bench.change = |_| {};
    // The digest of one manifest needs no platform, and a wrong one is an error.
    let mut request = bench.request(&server);
    bench.network.plain_http = BTreeSet::from([server.authority()]);
    request.digest = bench.image.manifests["amd64"];
    let error = told(&fetch(&request, &bench.network, &bench.notes).unwrap_err());
    assert!(error.contains("only for: linux/amd64"), "{error}");
    request.platform = None;
    let fetched = fetch(&request, &bench.network, &bench.notes).unwrap();
    assert_eq!(fetched.platform.to_string(), "linux/amd64");
}

#[test]
fn what_is_damaged_in_the_cache_is_fetched_again() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.fetch(&server).unwrap();
    let blobs = bench.path("cache/blobs/sha256");
    let damage = || {
        for entry in fs::read_dir(&blobs).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            bytes[0] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    };
    damage();
    bench.fetch(&server).unwrap();
    assert_eq!(bench.notes("Damaged"), 5);
    damage();
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.change = |request| request.offline = true;
    let error = bench.fetch(&server).unwrap_err();
    assert!(matches!(error, Error::OfflineDamaged { .. }), "{error:?}");
}

#[test]
fn the_cache_alone_can_be_filled() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.network.plain_http = BTreeSet::from([server.authority()]);
    let request = Request {
        target: None,
        ..bench.request(&server)
    };
    let fetched = fetch(&request, &bench.network, &bench.notes).unwrap();
    assert_eq!(fetched.manifest, bench.image.manifests["arm64"]);
    assert!(!bench.path("out").exists(), "no layout");
    let seen = server.seen().len();
    bench.change = |request| request.offline = true;
    bench.fetch(&server).unwrap();
    assert_eq!(server.seen().len(), seen);
}

#[test]
fn several_at_once_share_the_work() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.network.plain_http = BTreeSet::from([server.authority()]);
    let request = bench.request(&server);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let mut request = request.clone();
            request.target = Some(bench.path(&format!("out/{number}")));
            let network = &bench.network;
            scope.spawn(move || fetch(&request, network, &Notes::default()).unwrap());
        }
    });
    assert_eq!(server.asked(&bench.image.layer()).len(), 1);
}

#[test]
fn a_tag_has_a_digest() {
    let mut bench = Bench::new();
    let server = bench.serve(|_, _| None);
    bench.network.plain_http = BTreeSet::from([server.authority()]);
    let reference = format!("{}/team/app", server.authority()).parse().unwrap();
    let digest = resolve(&reference, &bench.network, &bench.notes).unwrap();
    assert_eq!(digest, bench.image.index());
    let reference = format!("{}/team/app:none", server.authority()).parse().unwrap();
    let error = told(&resolve(&reference, &bench.network, &bench.notes).unwrap_err());
    assert!(
        error.contains("404") && error.contains("not known here"),
        "{error}"
    );
}
