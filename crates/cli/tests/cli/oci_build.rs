//! `vcontainer oci build` and `cache`: options and file into the configuration; wrong input.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::is_root;
use crate::fixture::{Bench, Ran, layout};

/// A root filesystem, a package, and an image for another architecture.
fn bench() -> Bench {
    let bench = Bench::new(&[]);
    bench.write("rootfs/opt/app/run", b"#!/bin/sh\n");
    bench.write("rootfs/etc/conf", b"conf\n");
    bench.write("conf/local.conf", b"local\n");
    layout(&bench.path("out/other-latest-oci"), "other", "amd64");
    fs::create_dir_all(bench.path("deb/DEBIAN")).unwrap();
    bench.write(
        "deb/DEBIAN/control",
        b"Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.org>\nDepends: helper\nDescription: d\n",
    );
    fs::create_dir_all(bench.path("debs")).unwrap();
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([bench.path("deb"), bench.path("debs")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    bench
}

fn build(bench: &Bench, arguments: &[&str]) -> Ran {
    let words = ["oci", "build", "--output", "out", "--quiet"];
    bench.run_with(
        &[&words, arguments].concat(),
        &[("SOURCE_DATE_EPOCH", "1700000000")],
    )
}

/// The configuration and the manifest of an image.
fn documents(bench: &Bench, name: &str) -> (Value, Value) {
    let read = |path: String| -> Value { serde_json::from_str(&bench.read(&path)).unwrap() };
    let blob = |of: &Value| {
        let digest = of["digest"].as_str().unwrap().trim_start_matches("sha256:");
        read(format!("out/{name}-latest-oci/blobs/sha256/{digest}"))
    };
    let index = read(format!("out/{name}-latest-oci/index.json"));
    let manifest = blob(&index["manifests"][0]);
    (blob(&manifest["config"]), manifest)
}

const OPTIONS: &[&str] = &[
    "--arch",
    "arm",
    "--variant",
    "v6",
    "--rootfs",
    "rootfs",
    "--entrypoint",
    "/opt/app/run --name 'a b'",
    "--cmd",
    "never",
    "--entrypoint-args",
    "one 'two three'",
    "--env",
    "GREETING=good morning",
    "--label",
    "note=a = b",
    "--annotation",
    "org.example.note=c d",
    "--port",
    "80",
    "--port",
    "53/udp",
    "--volume",
    "/data",
    "--user",
    "web:web",
    "--working-dir",
    "/srv",
    "--stop-signal",
    "SIGINT",
    "--author",
    "Me <me@example.org>",
    "--health-cmd",
    "test -e /run/well",
    "--health-interval",
    "1m30s",
    "--health-retries",
    "3",
    "--auto-labels",
    "--revision",
    "abc",
    "--branch",
    "none",
];

#[test]
fn every_option_is_in_the_configuration() {
    let bench = bench();
    build(&bench, &[OPTIONS, &["app"]].concat()).good();
    let (config, manifest) = documents(&bench, "app");
    assert_eq!(
        config["config"],
        json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=good morning"],
            "Entrypoint": ["/opt/app/run", "--name", "a b"],
            "Cmd": ["one", "two three"],
            "User": "web:web",
            "WorkingDir": "/srv",
            "StopSignal": "SIGINT",
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {
                "note": "a = b",
                "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
                "org.opencontainers.image.revision": "abc"
            },
            "Healthcheck": {
                "Test": ["CMD-SHELL", "test -e /run/well"],
                "Interval": 90_000_000_000u64,
                "Retries": 3
            }
        })
    );
    let told = ["author", "architecture", "variant", "os", "created"].map(|key| config[key].clone());
    assert_eq!(
        told,
        [
            "Me <me@example.org>",
            "arm",
            "v6",
            "linux",
            "2023-11-14T22:13:20Z"
        ]
    );
    assert_eq!(manifest["annotations"], json!({"org.example.note": "c d"}));
}

