//! What comes out is what was pushed.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::{Bench, NAME, PLATFORMS, is_error};

pub fn each_platform() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let reference = bench.reference("localhost", registry.port());
    is_error(
        &bench.fetch(&[&reference]).outcome()?,
        &["--arch", "linux/amd64, linux/arm64"],
    )?;
    is_error(
        &bench.fetch(&[&reference, "--arch=riscv64"]).outcome()?,
        &["no image for linux/riscv64, only for: linux/amd64, linux/arm64"],
    )?;
    for (machine, architecture) in PLATFORMS {
        let output = format!("out-{machine}");
        let words = [&reference, "--arch", machine, "--output", &output];
        let said = bench.fetch(&words).output()?;
        ensure!(
            said.contains(&format!("{output}/app-1-oci (linux/{architecture}): 1 layer")),
            "{said}"
        );
        bench.check(&format!("{output}/app-1-oci"), machine)?;
        let inspected = bench
            .person
            .command("skopeo")
            .args(["inspect", &format!("oci:{output}/app-latest-oci:1")])
            .output()?;
        let inspected: Value = serde_json::from_str(&inspected)?;
        ensure!(inspected["Architecture"] == architecture, "{inspected}");
        // The index is there, and nobody looks for what else it names.
        let from = format!("oci:{output}/app-latest-oci:1");
        bench
            .person
            .command("skopeo")
            .args(["--insecure-policy", "copy", "--all", "--quiet", &from])
            .arg(format!("oci:copy-{machine}:1"))
            .output()?;
        bench
            .person
            .command("umoci")
            .args(["stat", "--image", &format!("{output}/app-latest-oci:1")])
            .output()?;
    }
    // A bundle takes it as it is, and knows it by the digest that it was fetched by.
    let pinned = format!("registry.example/team/app@{}", bench.index);
    bench
        .person
        .command("vcontainer")
        .args(["bundle", "--arch=aarch64", "--tar=store.tar"])
        .arg(format!("--image={pinned}=out-aarch64/app-1-oci"))
        .arg(format!("{pinned}:docker"))
        .output()?;
    // Once it is there nobody is needed.
    drop(registry);
    bench
        .fetch(&[
            &reference,
            "--arch=aarch64",
            "--output=again",
            "--offline",
            "--quiet",
        ])
        .ends(0, "", "")?;
    bench.check("again/app-1-oci", "aarch64")?;
    bench
        .fetch(&[
            &reference,
            "--arch=aarch64",
            "--output=again",
            "--layout-name=plain",
        ])
        .output()?;
    bench.check("again/plain", "aarch64")?;
    let elsewhere = [
        &reference,
        "--arch=aarch64",
        "--offline",
        "--output=none",
        "--cache=empty",
    ];
    is_error(
        &bench.fetch(&elsewhere).outcome()?,
        &["not in the cache `empty`", "without --offline"],
    )?;
    // What was damaged meanwhile is neither used nor hidden.
    for name in bench.names("home/.cache/vcontainer/registry")? {
        if fs::metadata(&name)?.is_file() {
            let mut bytes = fs::read(&name)?;
            bytes[0] ^= 1;
            fs::write(&name, bytes)?;
        }
    }
    let offline = [&reference, "--arch=aarch64", "--offline", "--output=none"];
    is_error(&bench.fetch(&offline).outcome()?, &["is damaged in the cache"])?;
    ensure!(!bench.person.path("work/none").exists(), "nothing half-written");
    let registry = bench.registry()?;
    let reference = bench.reference("127.0.0.1", registry.port());
    let mended = bench
        .fetch(&[&reference, "--arch=aarch64", "--output=mended"])
        .outcome()?;
    ensure!(
        mended.status.success() && mended.stderr.contains("warning: "),
        "{}",
        mended.stderr
    );
    bench.check("mended/app-1-oci", "aarch64")
}

pub fn a_tag_is_no_digest() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let port = registry.port();
    let reference = format!("localhost:{port}/{NAME}:1");
    let line = format!(
        "CONTAINER_DIGESTS[localhost_{port}_team_app_1] = \"{}\"",
        bench.index
    );
    let command = format!("vcontainer fetch {reference}@{}", bench.index);
    is_error(&bench.fetch(&[&reference]).outcome()?, &[&line, &command])?;
    let line = format!("CONTAINER_DIGESTS[localhost_{port}_team_app_1] = \"sha256:…\"");
    is_error(
        &bench.fetch(&[&reference, "--offline"]).outcome()?,
        &[&line, "skopeo inspect"],
    )?;
    let missing = format!("localhost:{port}/{NAME}:2");
    is_error(
        &bench.fetch(&[&missing]).outcome()?,
        &["answers 404", "team_app_2] = ", "skopeo inspect"],
    )?;
    ensure!(
        bench.names("home/.cache/vcontainer/registry")?.is_empty(),
        "nothing is kept of it"
    );
    Ok(())
}

pub fn docker_manifests() -> Result<()> {
    let bench = Bench::new()?;
    let registry = bench.registry()?;
    let to = format!("docker://127.0.0.1:{}/old:1", registry.port());
    bench
        .person
        .command("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--format=v2s2",
            "--dest-tls-verify=false",
        ])
        .args(["oci:aarch64/app-latest-oci:latest", &to])
        .output()?;
    let raw = bench
        .person
        .command("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &to])
        .output()?;
    let digest = e2e::layout::digest(raw.as_bytes());
    let reference = format!("127.0.0.1:{}/old@{digest}", registry.port());
    is_error(
        &bench.fetch(&[&reference, "--arch=x86_64"]).outcome()?,
        &["no image for linux/amd64, only for: linux/arm64"],
    )?;
    bench.fetch(&[&reference, "--arch=aarch64"]).output()?;
    let layout = bench.person.path("work/old-latest-oci");
    let blob = fs::read(layout.join("blobs").join(digest.replace(':', "/"))).context("the manifest")?;
    ensure!(blob == raw.as_bytes(), "it is another manifest");
    for words in [
        &["vcontainer", "oci", "verify", "old-latest-oci"][..],
        &[
            "vcontainer",
            "bundle",
            "--arch=aarch64",
            "--tar=store.tar",
            "old:docker",
        ],
        &["skopeo", "inspect", "oci:old-latest-oci"],
    ] {
        bench.person.command(words[0]).args(&words[1..]).output()?;
    }
    Ok(())
}
