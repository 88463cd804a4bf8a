//! Images for several platforms, and what the tools say of images, before skopeo and umoci.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::machine::scratch_directory;
use e2e::process::Command;
use e2e::{tool, tree};
use serde_json::Value;
use tempfile::TempDir;

use crate::content;

/// Architecture and variant as vcontainer and as skopeo call them.
const PLATFORMS: [(&str, &str, Option<&str>); 3] = [
    ("aarch64", "arm64", None),
    ("x86_64", "amd64", None),
    ("armv7", "arm", Some("v7")),
];

/// A folder with `nested-1.0-oci` and `flat-1.0-oci`, and below the name of each architecture the image of its own.
struct Bench(TempDir);

impl Bench {
    fn new() -> Result<Self> {
        let bench = Self(scratch_directory()?);
        for (machine, _, _) in PLATFORMS {
            fs::write(bench.path("root.tar"), content::base(machine.as_bytes()))?;
            bench.vcontainer(&[
                "build",
                "--quiet",
                "--rootfs=root.tar",
                "--arch",
                machine,
                "--output",
                machine,
                "app",
            ])?;
        }
        for words in [&["--flat", "flat:1.0"][..], &["nested:1.0"]] {
            let layouts = PLATFORMS.map(|(machine, _, _)| format!("{machine}/app-latest-oci"));
            let layouts: Vec<&str> = layouts.iter().map(String::as_str).collect();
            bench.vcontainer(&[&["index", "--quiet"], words, &layouts].concat())?;
        }
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn vcontainer(&self, words: &[&str]) -> Result<String> {
        tool::vcontainer(&["oci"])?
            .args(words)
            .directory(self.0.path())
            .output()
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        Command::new(program)
            .args(words)
            .directory(self.0.path())
            .output()
    }

    /// What skopeo does with a policy that trusts everything.
    fn skopeo(&self, words: &[&str]) -> Result<String> {
        self.run("skopeo", &[&["--insecure-policy"], words].concat())
    }

    /// The digests of the manifests of a layout.
    fn digests(&self, layout: &str) -> Result<Vec<String>> {
        let listed: Value = serde_json::from_str(&self.vcontainer(&["list", "--format=json", layout])?)?;
        let images = listed.as_array().context("no array")?;
        Ok(images
            .iter()
            .filter_map(|image| image["digest"].as_str().map(str::to_owned))
            .collect())
    }
}

/// From the nested form skopeo takes each platform, and all of them.
pub fn skopeo_chooses() -> Result<()> {
    let bench = Bench::new()?;
    let raw: Value = serde_json::from_str(&bench.skopeo(&["inspect", "--raw", "oci:nested-1.0-oci:1.0"])?)?;
    let platforms: Vec<&str> = raw["manifests"]
        .as_array()
        .context("no list of manifests")?
        .iter()
        .filter_map(|entry| entry["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["arm64", "amd64", "arm"]);
    for (machine, architecture, variant) in PLATFORMS {
        let mut words = vec!["--override-arch", architecture];
        words.extend(variant.iter().flat_map(|variant| ["--override-variant", variant]));
        let target = format!("oci:copy-{architecture}:1.0");
        words.extend(["copy", "--quiet", "oci:nested-1.0-oci:1.0", &target]);
        bench.skopeo(&words)?;
        let own = bench.digests(&format!("{machine}/app-latest-oci"))?;
        assert_eq!(bench.digests(&format!("copy-{architecture}"))?, own);
        // And so does this tool.
        let name = format!("taken-{architecture}");
        let mut words = vec!["extract", "--quiet", "nested-1.0-oci", "--arch", machine, &name];
        words.extend(variant.iter().flat_map(|variant| ["--variant", variant]));
        bench.vcontainer(&words)?;
        let taken = format!("oci:taken-{architecture}-latest-oci:latest");
        let shown = bench.skopeo(
            &[
                &["inspect", "--format", "{{.Digest}} {{.Architecture}}"],
                &[taken.as_str()][..],
            ]
            .concat(),
        )?;
        assert_eq!(shown, format!("{} {architecture}\n", own[0]));
    }
    bench.skopeo(&[
        "copy",
        "--quiet",
        "--all",
        "oci:nested-1.0-oci:1.0",
        "oci:all:1.0",
    ])?;
    assert_eq!(bench.digests("all")?, bench.digests("nested-1.0-oci")?);
    bench.vcontainer(&["verify", "all", "nested-1.0-oci", "flat-1.0-oci"])?;
    // In the flat form skopeo sees the first one.
    let shown = bench.skopeo(&["inspect", "--format", "{{.Digest}}", "oci:flat-1.0-oci:1.0"])?;
    assert_eq!(shown.trim(), bench.digests("flat-1.0-oci")?[0]);
    Ok(())
}

/// umoci reads both forms, and knows each image that was taken out.
pub fn umoci_lists() -> Result<()> {
    let bench = Bench::new()?;
    for layout in ["nested-1.0-oci", "flat-1.0-oci"] {
        let tags = bench.run("umoci", &["list", "--layout", layout])?;
        ensure!(
            tags.lines().all(|tag| tag == "1.0") && !tags.is_empty(),
            "{layout}: {tags}"
        );
    }
    bench.vcontainer(&["extract", "--quiet", "flat-1.0-oci", "--arch=x86_64", "one:2.0"])?;
    assert_eq!(
        bench.run("umoci", &["list", "--layout", "one-2.0-oci"])?.trim(),
        "2.0"
    );
    bench.run("umoci", &["stat", "--json", "--image", "one-2.0-oci:2.0"])?;
    Ok(())
}

/// What skopeo and umoci have written has no faults; what umoci leaves behind is told as a note.
pub fn layouts_of_others_are_whole() -> Result<()> {
    let bench = Bench::new()?;
    let zstd = [
        "copy",
        "--quiet",
        "--dest-compress-format=zstd",
        "oci:x86_64/app-latest-oci:latest",
        "oci:work:a",
    ];
    bench.skopeo(&zstd)?;
    bench.skopeo(&[
        "copy",
        "--quiet",
        "oci:x86_64/app-latest-oci:latest",
        "oci-archive:work.tar:a",
    ])?;
    fs::write(bench.path("note"), "of umoci\n")?;
    bench.run(
        "umoci",
        &["insert", "--rootless", "--image", "work:a", "note", "/etc/note"],
    )?;
    bench.run(
        "umoci",
        &["config", "--image", "work:a", "--config.cmd", "/bin/sh"],
    )?;
    let told = bench.vcontainer(&["verify", "work", "work.tar"])?;
    let ends = |end: &str| told.lines().filter(|line| line.ends_with(end)).count();
    ensure!(ends("2 layers, ok") == 1 && ends("1 layer, ok") == 1, "{told}");
    ensure!(ends("nothing refers to it") > 0, "{told}");
    bench.run("umoci", &["gc", "--layout", "work"])?;
    let told = bench.vcontainer(&["verify", "work"])?;
    ensure!(told.lines().count() == 1, "{told}");
    let found = bench.vcontainer(&["diff", "--format=json", "work.tar", "work"])?;
    let found: Value = serde_json::from_str(&found)?;
    let paths: Vec<&str> = found["files"]
        .as_array()
        .context("no files")?
        .iter()
        .filter_map(|file| file["path"].as_str())
        .collect();
    ensure!(paths.contains(&"/etc/note"), "{found:#}");
    ensure!(
        found["settings"].to_string().contains("\"field\":\"cmd\""),
        "{found:#}"
    );
    Ok(())
}

/// The files that differ are those that differ when umoci has unpacked both.
pub fn a_difference_is_what_umoci_unpacks() -> Result<()> {
    let bench = Bench::new()?;
    fs::write(bench.path("app.tar"), content::app())?;
    let base = bench.path("x86_64/app-latest-oci").display().to_string();
    bench.vcontainer(&["build", "--quiet", "--rootfs=app.tar", "--base", &base, "shop"])?;
    let images = ["x86_64/app-latest-oci", "shop-latest-oci"];
    let mut trees = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let place = format!("unpacked-{number}");
        bench.run(
            "umoci",
            &["unpack", "--image", &format!("{image}:latest"), &place],
        )?;
        trees.push(read(&bench.path(&place).join("rootfs"))?);
    }
    let paths: BTreeSet<&String> = trees.iter().flat_map(|tree| tree.keys()).collect();
    let expected: Vec<String> = paths
        .into_iter()
        .filter(|path| trees[0].get(*path) != trees[1].get(*path))
        .map(|path| format!("/{path}"))
        .collect();
    ensure!(expected.len() > 4, "{expected:?}");
    let found = bench.vcontainer(&["diff", "--format=json", "--temp-dir", ".", images[0], images[1]])?;
    let found: Value = serde_json::from_str(&found)?;
    let mut paths: Vec<String> = found["files"]
        .as_array()
        .context("no files")?
        .iter()
        .filter_map(|file| file["path"].as_str().map(str::to_owned))
        .collect();
    paths.sort();
    assert_eq!(paths, expected);
    Ok(())
}

/// A tree without times.
fn read(root: &Path) -> Result<tree::Tree> {
    let mut found = tree::read(root)?;
    for entry in found.values_mut() {
        entry.mtime = None;
    }
    Ok(found)
}
