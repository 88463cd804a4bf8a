//! `vimport` of what is no image, a damaged one, or one that cannot run there. It is told before a machine is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use e2e::layout::{Compression, Descriptor, Image, Layout, digest, docker_archive};
use e2e::person;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::trials::Trials;

use crate::bench::{Bench, DENIED, NOT_THERE, error};

pub fn add(trials: &mut Trials) {
    trials.anywhere("images::of_another_architecture", foreign);
    trials.anywhere("images::layouts_that_are_damaged", layouts);
    trials.anywhere("images::archives_that_are_damaged", archives);
    trials.anywhere("images::what_is_no_image", none);
}

const KNOWN: &str = "Known are OCI layout directories (with index.json), OCI archives, `docker save` archives and root \
                     filesystem tarballs (tar, tar.gz, tar.zst)";

/// A small image.
pub fn image(architecture: &str) -> Image {
    let layer = Tarball::new(Format::Pax)
        .file("file", Meta::mode(0o644), "content\n")
        .finish(0);
    Image {
        architecture: architecture.into(),
        layers: vec![layer],
        config: serde_json::json!({"Cmd": ["/none"]}),
    }
}

/// That image as an OCI layout in `work`.
pub fn layout(bench: &Bench, name: &str, architecture: &str) -> Result<Descriptor> {
    let path = bench.person.path("work").join(name);
    let mut layout = Layout::create(&path)?;
    let descriptor = layout.add(&image(architecture), Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    person::give_all(&path)?;
    Ok(descriptor)
}

/// Where a layout in `work` keeps a blob.
pub fn blob(bench: &Bench, layout: &str, digest: &str) -> PathBuf {
    bench
        .person
        .path("work")
        .join(layout)
        .join("blobs")
        .join(digest.replace(':', "/"))
}

fn foreign() -> Result<()> {
    let bench = Bench::new()?;
    layout(&bench, "foreign", "amd64")?;
    let told = |name: &str| {
        error(
            "the image cannot run on aarch64: use `vdkr --arch x86_64` for it",
            &[&format!(
                "image `{}` is not for linux/arm64: it is for linux/amd64",
                bench.work(name)
            )],
        )
    };
    bench.refused(&["vimport", "foreign", "app:1"], &told("foreign"))?;
    bench
        .person
        .write("work/foreign.tar", docker_archive(&image("amd64"), "app:1"))?;
    bench.refused(&["vimport", "foreign.tar", "app:1"], &told("foreign.tar"))?;
    // No machine of ours runs it.
    layout(&bench, "strange", "s390x")?;
    bench.refused(
        &["vimport", "strange", "app:1"],
        &error(
            "the image cannot run on aarch64",
            &[&format!(
                "image `{}` is not for linux/arm64: it is for linux/s390x",
                bench.work("strange")
            )],
        ),
    )
}

fn layouts() -> Result<()> {
    let bench = Bench::new()?;
    let vimport = |name: &'static str| ["vimport", name, "app:1"];
    let again = "copy or build the image again";
    for (name, what) in [("no-layer", 0), ("no-config", 1), ("no-manifest", 2)] {
        let blobs = layout(&bench, name, "arm64")?;
        let (role, digest) = [
            ("layer 1 of 1:", &blobs.layers[0]),
            ("configuration", &blobs.config),
            ("manifest", &blobs.digest),
        ][what];
        fs::remove_file(blob(&bench, name, digest))?;
        let path = digest.replace(':', "/");
        bench.refused(
            &vimport(name),
            &error(
                &format!(
                    "the {role} {digest} of image `{}` is missing (blobs/{path} is not there): {again}",
                    bench.work(name)
                ),
                &[],
            ),
        )?;
    }
    let blobs = layout(&bench, "short", "arm64")?;
    let layer = blob(&bench, "short", &blobs.layers[0]);
    let bytes = fs::read(&layer)?;
    fs::write(&layer, &bytes[..bytes.len() - 3])?;
    bench.refused(
        &vimport("short"),
        &error(
            &format!(
                "the layer 1 of 1: {} of image `{}` has {} bytes instead of {}: it is truncated or damaged, {again}",
                blobs.layers[0],
                bench.work("short"),
                bytes.len() - 3,
                bytes.len()
            ),
            &[],
        ),
    )?;
    let blobs = layout(&bench, "changed", "arm64")?;
    let config = blob(&bench, "changed", &blobs.config);
    let text = fs::read_to_string(&config)?.replacen("tests", "Tests", 1);
    fs::write(&config, &text)?;
    bench.refused(
        &vimport("changed"),
        &error(
            &format!(
                "the configuration {} of image `{}` has the wrong digest, its content is {}: it is damaged, {again}",
                blobs.config,
                bench.work("changed"),
                digest(text.as_bytes())
            ),
            &[],
        ),
    )?;
    layout(&bench, "index", "arm64")?;
    bench.person.write("work/index/index.json", "{\"x\"")?;
    bench.refused(
        &vimport("index"),
        &error(
            &format!("cannot use the index.json of image `{}`", bench.work("index")),
            &[
                "it is not valid JSON of its kind",
                "EOF while parsing an object at line 1 column 4",
            ],
        ),
    )?;
    bench.person.write(
        "work/index/index.json",
        r#"{"schemaVersion": 2, "manifests": []}"#,
    )?;
    bench.refused(
        &vimport("index"),
        &error(
            &format!(
                "image `{}` is empty: its index lists no image",
                bench.work("index")
            ),
            &[],
        ),
    )?;
    bench.refused(
        &["vimport", "index", "App:1"],
        &error(
            "image name `App:1` has upper-case letters: repository names are lower-case, only tags may have them",
            &[],
        ),
    )
}

fn archives() -> Result<()> {
    let bench = Bench::new()?;
    let whole = docker_archive(&image("arm64"), "app:1");
    bench.person.write("work/half.tar", &whole[..whole.len() / 2])?;
    bench.refused(
        &["vimport", "half.tar"],
        &error(
            &format!("cannot read the archive `{}`", bench.work("half.tar")),
            &["it ends in the middle of `/0/layer.tar`: it is truncated, copy it again"],
        ),
    )?;
    let packed = Compression::Gzip.compress(&whole)?;
    bench
        .person
        .write("work/half.tar.gz", &packed[..packed.len() / 2])?;
    bench.refused(
        &["vimport", "half.tar.gz"],
        &error(
            &format!("cannot read the archive `{}`", bench.work("half.tar.gz")),
            &[
                "it cannot be decompressed: it is truncated or damaged, copy it again",
                "incomplete deflate stream",
            ],
        ),
    )
}

fn none() -> Result<()> {
    let bench = Bench::new()?;
    let vimport = |name: &'static str| ["vimport", name];
    let told = |name: &str, why: &str| {
        error(
            &format!("`{}` is not an image: {why}. {KNOWN}", bench.work(name)),
            &[],
        )
    };
    let cannot_open =
        |name: &str, why: &str| error(&format!("cannot open image `{}`", bench.work(name)), &[why]);
    bench.refused(&vimport("none"), &cannot_open("none", NOT_THERE))?;
    let closed = bench.person.write("work/closed", "secret")?;
    fs::set_permissions(closed, fs::Permissions::from_mode(0o000))?;
    bench.refused(&vimport("closed"), &cannot_open("closed", DENIED))?;
    for (name, content) in [("text", "no archive\n"), ("empty", "")] {
        bench.person.write(&format!("work/{name}"), content)?;
        bench.refused(&vimport(name), &told(name, "it is no tar archive"))?;
    }
    bench.person.directory("work/folder")?;
    bench.refused(
        &vimport("folder"),
        &told("folder", "it is a directory without index.json"),
    )?;
    // The folder that images are in.
    bench.person.directory("work/deploy")?;
    layout(&bench, "deploy/app-latest-oci", "arm64")?;
    let deploy = bench.work("deploy");
    bench.refused(
        &vimport("deploy"),
        &error(
            &format!(
                "`{deploy}` holds images and is none: import one of app-latest-oci, such as `vdkr vimport \
                 {deploy}/app-latest-oci`"
            ),
            &[&format!(
                "`{deploy}` is not an image: it is a directory without index.json. {KNOWN}"
            )],
        ),
    )
}
