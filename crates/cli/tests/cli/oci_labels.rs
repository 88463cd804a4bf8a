//! `vcontainer oci build --auto-labels`: where an image comes from, out of git.

use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::Bench;

/// Runs git in the folder, without anybody's settings.
fn git(bench: &Bench, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=N", "-c", "user.email=n@example.org"])
        .args(words)
        .current_dir(bench.path(""))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The labels of an image that is built in the folder.
fn labels(bench: &Bench, words: &[&str]) -> Value {
    bench.write("rootfs/etc/conf", b"conf\n");
    let build = [
        "oci", "build", "--arch", "aarch64", "--rootfs", "rootfs", "--quiet", "app",
    ];
    bench.run(&[&build, words].concat()).good();
    let shown = bench.run(&["oci", "inspect", "--format", "json", "app-latest-oci"]);
    let shown: Value = serde_json::from_str(&shown.good().stdout()).unwrap();
    shown[0]["configuration"]["labels"].clone()
}

#[test]
fn git_tells_revision_and_branch() {
    let bench = Bench::new(&[]);
    git(&bench, &["init", "--quiet", "--initial-branch", "main"]);
    // Nothing has been committed: a branch, and no revision.
    assert_eq!(
        labels(&bench, &["--auto-labels"]),
        json!({"org.opencontainers.image.ref.name": "main"})
    );
    git(
        &bench,
        &["commit", "--quiet", "--allow-empty", "--message", "first"],
    );
    git(&bench, &["switch", "--quiet", "--create", "feature/x"]);
    let found = labels(&bench, &["--auto-labels"]);
    let revision = found["org.opencontainers.image.revision"].as_str().unwrap();
    let whole = git(&bench, &["rev-parse", "HEAD"]);
    assert!(
        revision.len() >= 4 && revision.len() < whole.len() && whole.starts_with(revision),
        "{revision} of {whole}"
    );
    assert_eq!(
        found,
        json!({
            "org.opencontainers.image.ref.name": "feature/x",
            "org.opencontainers.image.revision": revision
        })
    );
    // What is said goes before what is found.
    assert_eq!(
        labels(
            &bench,
            &[
                "--auto-labels",
                "--revision",
                "none",
                "--label",
                "org.opencontainers.image.ref.name=mine"
            ]
        ),
        json!({"org.opencontainers.image.ref.name": "mine"})
    );
    assert_eq!(labels(&bench, &[]), json!({}));
    // No branch: somebody looks at an older state.
    git(&bench, &["checkout", "--quiet", "--detach"]);
    assert_eq!(
        labels(&bench, &["--auto-labels"]),
        json!({"org.opencontainers.image.revision": revision})
    );
}

#[test]
fn where_there_is_no_repository_nothing_is_told() {
    let bench = Bench::new(&[]);
    assert_eq!(labels(&bench, &["--auto-labels"]), json!({}));
}
