//! Layers with hostile or impossible entries: each is one error that names layer and entry, and nothing is written.

use std::fs;
use std::io::{Read, Write};

use anyhow::Result;
use e2e::layout::Compression;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::tree;
use e2e::trials::Trials;

use crate::alter;
use crate::bench::{Bench, image, layer};
use crate::who::Who;

pub fn add(trials: &mut Trials) {
    let mut add =
        |name: &str, test: fn() -> Result<()>| trials.anywhere(&format!("wrong_layers::{name}"), test);
    add("a_name_leaves_the_layer", escaping_names);
    add("a_name_leaves_the_layer_through_a_symlink", escaping_symlinks);
    add("an_absolute_name_is_one_of_the_layer", absolute);
    add("a_name_is_there_twice", twice);
    add("a_hard_link_to_nothing", hard_links);
    add("a_parent_is_no_directory", parents);
    add("a_whiteout_of_what_the_layer_has", whiteouts);
    add("the_archive_is_damaged", damaged);
    add("a_layer_bomb", bomb);
}

/// Every kind of store refuses an image with this layer.
fn refused(layer: Tarball, says: &[&str]) -> Result<()> {
    refused_bytes(&layer.finish(0), says)
}

fn refused_bytes(tar: &[u8], says: &[&str]) -> Result<()> {
    let bench = Bench::new()?;
    let below = layer(&[("etc/below", "below")]);
    bench.image("wrong", &image(vec![below, tar.to_vec()]))?;
    let digest = alter::manifest(&bench.layout("wrong"))?["layers"][1]["digest"].to_string();
    let says = [&["wrong-latest-oci", "layer 2", digest.trim_matches('"')], says].concat();
    bench.refused(&["wrong:docker"], &says)?;
    bench.refused_in_directory(&["wrong:podman"], &says)?;
    bench.refused_in_directory(&["--docker-store=containerd", "wrong:docker"], &says)
}

fn new() -> Tarball {
    Tarball::new(Format::Pax)
}

fn plain() -> Meta {
    Meta::mode(0o644)
}

fn escaping_names() -> Result<()> {
    for name in [
        "../evil",
        "a/../../evil",
        "./../evil",
        "/../evil",
        "../../../../../../../../tmp/evil",
    ] {
        refused(new().file(name, plain(), "evil"), &[name])?;
    }
    refused(
        new()
            .file("a", plain(), "")
            .hardlink("evil", "../../../etc/passwd", plain()),
        &["evil"],
    )?;
    refused(new().whiteout("../evil"), &["evil"])
}

fn escaping_symlinks() -> Result<()> {
    let outside = tempfile::tempdir()?;
    for target in ["../../../../../../../../../..", "/"] {
        let through = format!("link{}/evil", outside.path().display());
        let tar = new().symlink("link", target).file(&through, plain(), "evil");
        let bench = Bench::new()?;
        bench.image("wrong", &image(vec![tar.finish(0)]))?;
        for entry in ["wrong:docker", "wrong:podman"] {
            for who in [Who::Ordinary, Who::writer()] {
                bench.copy("root", "copy")?;
                let words: &[&str] = if who == Who::Ordinary {
                    &["--rootfs", "copy", "--tar", "out/x.tar", entry]
                } else {
                    &["--rootfs", "copy", entry]
                };
                let outcome = bench.bundle(who, words)?;
                // Inside, as the engines resolve it, or not at all: never out of the layer.
                assert!(
                    fs::read_dir(outside.path())?.next().is_none(),
                    "{}",
                    outcome.command
                );
                if !outcome.status.success() {
                    crate::bench::check_refusal(&outcome, &["link"])?;
                }
                fs::remove_dir_all(bench.path("copy"))?;
            }
        }
    }
    // Nor through a symlink of a lower layer.
    let below = new()
        .symlink("link", outside.path().as_os_str().as_encoded_bytes())
        .finish(0);
    let above = new().file("link/evil", plain(), "evil").finish(0);
    let bench = Bench::new()?;
    bench.image("wrong", &image(vec![below, above]))?;
    for entry in ["wrong:docker", "wrong:podman"] {
        bench
            .bundle(Who::writer(), &["--rootfs", "root", entry])?
            .success()?;
        assert!(fs::read_dir(outside.path())?.next().is_none());
    }
    refused(
        new().symlink("a", "b").symlink("b", "a").file("a/x", plain(), ""),
        &["a/x", "circle"],
    )
}