#[test]
fn a_file_says_the_same_and_options_go_before_it() {
    let bench = bench();
    build(&bench, &[OPTIONS, &["app"]].concat()).good();
    bench.write(
        "conf/image.toml",
        br#"
arch = "arm"
variant = "v6"
rootfs = "../rootfs"
entrypoint = "/opt/app/run --name 'a b'"
cmd = ["one", "two three"]
ports = [80, "53/udp"]
volumes = ["/data"]
user = "web:web"
working-dir = "/srv"
stop-signal = "SIGINT"
author = "Me <me@example.org>"
[env]
GREETING = "good morning"
[labels]
note = "a = b"
"org.opencontainers.image.created" = "2023-11-14T22:13:20Z"
"org.opencontainers.image.revision" = "abc"
[annotations]
"org.example.note" = "c d"
[healthcheck]
test = "test -e /run/well"
interval = "90s"
retries = 3
"#,
    );
    build(&bench, &["--config", "conf/image.toml", "filed"]).good();
    assert_eq!(documents(&bench, "app"), documents(&bench, "filed"));
    let words = [
        "--config",
        "conf/image.toml",
        "--arch",
        "aarch64",
        "--variant",
        "",
        "--env",
        "GREETING=hello",
        "--cmd",
        "three",
        "--no-healthcheck",
        "--no-layer-cache",
        "--layer",
        "conf:host:conf/local.conf:/etc/local.conf",
        "other-options",
    ];
    build(&bench, &words).good();
    let (config, manifest) = documents(&bench, "other-options");
    assert_eq!(config["architecture"], "arm64");
    assert_eq!(config["config"]["Cmd"], json!(["three"]));
    assert_eq!(config["config"]["Env"][1], "GREETING=hello");
    assert_eq!(config["config"]["Healthcheck"], json!({"Test": ["NONE"]}));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    // Where the file was on the build machine is nobody's business.
    let history = config["history"][0]["created_by"].as_str().unwrap();
    assert_eq!(history, "vcontainer oci build: conf:host:/etc/local.conf");
}

#[test]
fn links_lead_to_a_layout_with_another_name() {
    let bench = bench();
    let words = ["--arch", "aarch64", "--rootfs", "rootfs", "--layout-name"];
    for name in ["app-20260101.rootfs-oci", "app-20260102.rootfs-oci"] {
        build(&bench, &[&words[..], &[name, "app:1.0"]].concat()).good();
        let target = |link: &str| fs::read_link(bench.path(link)).unwrap().display().to_string();
        assert_eq!(target("out/app-1.0-oci"), name);
        assert_eq!(target("out/app-latest-oci"), "app-1.0-oci");
    }
    // Without the option the directory itself takes the place of the link.
    build(&bench, &["--arch", "aarch64", "--rootfs", "rootfs", "app:1.0"]).good();
    assert!(
        fs::symlink_metadata(bench.path("out/app-1.0-oci"))
            .unwrap()
            .is_dir()
    );
    assert!(bench.path("out/app-20260102.rootfs-oci/index.json").exists());
}

#[test]
fn the_link_takes_the_place_of_an_image_with_the_tag_latest() {
    let bench = bench();
    let words = ["--arch", "aarch64", "--rootfs", "rootfs", "--tar"];
    for name in ["app", "app:1.0", "app", "app:2.0"] {
        build(&bench, &[&words[..], &[name]].concat()).good();
    }
    for suffix in ["oci", "oci.tar", "oci-dir.tar"] {
        let link = bench.path(&format!("out/app-latest-{suffix}"));
        let target = fs::read_link(link).unwrap().display().to_string();
        assert_eq!(target, format!("app-2.0-{suffix}"));
    }
    bench.write("out/mine-latest-oci/precious", b"");
    let ran = build(&bench, &[&words[..], &["mine:1.0"]].concat());
    assert!(
        ran.code() == 1 && ran.stderr().contains("remove it"),
        "{}",
        ran.stderr()
    );
    assert!(bench.path("out/mine-latest-oci/precious").exists());
}

#[test]
fn everybody_may_read_an_image_whatever_the_umask() {
    let bench = bench();
    let built = Command::new("sh")
        .args([
            "-c",
            "umask 077; exec \"$0\" oci build --arch aarch64 --rootfs rootfs --output out --layer-cache cache --quiet \
             --layer a:files:/etc/conf app",
        ])
        .arg(env!("CARGO_BIN_EXE_vcontainer"))
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let closed = Command::new("find")
        .args([bench.path("out/app-latest-oci/"), bench.path("cache/")])
        .args([
            "-mindepth",
            "1",
            "(",
            "-type",
            "d",
            "!",
            "-perm",
            "755",
            "-o",
            "-type",
            "f",
            "!",
            "-perm",
            "644",
            ")",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&closed.stdout), "");
}

