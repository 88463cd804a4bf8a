//! Images that are damaged, incomplete or for something else: each is one error, and nothing is written.

use std::fs;
use std::path::Path;

use anyhow::Result;
use e2e::layout::{self, Compression, Image};
use e2e::tarball::{Format, Meta, Tarball};
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::alter;
use crate::bench::{Bench, noise, small};

pub fn add(trials: &mut Trials) {
    let mut add =
        |name: &str, test: fn() -> Result<()>| trials.anywhere(&format!("wrong_images::{name}"), test);
    add("a_layer_is_missing", || {
        damaged("is missing", |_, blob| Ok(fs::remove_file(blob)?))
    });
    add("a_layer_is_truncated", || {
        damaged("truncated", |bytes, blob| {
            Ok(fs::write(blob, &bytes[..bytes.len() - 7])?)
        })
    });
    add("a_layer_is_too_long", || {
        damaged("bytes", |bytes, blob| {
            Ok(fs::write(blob, [bytes, b"more"].concat())?)
        })
    });
    add("a_layer_has_the_wrong_digest", wrong_digest);
    add("a_document_is_damaged", documents);
    add("a_layer_has_the_wrong_diff_id", wrong_diff_id);
    add("the_numbers_of_layers_differ", numbers);
    add("the_index_has_no_usable_platform", no_platform);
    add("the_index_is_empty_or_nonsense", empty_index);
    add("the_architecture_is_another", other_architecture);
    add("the_compression_is_unknown", unknown_compression);
    add("a_layer_is_foreign", foreign);
    add("an_archive_is_truncated", archives);
    add("the_file_is_no_image", no_image);
}

/// The image `small` with its first layer damaged.
fn damaged(says: &str, damage: impl Fn(&[u8], &Path) -> Result<()>) -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let layout = bench.layout("small");
    let descriptor = alter::manifest(&layout)?["layers"][0].clone();
    let blob = alter::blob(&layout, &descriptor)?;
    damage(&fs::read(&blob)?, &blob)?;
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    for entry in ["small:docker:always", "small:podman"] {
        bench.refused(&[entry], &["small-latest-oci", digest, says])?;
    }
    bench.refused(
        &["--docker-store", "containerd", "small:docker"],
        &["small-latest-oci", digest, says],
    )
}

fn wrong_digest() -> Result<()> {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bench = Bench::new()?;
        // Large, so that much has been written when it is found out.
        let image = Image {
            layers: vec![noise("big", 3_000_000, 7)],
            ..small("x")
        };
        bench.image_as("big", &image, compression)?;
        let layout = bench.layout("big");
        let descriptor = alter::manifest(&layout)?["layers"][0].clone();
        let blob = alter::blob(&layout, &descriptor)?;
        let mut bytes = fs::read(&blob)?;
        bytes[2_999_000] ^= 1;
        fs::write(&blob, bytes)?;
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        for words in [
            &["big:docker"][..],
            &["big:podman"],
            &["--docker-store=containerd", "big:docker"],
        ] {
            bench.refused(words, &["big-latest-oci", digest, "digest"])?;
        }
    }
    Ok(())
}

fn documents() -> Result<()> {
    for what in ["manifest", "configuration"] {
        for damage in [
            |text: &mut Vec<u8>| text.truncate(40),
            |text: &mut Vec<u8>| text[30] ^= 1,
        ] {
            let bench = Bench::new()?;
            bench.image("small", &small("x"))?;
            let layout = bench.layout("small");
            let descriptor = match what {
                "manifest" => alter::index(&layout)?["manifests"][0].clone(),
                _ => alter::manifest(&layout)?["config"].clone(),
            };
            let blob = alter::blob(&layout, &descriptor)?;
            let mut text = fs::read(&blob)?;
            damage(&mut text);
            fs::write(&blob, text)?;
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            bench.refused(&["small:docker"], &["small-latest-oci", what, digest, "damaged"])?;
        }
    }
    // Intact, and yet not what it should be.
    for change in [
        (|_, config| config["rootfs"] = json!(7)) as fn(&mut Value, &mut Value),
        |_, config| config["rootfs"]["diff_ids"][0] = json!("sha256:short"),
        |manifest, _| manifest["layers"][0]["size"] = json!(-1),
        |manifest, _| manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd"),
        |manifest, _| manifest["layers"] = json!({}),
    ] {
        let bench = Bench::new()?;
        bench.image("small", &small("x"))?;
        alter::image(&bench.layout("small"), change)?;
        bench.refused(&["small:docker"], &["small-latest-oci"])?;
    }
    Ok(())
}

