//! What Docker and Podman are asked alike.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::engine::{Engine, Saved};
use e2e::layout::{Compression, Image, Layout};
use e2e::registry::Registry;
use e2e::tree;
use serde_json::Value;

use crate::deviations;
use crate::fixture::Images;

/// `image inspect` shows the configuration of the source.
pub fn inspect(engine: &impl Engine, name: &str, image: &Image, config_digest: &str) -> Result<()> {
    let source: Value = serde_json::from_slice(&image.configuration())?;
    let shown = engine.inspect(name)?;
    let id = shown["Id"].as_str().context("an image without an Id")?;
    assert_eq!(
        id.trim_start_matches("sha256:"),
        config_digest.trim_start_matches("sha256:")
    );
    assert_eq!(shown["Architecture"], source["architecture"]);
    assert_eq!(shown["Os"], source["os"]);
    assert_eq!(shown["Author"], source["author"]);
    assert_eq!(shown["Created"], source["created"]);
    assert_eq!(shown["RootFS"]["Layers"], source["rootfs"]["diff_ids"]);
    for key in ["Env", "Cmd", "WorkingDir", "Labels", "ExposedPorts", "StopSignal"] {
        assert_eq!(shown["Config"][key], source["config"][key], "{key}");
    }
    Ok(())
}

/// The image is listed under its digest.
pub fn listed_by_digest(engine: &impl Engine, name: &str, manifest_digest: &str) -> Result<()> {
    let list = engine.cli(&[
        "images",
        "--digests",
        "--no-trunc",
        "--format",
        "{{.Repository}} {{.Tag}} {{.Digest}}",
    ])?;
    let found = list
        .lines()
        .any(|line| line.contains(&format!("{name} latest")) && line.ends_with(manifest_digest));
    assert!(found, "{name} with {manifest_digest} isn't in:\n{list}");
    let id = |reference: &str| anyhow::Ok(engine.inspect(reference)?["Id"].clone());
    assert_eq!(id(&format!("{name}@{manifest_digest}"))?, id(name)?);
    Ok(())
}

/// The engine's own import of the same image, `genuine`, prints and shows the same as ours.
pub fn same_as_genuine(ours: &impl Engine, genuine: &impl Engine) -> Result<()> {
    let differences = tree::differences(
        &deviations::apply(genuine.merged_tree("probe")?),
        &ours.merged_tree("probe")?,
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let ours = ours.run("probe", &[])?;
    let genuine = deviations::apply_to_listing(&genuine.run("probe", &[])?);
    assert_eq!(sorted(&ours), sorted(&genuine));
    Ok(())
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// What is saved is bit-exact.
pub fn saved(engine: &impl Engine, name: &str, image: &Image, config_digest: &str) -> Result<()> {
    let expected = Saved {
        config: config_digest.to_owned(),
        layers: image.diff_ids(),
    };
    assert_eq!(engine.save(name)?, expected);
    Ok(())
}

/// A container can be committed, an image can be built, and what lies below is still bit-exact when that is saved.
pub fn built_on(engine: &impl Engine, image: &Image, build_options: &[&str]) -> Result<()> {
    engine.cli(&[
        "run",
        "--network=none",
        "--name",
        "changed",
        "probe",
        "/bin/sh",
        "-c",
        "echo more > /more",
    ])?;
    engine.cli(&["commit", "changed", "committed"])?;
    assert_eq!(
        engine.run("committed", &["/bin/cat", "/more", "/opq/three"])?,
        "more\nthree\n"
    );
    engine.machine().write(
        "/shared/context/Dockerfile",
        "FROM probe\nRUN [\"/bin/sh\", \"-c\", \"echo built > /built\"]\n",
    )?;
    let words = [&["build", "--tag", "built"], build_options, &["/shared/context"]].concat();
    engine.cli(&words)?;
    assert_eq!(
        engine.run("built", &["/bin/cat", "/built", "/home/f"])?,
        "built\nf\n"
    );
    for name in ["committed", "built"] {
        let saved = engine.save(name)?;
        let below = image.layers.len();
        assert_eq!(saved.layers.len(), below + 1, "{name}");
        assert_eq!(saved.layers[..below], image.diff_ids(), "{name}");
    }
    Ok(())
}

/// A derived image is pulled without the layers that are there: the registry has lost them. Returns what the engine
/// printed.
pub fn pulled_delta(engine: &impl Engine, images: &Images, pull_options: &[&str]) -> Result<String> {
    let mut layout = Layout::create(engine.machine().shared().join("derived"))?;
    let descriptor = layout.add(&images.derived, Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    assert_eq!(descriptor.digest, images.derived_blobs.digest);
    let registry = Registry::start(engine.machine())?;
    let reference = registry.push("/shared/derived:latest", "derived")?;
    let mut shared = images.probe_blobs.layers.clone();
    shared.sort_unstable();
    shared.dedup();
    for digest in &shared {
        registry.lose(digest)?;
    }
    let outcome = engine
        .command()
        .arg("pull")
        .args(pull_options)
        .arg(&reference)
        .outcome()?;
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    outcome.success()?;
    assert_eq!(
        engine.run(&reference, &["/bin/cat", "/derived", "/opq/three"])?,
        "made on top\nthree\n"
    );
    Ok(said)
}

/// Layers in a directory of the store: names that are a digest in hexadecimal, perhaps with something behind it.
pub fn layers(directory: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = names(directory)?;
    names.retain(|name| name.len() >= 64 && name.bytes().take(64).all(|byte| byte.is_ascii_hexdigit()));
    Ok(names)
}

/// Names in a directory of the store.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    std::fs::read_dir(directory)
        .with_context(|| format!("listing {}", directory.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
