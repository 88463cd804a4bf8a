//! `vcontainer fetch` where no registry is needed. e2e has the real one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use vcontainer_image::Digest;

use crate::fixture::{Bench, layout};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_tag_is_answered_with_the_line_for_a_recipe() {
    let bench = Bench::new(&[]);
    let manifest = br#"{"schemaVersion":2}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut start = [0; 4096];
            let count = stream.read(&mut start).unwrap();
            // Whoever tries TLS first is hung up on.
            if start[..count].starts_with(b"GET /v2/team/app/manifests/1 ") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", manifest.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(manifest).unwrap();
            }
        }
    });
    let ran = bench.run(&["fetch", &format!("{address}/team/app:1")]);
    let key = address.to_string().replace(':', "_");
    let line = format!(
        "CONTAINER_DIGESTS[{key}_team_app_1] = \"{}\"",
        Digest::of(manifest)
    );
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().lines().any(|told| told == line), "{}", ran.stderr());
}

#[test]
fn what_cannot_be_meant_is_told() {
    let bench = Bench::new(&[]);
    let pinned = format!("registry.example/app@{DIGEST}");
    for (words, code, says) in [
        (
            &["docker.io/library/redis:7", "--offline"][..],
            1,
            "CONTAINER_DIGESTS[docker.io_library_redis_7] = \"sha256:…\"",
        ),
        (
            &["docker.io/library/redis:7", "--offline"],
            1,
            "skopeo inspect docker://docker.io/library/redis:7 | jq -r .Digest",
        ),
        (&["Upper"], 1, "`Upper` has upper-case letters"),
        (&["app@sha256:00"], 1, "has an unusable digest"),
        (&[&pinned, "--arch=sparc"], 1, "`sparc` is no known architecture"),
        (&[&pinned, "--variant=v7"], 2, "--arch <ARCH>"),
        (&[&pinned, "--mirror=docker.io"], 2, "PREFIX=PLACE"),
        (&[&pinned, "--plain-http=http://x/"], 1, "HOST or HOST:PORT"),
        (&[&pinned, "--name=../x"], 1, "`../x` is no name of an image"),
        (
            &[&pinned, "--layout-name=.."],
            1,
            "`..` is no name of a directory",
        ),
        (
            &[&pinned, "--offline", "--cache=none"],
            1,
            "is not in the cache `none`",
        ),
    ] {
        let ran = bench.run(&[&["fetch"], words].concat());
        assert_eq!(ran.code(), code, "{words:?}: {}", ran.stderr());
        assert!(ran.stderr().contains(says), "{words:?}: {}", ran.stderr());
    }
    assert!(!bench.path("none").exists(), "a look into a cache makes none");
}

#[test]
fn a_cache_is_enough() {
    let bench = Bench::new(&[]);
    layout(&bench.path("cache"), "one", "arm64");
    let index: serde_json::Value = serde_json::from_str(&bench.read("cache/index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let reference = format!("registry.example/team/app:1.0@{digest}");
    let words = [
        "fetch",
        &reference,
        "--offline",
        "--cache=cache",
        "--arch=aarch64",
    ];
    let ran = bench.run(&words).good();
    assert!(
        ran.stdout()
            .starts_with("./app-1.0-oci (linux/arm64): 2 layers, "),
        "{}",
        ran.stdout()
    );
    assert!(ran.stdout().contains(digest), "{}", ran.stdout());
    assert_eq!(
        fs::read_link(bench.path("app-latest-oci")).unwrap().to_str(),
        Some("app-1.0-oci")
    );
    let ran = bench
        .run(&[&words[..], &["--quiet", "--name=other"]].concat())
        .good();
    assert_eq!((ran.stdout(), ran.stderr()), (String::new(), String::new()));
    bench
        .run(&["oci", "verify", "app-latest-oci", "other-latest-oci"])
        .good();
    let amd = ["fetch", &reference, "--offline", "--cache=cache", "--arch=x86_64"];
    let ran = bench.run(&amd);
    assert_eq!(ran.code(), 1);
    assert!(
        ran.stderr()
            .contains("no image for linux/amd64, only for: linux/arm64"),
        "{}",
        ran.stderr()
    );
}