/// Everything in the folder, but for apt's cache.
fn names(bench: &Bench) -> Vec<String> {
    let listing = Command::new("find")
        .arg(bench.path(""))
        .args(["-path", "*/apt-cache", "-prune", "-o", "-printf", "%P %y %s\n"])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8(listing.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn wrong_input_is_one_error_and_nothing_is_written() {
    let bench = bench();
    bench.write("file", b"");
    bench.write("empty.toml", b"arch = 'aarch64'\nlayers = []\n");
    bench.write(
        "unknown.toml",
        b"arch = 'aarch64'\nlayer = ['a:files:/etc/conf']\n",
    );
    bench.write("layer.toml", b"arch = 'aarch64'\nlayers = ['a:packets:b']\n");
    bench.write("broken.deb/broken.deb", b"no package");
    fs::create_dir_all(bench.path("out/broken-latest-oci")).unwrap();
    fs::create_dir_all(bench.path("cache")).unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--layer", "a:files:/etc/none"],
            &["layer `a:files:/etc/none`", "is not in the root"],
        ),
        (
            &["--layer", "a:directories:/none"],
            &["layer `a:directories:/none`", "is not in the root"],
        ),
        (
            &["--layer", "a:files:/etc/conf", "--layer", "a:directories:/opt"],
            &["layer `a:directories:/opt`", "there is another layer `a`"],
        ),
        (
            &["--layer", "a:packages:busybox"],
            &["layer `a:packages:busybox`", "--suite", "--feed"],
        ),
        (
            &["--layer", "a:packages:none", "--feed", "debs"],
            &[
                "layer `a:packages:none`",
                "Unable to locate package none",
                "the feed `debs`",
            ],
        ),
        (
            &["--layer", "a:packages:tool", "--feed", "debs"],
            &["layer `a:packages:tool`", "tool : Depends: helper"],
        ),
        (
            &["--layer", "a:packages:x", "--feed", "broken.deb"],
            &["layer `a:packages:x`", "broken.deb"],
        ),
        (
            &["--layer", "a:packages:x", "--feed", "none"],
            &["the feed `none` is no directory"],
        ),
        (&["--suite", "../etc"], &["`../etc` is no name of a release"]),
        (
            &["--layer", "a:host:none/file:/etc/file"],
            &["layer `a:host:none/file:/etc/file`", "none/file", "No such file"],
        ),
        (
            &["--base", "other"],
            &["base image `other`", "linux/amd64", "linux/arm64"],
        ),
        (&["--base", "none"], &["base image `none`", "none-latest-oci"]),
        (
            &["--base", "broken"],
            &["base image `broken`", "broken-latest-oci"],
        ),
        (
            &["--config", "empty.toml"],
            &["`empty.toml`", "`layers` is empty"],
        ),
        (
            &["--config", "unknown.toml"],
            &["`unknown.toml`", "unknown field `layer`"],
        ),
        (
            &["--config", "layer.toml"],
            &["layer `a:packets:b`", "no type of layer"],
        ),
        (&["--config", "none.toml"], &["`none.toml`", "No such file"]),
        (
            &["--layer", "a:files:/etc/conf", "--layer-cache", "file"],
            &["the layer cache `file` cannot be used"],
        ),
        (
            &["--layer", "a:files:/etc/conf", "--installed", "b=rootfs"],
            &["--installed", "the layer `b`"],
        ),
        (&["--volume", "data"], &["the volume `data`", "no absolute path"]),
        (&["--user", "a:b:c"], &["the user `a:b:c`"]),
        (&["--stop-signal", "SIGFOO"], &["the stop signal `SIGFOO`"]),
        (&["--machine", "a\nfull_key=b"], &["--machine has a character"]),
        (
            &["--base", "docker.io/library/alpine"],
            &["`docker.io/library/alpine`", "vcontainer fetch"],
        ),
        (&["--level", "12"], &["gzip has the levels 1 to 9"]),
        (&["--layout-name", "a/b"], &["--layout-name `a/b`"]),
        (&["--cmd", "'open"], &["--cmd", "quote that is not closed"]),
    ];
    // apt's cache is filled by the first, and the layer cache made.
    for (arguments, says) in cases {
        let mut words = vec![
            "--arch",
            "aarch64",
            "--rootfs",
            "rootfs",
            "--package-cache",
            "apt-cache",
        ];
        words.extend(*arguments);
        if !arguments.contains(&"--layer-cache") {
            words.extend(["--layer-cache", "cache"]);
        }
        words.push("app");
        let before = names(&bench);
        let ran = build(&bench, &words);
        let message = ran.stderr();
        assert_eq!(
            (ran.code(), ran.stdout()),
            (1, String::new()),
            "{arguments:?}: {message}"
        );
        assert_eq!(message.matches("error: ").count(), 1, "{message}");
        for part in *says {
            assert!(
                message.contains(part),
                "{arguments:?}: no `{part}` in:\n{message}"
            );
        }
        assert_eq!(names(&bench), before, "{arguments:?}");
    }
    for (layer, says) in [("a:files", "too few fields"), ("a:packets:b", "no type of layer")] {
        let ran = build(&bench, &["--arch", "aarch64", "--layer", layer, "app"]);
        assert!(ran.code() == 2 && ran.stderr().contains(says), "{}", ran.stderr());
    }
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    let bench = bench();
    if !is_root() {
        fs::set_permissions(bench.path("rootfs/etc/conf"), fs::Permissions::from_mode(0o000)).unwrap();
        let words = ["--arch", "aarch64", "--rootfs", "rootfs", "--no-layer-cache"];
        let ran = build(
            &bench,
            &[&words[..], &["--layer", "a:files:/etc/conf", "app"]].concat(),
        );
        let message = ran.stderr();
        assert!(
            ran.code() == 1 && message.contains("layer `a:files:/etc/conf`") && message.contains("etc/conf"),
            "{message}"
        );
        fs::set_permissions(bench.path("rootfs/etc/conf"), fs::Permissions::from_mode(0o644)).unwrap();
    }
    // A file system that takes no more: files of at most 32 KiB, and no signal for it.
    bench.write(
        "large",
        &(0..400_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(),
    );
    fs::create_dir_all(bench.path("cache")).unwrap();
    let before = names(&bench);
    let limited = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 64; exec \"$0\" oci build --arch aarch64 --compression none --output out \
             --layer-cache cache --layer large:host:large:/large app",
        ])
        .arg(env!("CARGO_BIN_EXE_vcontainer"))
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(1), "{message}");
    assert!(message.contains("layer `large:host:large:/large`"), "{message}");
    assert!(
        message.contains("writing the layer into") && message.contains("File too large"),
        "{message}"
    );
    assert_eq!(names(&bench), before);
}