fn wrong_diff_id() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let wrong = layout::digest(b"another layer");
    let named = wrong.clone();
    alter::image(&bench.layout("small"), |_, config| {
        config["rootfs"]["diff_ids"][1] = json!(named)
    })?;
    let says = [
        "small-latest-oci",
        &wrong,
        "uncompressed content has the digest",
        "build it again",
    ];
    for words in [
        &["small:docker"][..],
        &["small:podman"],
        &["--docker-store=containerd", "small:docker"],
    ] {
        bench.refused(words, &says)?;
    }
    Ok(())
}

fn numbers() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    alter::image(&bench.layout("small"), |_, config| {
        config["rootfs"]["diff_ids"] = json!([]);
    })?;
    bench.refused(
        &["small:docker"],
        &["small-latest-oci", "contradicts itself", "2 layers", " 0"],
    )
}

/// A layout with an index of these platforms.
fn multi(bench: &Bench, platforms: &[Value]) -> Result<()> {
    bench.image("multi", &small("x"))?;
    let layout = bench.layout("multi");
    let mut index = alter::index(&layout)?;
    let manifest = index["manifests"][0].clone();
    let list = platforms.iter().map(|platform| {
        let mut manifest = manifest.clone();
        manifest["platform"] = platform.clone();
        manifest["annotations"] = Value::Null;
        manifest
    });
    index["manifests"] = list.collect();
    alter::write_index(&layout, &index)
}

fn no_platform() -> Result<()> {
    let bench = Bench::new()?;
    multi(
        &bench,
        &[
            json!({"os": "linux", "architecture": "amd64"}),
            json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
            json!({"os": "windows", "architecture": "arm64"}),
            json!({"os": "unknown", "architecture": "unknown"}),
        ],
    )?;
    let says = ["linux/arm64", "linux/amd64", "linux/arm/v7", "windows/arm64"];
    bench.refused(&["multi:docker"], &[&["multi-latest-oci"], &says[..]].concat())?;
    // Only attestations.
    let bench = Bench::new()?;
    multi(&bench, &[json!({"os": "unknown", "architecture": "unknown"})])?;
    bench.refused(&["multi:docker"], &["multi-latest-oci", "lists no image"])
}

fn empty_index() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let layout = bench.layout("small");
    for (text, says) in [
        (r#"{"schemaVersion": 2, "manifests": []}"#, "lists no image"),
        ("{", "index"),
        ("", "index"),
        ("[]", "index"),
        (
            r#"{"schemaVersion": 2, "manifests": [{"mediaType": "text/plain", "digest": "md5:00", "size": 0}]}"#,
            "small",
        ),
    ] {
        fs::write(layout.join("index.json"), text)?;
        bench.refused(&["small:docker"], &["small-latest-oci", says])?;
    }
    // An index that names itself.
    let mut index =
        alter::index(&bench.layout("small")).unwrap_or(json!({"schemaVersion": 2, "manifests": [{}]}));
    index["manifests"] = json!([{"mediaType": "application/vnd.oci.image.index.v1+json"}]);
    for _ in 0..40 {
        let text = index.to_string();
        alter::put(&layout, &mut index["manifests"][0], text.as_bytes())?;
    }
    alter::write_index(&layout, &index)?;
    bench.refused(&["small:docker"], &["small-latest-oci"])
}

fn other_architecture() -> Result<()> {
    let bench = Bench::new()?;
    let amd64 = Image {
        architecture: "amd64".into(),
        ..small("x")
    };
    bench.image("amd", &amd64)?;
    let archive = layout::docker_archive(&amd64, "amd:1");
    bench.write("deploy/archive.tar", archive)?;
    bench.refused(&["amd:docker"], &["amd-latest-oci", "linux/arm64", "linux/amd64"])?;
    bench.refused(&["amd:podman"], &["amd-latest-oci", "linux/arm64", "linux/amd64"])?;
    bench.refused(
        &["--image=amd=deploy/archive.tar", "amd"],
        &["archive.tar", "linux/arm64", "linux/amd64"],
    )?;
    // Pretty-printed documents are read no differently.
    let layout = bench.layout("amd");
    let mut index = alter::index(&layout)?;
    let pretty = serde_json::to_vec_pretty(&alter::manifest(&layout)?)?;
    alter::put(&layout, &mut index["manifests"][0], &pretty)?;
    fs::write(layout.join("index.json"), serde_json::to_vec_pretty(&index)?)?;
    bench.refused(&["amd:docker"], &["amd-latest-oci", "linux/arm64", "linux/amd64"])?;
    // The index says one thing, the image itself another.
    index["manifests"][0]["platform"]["architecture"] = json!("arm64");
    alter::write_index(&layout, &index)?;
    bench.refused(&["amd:docker"], &["amd-latest-oci", "linux/arm64", "linux/amd64"])
}

