//! The real engines: what was built is bundled, run, and shows where its layers come from.

use std::fs;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::machine::scratch_directory;
use e2e::podman::Podman;
use e2e::tool::{self, Target};

use crate::content;

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
    let target = Target::new(suite)?;
    let entry = format!("app:{engine}");
    target.bundle(&[
        "--arch",
        "x86_64",
        "--images",
        &images.display().to_string(),
        &entry,
    ])?;
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

pub fn docker(suite: Suite) -> Result<()> {
    let target = target(suite, "docker")?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    questions(&docker)?;
    docker.stop()
}

pub fn podman(suite: Suite) -> Result<()> {
    let target = target(suite, "podman")?;
    let machine = target.machine().start()?;
    questions(&Podman::new(&machine)?)
}
