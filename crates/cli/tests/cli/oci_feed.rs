//! `vcontainer oci build --feed`: packages made here, over what is there already.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::fixture::{Bench, Ran};

/// Makes a package in `debs`: files by path with their texts, and further fields.
fn package(bench: &Bench, name: &str, fields: &str, files: &[(&str, &str)]) {
    let folder = format!("packages/{name}");
    for (path, text) in files {
        bench.write(&format!("{folder}/{path}"), text.as_bytes());
        let parent = bench.path(&format!("{folder}/{path}"));
        fs::set_permissions(parent.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let control = format!(
        "Package: {name}\nVersion: 1:1-1\nArchitecture: all\nMaintainer: N <n@example.org>\n{fields}Description: d\n"
    );
    bench.write(&format!("{folder}/DEBIAN/control"), control.as_bytes());
    let conffiles: String = files
        .iter()
        .filter(|(path, _)| path.starts_with("etc/"))
        .map(|(path, _)| format!("/{path}\n"))
        .collect();
    bench.write(&format!("{folder}/DEBIAN/conffiles"), conffiles.as_bytes());
    fs::create_dir_all(bench.path("debs")).unwrap();
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([bench.path(&folder), bench.path("debs")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
}

fn build(bench: &Bench, arguments: &[&str]) -> Ran {
    let words = [
        "oci",
        "build",
        "--arch",
        "aarch64",
        "--feed",
        "debs",
        "--package-cache",
        "apt",
        "--no-layer-cache",
        "--output",
        "out",
        "--quiet",
    ];
    bench.run(&[&words, arguments].concat())
}

/// Modes and names in each layer, lowest first.
fn layers(bench: &Bench, name: &str) -> Vec<Vec<String>> {
    let inspect = [
        "oci",
        "inspect",
        "--format",
        "json",
        &format!("out/{name}-latest-oci"),
    ];
    let shown: serde_json::Value = serde_json::from_str(&bench.run(&inspect).good().stdout()).unwrap();
    let steps = shown[0]["history"].as_array().unwrap();
    steps
        .iter()
        .map(|step| {
            let digest = step["layer"]["digest"].as_str().unwrap();
            let blob = format!("out/{name}-latest-oci/blobs/sha256/{}", &digest[7..]);
            let list = Command::new("tar")
                .arg("-tvzf")
                .arg(bench.path(&blob))
                .output()
                .unwrap();
            let list = String::from_utf8(list.stdout).unwrap();
            let line = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[0], words[5..].join(" "))
            };
            list.lines().map(line).collect()
        })
        .collect()
}

#[test]
fn what_is_there_stays_as_packages_leave_it_on_a_machine() {
    let bench = Bench::new(&[]);
    package(
        &bench,
        "liba",
        "",
        &[
            ("etc/liba.conf", "default\n"),
            ("usr/lib/liba.so", "new\n"),
            ("tmp/liba", "t\n"),
        ],
    );
    package(&bench, "app", "Depends: liba\n", &[("usr/bin/app", "app\n")]);
    bench.write("rootfs/etc/liba.conf", b"changed\n");
    bench.write("rootfs/usr/lib/liba.so", b"old\n");
    fs::create_dir_all(bench.path("rootfs/tmp")).unwrap();
    fs::set_permissions(bench.path("rootfs/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    build(&bench, &["--rootfs", "rootfs", "base"]).good();
    build(&bench, &["--base", "base", "--layer", "app:packages:app", "app"]).good();
    assert_eq!(
        layers(&bench, "app")[1],
        [
            "drwxr-xr-x ./",
            "lrwxrwxrwx bin -> usr/bin",
            "lrwxrwxrwx lib -> usr/lib",
            "drwxrwxrwt tmp/",
            "-rw-r--r-- tmp/liba",
            "drwxr-xr-x usr/",
            "drwxr-xr-x usr/bin/",
            "-rw-r--r-- usr/bin/app",
            "drwxr-xr-x usr/lib/",
            "-rw-r--r-- usr/lib/liba.so"
        ]
    );
    // Within one image, too: the first layer that defines a file has it.
    let words = [
        "--rootfs",
        "rootfs",
        "--layer",
        "conf:files:/etc/liba.conf",
        "--layer",
        "app:packages:app",
        "two",
    ];
    build(&bench, &words).good();
    let second = &layers(&bench, "two")[1];
    assert!(
        !second.iter().any(|line| line.contains("liba.conf")),
        "{second:?}"
    );
}

#[test]
fn a_layer_takes_nothing_of_those_below_away() {
    let bench = Bench::new(&[]);
    package(&bench, "liba", "", &[("usr/lib/liba.so", "a\n")]);
    package(
        &bench,
        "other",
        "Conflicts: liba\n",
        &[("usr/lib/other.so", "o\n")],
    );
    package(&bench, "provider", "Provides: virtual\n", &[("usr/bin/p", "p\n")]);
    package(
        &bench,
        "provider2",
        "Provides: virtual\n",
        &[("usr/bin/q", "q\n")],
    );
    let ran = build(
        &bench,
        &["--layer", "l:packages:liba", "--layer", "c:packages:other", "x"],
    );
    let message = ran.stderr();
    assert_eq!(ran.code(), 1, "{message}");
    assert!(message.contains("layer `c:packages:other`"), "{message}");
    let ran = build(&bench, &["--layer", "v:packages:virtual", "x"]);
    let message = ran.stderr();
    assert_eq!(ran.code(), 1, "{message}");
    assert!(message.contains("provider2"), "{message}");
    // What a layer below provides is there.
    package(&bench, "user", "Depends: virtual\n", &[("usr/bin/u", "u\n")]);
    let words = [
        "--layer",
        "p:packages:provider2",
        "--layer",
        "u:packages:user",
        "x",
    ];
    build(&bench, &words).good();
    let second = &layers(&bench, "x")[1];
    assert!(
        !second.iter().any(|line| line.contains("usr/bin/p")),
        "{second:?}"
    );
}