fn unknown_compression() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let layout = bench.layout("small");
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.example",
    ] {
        alter::image(&layout, |manifest, _| {
            manifest["layers"][1]["mediaType"] = json!(media_type)
        })?;
        bench.refused(&["small:docker"], &["small-latest-oci", "layer 2", media_type])?;
    }
    // Said to be gzip, and is something else.
    for magic in [
        &b"\xfd7zXZ\0 and so on"[..],
        b"BZh91AY&SY and so on",
        b"plain text",
        b"",
    ] {
        let bench = Bench::new()?;
        bench.image("small", &small("x"))?;
        alter::layer(&bench.layout("small"), 1, magic)?;
        bench.refused(&["small:docker"], &["small-latest-oci", "layer"])?;
    }
    Ok(())
}

fn foreign() -> Result<()> {
    let bench = Bench::new()?;
    bench.image("small", &small("x"))?;
    let layout = bench.layout("small");
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ] {
        alter::image(&layout, |manifest, _| {
            manifest["layers"][0]["mediaType"] = json!(media_type);
            manifest["layers"][0]["urls"] = json!(["https://layers.invalid/x"]);
        })?;
        let blob = alter::blob(&layout, &alter::manifest(&layout)?["layers"][0])?;
        let _ = fs::remove_file(blob);
        bench.refused(&["small:docker"], &["small-latest-oci", "layer 1", "foreign"])?;
    }
    Ok(())
}

/// A layout as an archive.
fn oci_archive(bench: &Bench, name: &str) -> Result<Vec<u8>> {
    let layout = bench.layout(name);
    let mut tarball = Tarball::new(Format::Pax)
        .directory("blobs/", Meta::mode(0o755))
        .directory("blobs/sha256/", Meta::mode(0o755));
    for file in crate::bench::names(&layout.join("blobs/sha256"))? {
        let name = format!("blobs/sha256/{file}");
        tarball = tarball.file(&name, Meta::mode(0o644), fs::read(layout.join(&name))?);
    }
    for name in ["oci-layout", "index.json"] {
        tarball = tarball.file(name, Meta::mode(0o644), fs::read(layout.join(name))?);
    }
    Ok(tarball.finish(0))
}

fn archives() -> Result<()> {
    let bench = Bench::new()?;
    let image = Image {
        layers: vec![noise("big", 200_000, 1)],
        ..small("x")
    };
    bench.image("whole", &image)?;
    let tar = oci_archive(&bench, "whole")?;
    let gz = Compression::Gzip.compress(&tar)?;
    let zst = Compression::Zstd.compress(&tar)?;
    for (name, bytes) in [("cut.tar", tar), ("cut.tar.gz", gz), ("cut.tar.zst", zst)] {
        for length in [300, bytes.len() / 2, bytes.len() - bytes.len() / 8] {
            bench.write(&format!("deploy/{name}"), &bytes[..length])?;
            bench.refused(&[&format!("--image=cut=deploy/{name}"), "cut:docker"], &[name])?;
        }
        bench.write(&format!("deploy/{name}"), &bytes)?;
        let words = [
            "--rootfs=root",
            "--tar=out/x.tar",
            &format!("--image=cut=deploy/{name}"),
            "cut:docker",
        ];
        bench.bundle(crate::who::Who::Ordinary, &words)?.success()?;
        fs::remove_file(bench.path("out/x.tar"))?;
        bench.nothing_left()?;
    }
    Ok(())
}

fn no_image() -> Result<()> {
    let bench = Bench::new()?;
    bench.write("deploy/text.tar", "not an archive")?;
    bench.write("deploy/empty.tar", "")?;
    bench.write("deploy/directory/file", "")?;
    for (name, says) in [
        ("text.tar", "is not an image"),
        ("empty.tar", "is not an image"),
        ("directory", "is not an image"),
        ("nowhere.tar", "No such file"),
    ] {
        bench.refused(&[&format!("--image=x=deploy/{name}"), "x:docker"], &[name, says])?;
    }
    bench.refused(
        &["x:docker"],
        &[
            "entry `x:docker`",
            "no image `x`",
            "`x-latest-oci`",
            "`deploy`",
            "--images DIR",
        ],
    )?;
    bench.refused(
        &["localhost:5000/team/x:1.0:docker"],
        &["remote image", "--image localhost:5000/team/x:1.0=DIR"],
    )
}