#[test]
fn the_environment_names_a_cache_and_an_option_does_without() {
    let bench = bench();
    let words = [
        "oci", "build", "--arch", "aarch64", "--rootfs", "rootfs", "--quiet",
    ];
    let layer = ["--layer", "a:files:/etc/conf", "app"];
    let cache = [("VCONTAINER_LAYER_CACHE", "named")];
    let without = [&words[..], &["--no-layer-cache"], &layer].concat();
    bench.run_with(&without, &cache).good();
    assert!(!bench.path("named").exists());
    bench.run_with(&[&words[..], &layer].concat(), &cache).good();
    assert!(bench.path("named").exists());
    let both = [&words[..], &["--no-layer-cache", "--layer-cache", "x"], &layer].concat();
    assert_eq!(bench.run(&both).code(), 2);
}

#[test]
fn the_cache_is_looked_after() {
    let bench = bench();
    let words = [
        "--arch",
        "aarch64",
        "--rootfs",
        "rootfs",
        "--layer-cache",
        "cache",
        "--layer",
        "conf:files:/etc/conf",
        "app",
    ];
    build(&bench, &words).good();
    let json = |words: &[&str]| -> Value {
        let ran = bench.run(&[&["oci", "cache"], words, &["--layer-cache", "cache"]].concat());
        serde_json::from_str(&ran.good().stdout()).unwrap()
    };
    let listed = json(&["list", "--format", "json"]);
    assert_eq!(
        (&listed[0]["layer"], &listed[0]["damage"]),
        (&json!("conf"), &Value::Null)
    );
    let key = listed[0]["key"].as_str().unwrap();
    let entry = format!("cache/{key}-conf");
    assert_eq!(listed[0]["directory"], entry);
    let fault = format!("the entry `{entry}` is damaged: the digest of its layer is");
    fs::remove_file(bench.path(&format!("{entry}/layer"))).unwrap();
    bench.write(&format!("{entry}/layer"), b"damaged");
    let verify = bench.run(&["oci", "cache", "verify", "--layer-cache", "cache"]);
    assert_eq!(verify.code(), 1);
    assert!(verify.stderr().contains(&fault), "{}", verify.stderr());
    let removed = bench.run(&["oci", "cache", "verify", "--remove", "--layer-cache", "cache"]);
    assert_eq!(removed.good().stdout(), "0 layers whole, 1 damaged and removed\n");
    build(&bench, &words).good();
    let pruned = bench.run(&["oci", "cache", "prune", "--size", "0", "--layer-cache", "cache"]);
    assert!(pruned.good().stdout().starts_with("1 layer removed, "));
    assert_eq!(json(&["list", "--format", "json"]), json!([]));
    let save = bench.run(&[
        "oci",
        "cache",
        "save",
        "--arch",
        "aarch64",
        "--layer-cache",
        "cache",
        "--layer",
        "base:packages:busybox",
        "--package-version",
        "busybox=1",
        "--installed",
        "base=rootfs",
    ]);
    assert!(
        save.code() == 1 && save.stderr().contains("--layer-input base="),
        "{}",
        save.stderr()
    );
    let none = bench.run(&["oci", "cache", "list", "--layer-cache", "none"]);
    assert!(none.code() == 1 && none.stderr().contains("there is no layer cache in `none`"));
}
