//! The real engines: what was built is bundled, run, and shows where its layers come from.

use std::fs;

use anyhow::Result;
use e2e::apt;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::machine::scratch_directory;
use e2e::podman::Podman;
use e2e::tool::{self, Target};

use crate::content;

/// The release whose engines run an image of packages, too: one is enough to see that they take it.
const PACKAGES: Suite = Suite::Trixie;

/// A target that has the image `app`, which stands on `base`.
fn target(suite: Suite, engine: &str) -> Result<Target> {
    let scratch = scratch_directory()?;
    let images = scratch.path();
    fs::write(images.join("base.tar"), content::base(&suite.busybox()?))?;
    fs::write(images.join("app.tar"), content::app())?;
    let builds: [&[&str]; 2] = [
        &[
            "--rootfs",
            "base.tar",
            "--env",
            "GREETING=good morning",
            "--cmd",
            "/bin/sh",
            "base",
        ],
        &[
            "--rootfs",
            "app.tar",
            "--base",
            "base",
            "--entrypoint",
            "/opt/app/run",
            "--cmd",
            "one two",
            "--user",
            "web",
            "--working-dir",
            "/srv",
            "--port",
            "80",
            "--label",
            "note=a b",
            "app",
        ],
    ];
    for words in builds {
        tool::vcontainer(&["oci", "build", "--arch", "x86_64", "--quiet"])?
            .directory(images)
            .args(words)
            .output()?;
    }
    let mut entries = vec![format!("app:{engine}")];
    if suite == PACKAGES {
        tool::vcontainer(&["oci", "build", "--arch", "x86_64", "--quiet", "--no-layer-cache"])?
            .directory(images)
            .args([
                "--suite",
                "trixie",
                "--mirror",
                &apt::mirror()?,
                "--package-cache",
                "packages",
            ])
            .args([
                "--layer",
                "base:packages:base-files",
                "--layer",
                "shell:packages:busybox",
            ])
            .args(["--layer", "app:packages:curl", "--cmd", "curl --version", "tools"])
            .output()?;
        entries.push(format!("tools:{engine}"));
    }
    let target = Target::new(suite)?;
    let place = images.display().to_string();
    let mut words = vec!["--arch", "x86_64", "--images", &place];
    words.extend(entries.iter().map(String::as_str));
    target.bundle(&words)?;
    Ok(target)
}

fn questions(engine: &impl Engine) -> Result<()> {
    // The command is replaced, the entrypoint is not.
    assert_eq!(engine.run("app", &[])?, "app one two\nof the app\n");
    assert_eq!(engine.run("app", &["three"])?, "app three\nof the app\n");
    let shell = |script: &str| {
        engine.cli(&[
            "run",
            "--rm",
            "--network=none",
            "--entrypoint",
            "/bin/sh",
            "app",
            "-c",
            script,
        ])
    };
    assert_eq!(
        shell("echo $GREETING; pwd; cat /srv/data; busybox id -u")?,
        "good morning\n/srv\ndata\n65532\n"
    );
    // The base's link is still a link, and leads to both.
    assert_eq!(
        shell("busybox readlink /sbin; busybox readlink /sbin/tool; /sbin/busybox echo yes")?,
        "bin\nbusybox\nyes\n"
    );
    let history = engine.cli(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"])?;
    let steps: Vec<&str> = history.lines().collect();
    assert_eq!(steps, ["vcontainer oci build: root filesystem"; 2]);
    let note = engine.cli(&[
        "image",
        "inspect",
        "--format",
        "{{.Config.Labels.note}} {{.Config.User}}",
        "app",
    ])?;
    assert_eq!(note.trim(), "a b web");
    Ok(())
}

/// An image of real packages, each layer with a step of its own in the history.
fn of_packages(engine: &impl Engine) -> Result<()> {
    let version = engine.run("tools", &[])?;
    anyhow::ensure!(version.starts_with("curl "), "{version}");
    assert_eq!(engine.run("tools", &["busybox", "echo", "a b"])?, "a b\n");
    let history = engine.cli(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "tools"])?;
    let steps: Vec<&str> = history.lines().collect();
    let expected = [
        "app:packages:curl",
        "shell:packages:busybox",
        "base:packages:base-files",
    ];
    assert_eq!(
        steps,
        expected.map(|layer| format!("vcontainer oci build: {layer}"))
    );
    Ok(())
}

pub fn docker(suite: Suite) -> Result<()> {
    let target = target(suite, "docker")?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    questions(&docker)?;
    if suite == PACKAGES {
        of_packages(&docker)?;
    }
    docker.stop()
}

pub fn podman(suite: Suite) -> Result<()> {
    let target = target(suite, "podman")?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    questions(&podman)?;
    if suite == PACKAGES {
        of_packages(&podman)?;
    }
    Ok(())
}