fn absolute() -> Result<()> {
    let bench = Bench::new()?;
    let tar = |prefix: &str| {
        new()
            .directory(format!("{prefix}etc/"), Meta::mode(0o755))
            .file(format!("{prefix}etc/absolute"), plain(), "inside\n")
            .finish(0)
    };
    bench.image("absolute", &image(vec![tar("/")]))?;
    bench
        .bundle(Who::writer(), &["--rootfs=root", "absolute:docker"])?
        .success()?;
    let files: Vec<String> = tree::read(&bench.path("root"))?
        .into_keys()
        .filter(|path| path.ends_with("/diff/etc/absolute"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    Ok(())
}

fn twice() -> Result<()> {
    refused(
        new().file("a", plain(), "1").file("a", plain(), "2"),
        &["`/a`", "twice"],
    )?;
    refused(
        new().file("a", plain(), "1").file("./a", plain(), "2"),
        &["`/a`", "twice"],
    )?;
    refused(
        new()
            .directory("d/", Meta::mode(0o755))
            .symlink("s", "d")
            .file("d/f", plain(), "1")
            .file("s/f", plain(), "2"),
        &["`/s/f`", "symlink"],
    )?;
    refused(
        new()
            .directory("d/", Meta::mode(0o755))
            .directory("d/", Meta::mode(0o700)),
        &["`/d`", "twice"],
    )
}

fn hard_links() -> Result<()> {
    refused(new().hardlink("b", "a", plain()), &["`/b`", "hard link to `/a`"])?;
    // Only a lower layer has it.
    refused(
        new().hardlink("b", "etc/below", plain()),
        &["`/b`", "hard link to `/etc/below`"],
    )?;
    refused(
        new().hardlink("b", "a", plain()).file("a", plain(), ""),
        &["`/b`"],
    )?;
    refused(new().hardlink("a", "a", plain()), &["`/a`"])?;
    refused(
        new()
            .directory("d/", Meta::mode(0o755))
            .hardlink("b", "d", plain()),
        &["`/b`", "directory"],
    )
}

fn parents() -> Result<()> {
    refused(
        new().file("a", plain(), "").file("a/b", plain(), ""),
        &["`/a/b`", "`/a`", "no directory"],
    )?;
    refused(new().file("a/b", plain(), "").file("a", plain(), ""), &["`/a`"])?;
    refused(
        new().symlink("a", "nowhere").file("a/b", plain(), ""),
        &["`/a/b`", "symlink"],
    )
}

fn whiteouts() -> Result<()> {
    refused(
        new().file("a", plain(), "").whiteout("a"),
        &["`/.wh.a`", "whiteout"],
    )?;
    refused(new().file(".wh.", plain(), ""), &["whiteout"])
}

fn damaged() -> Result<()> {
    let good = layer(&[("etc/name", "x"), ("etc/other", "y")]);
    let mut checksum = good.clone();
    checksum[512 + 3] ^= 1;
    refused_bytes(&checksum, &["byte 512"])?;
    refused_bytes(&good[..good.len() - 1024 - 512], &["truncated"])?;
    refused_bytes(&good[..700], &["truncated"])?;
    refused(
        new().entry(b'S', b"sparse", &plain(), b"", (0, 0), b""),
        &["sparse"],
    )?;
    refused(
        new().entry(b'Q', b"odd", &plain(), b"", (0, 0), b""),
        &["odd", "type"],
    )
}

fn bomb() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &image(vec![layer(&[("a", &"x".repeat(5000))])]))?;
    for size in ["4000", "4K"] {
        bench.refused(
            &["--max-layer-size", size, "small:docker"],
            &["small-latest-oci", "layer 1", "limit"],
        )?;
    }
    // A real one: 300 kB that unpack to 300 MB of one file, and one whose archive never ends.
    let header = new().file("bomb", plain(), "").finish(0);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut zeros = std::io::repeat(0).take(300 << 20);
    encoder.write_all(&header[..512])?;
    std::io::copy(&mut zeros, &mut encoder)?;
    let blob = encoder.finish()?;
    assert!(blob.len() < 400_000);
    bench.image("bomb", &image(vec![header]))?;
    alter::layer(&bench.layout("bomb"), 0, &blob)?;
    for words in [
        &["bomb:docker"][..],
        &["bomb:podman"],
        &["--docker-store=containerd", "bomb:docker"],
    ] {
        let limit = ["--max-layer-size=64M"];
        bench.refused(
            &[&limit, words].concat(),
            &["bomb-latest-oci", "layer 1", "67108864", "limit"],
        )?;
    }
    let zstd = Compression::Zstd.compress(&vec![0; 100 << 20])?;
    bench.image_as("zbomb", &image(vec![Vec::new()]), Compression::Zstd)?;
    alter::layer(&bench.layout("zbomb"), 0, &zstd)?;
    bench.refused(
        &["--max-layer-size=8M", "zbomb:docker"],
        &["zbomb-latest-oci", "layer 1", "limit"],
    )
}
