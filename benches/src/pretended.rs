//! Under pseudo, as BitBake makes root filesystems: images into a store, and the same store unpacked out of a tar that was
//! made before. What a conversion in a task of its own, whose result sstate would keep, could save.

use std::fs;

use anyhow::{Context, Result};
use e2e::machine::scratch_directory;
use e2e::process::Command;
use e2e::tool;

use crate::contest::{self, Contender, timed};
use crate::debian_image::DebianImage;
use crate::layout::{self, Compression};

const UNPACK: &str = r#"zstd -dc "$1" | tar --numeric-owner --xattrs --xattrs-include='*' -x -C "$2""#;

pub(crate) fn measure(image: &DebianImage, rounds: usize) -> Result<()> {
    if !Command::exists("pseudo") {
        println!("skipped: a root filesystem under pseudo needs pseudo");
        return Ok(());
    }
    println!("\na Docker store in a root filesystem, under pseudo");
    let scratch = scratch_directory()?;
    let layout = scratch.path().join("image");
    let blobs = layout::blobs(&layout)?;
    let layers = image.layers(Compression::Zstd)?;
    for (layer, blob) in layers.iter().zip(image.blobs(Compression::Zstd)?) {
        fs::copy(blob, blobs.join(&layer.digest)).context("copying a layer")?;
    }
    layout::describe(&layout, &layers)?;
    let bundle = |command: Command| -> Result<Command> {
        Ok(command
            .arg(tool::binary()?)
            .args([
                "bundle",
                "--quiet",
                "--arch=x86_64",
                "--no-target-check",
                "--no-sync",
            ])
            .args(["--image".into(), format!("bench={}", layout.display())])
            .arg("bench:docker"))
    };
    let store = scratch.path().join("store.tar.zst");
    bundle(Command::new("env"))?.arg("--tar").arg(&store).output()?;
    let fresh = || -> Result<_> {
        let rootfs = tempfile::tempdir_in(scratch.path()).context("making a root filesystem")?;
        let pseudo = Command::new("pseudo")
            .env("PSEUDO_PREFIX", "/usr")
            .env("PSEUDO_LOCALSTATEDIR", rootfs.path().with_extension("pseudo"));
        // Files are not removed before the end: see speed.rs.
        Ok((rootfs.keep(), pseudo))
    };
    let contenders = [
        Contender {
            name: "vcontainer bundle".into(),
            run: Box::new(|| {
                let (rootfs, pseudo) = fresh()?;
                timed(&rootfs, || {
                    bundle(pseudo)?.arg("--rootfs").arg(&rootfs).output().map(drop)
                })
            }),
        },
        Contender {
            name: "zstd -dc STORE | tar -x".into(),
            run: Box::new(|| {
                let (rootfs, pseudo) = fresh()?;
                timed(&rootfs, || {
                    let words = pseudo.args(["sh", "-c", UNPACK, "unpack"]);
                    words.arg(&store).arg(&rootfs).output().map(drop)
                })
            }),
        },
    ];
    let times = contest::hold(&contenders, rounds)?;
    for (contender, times) in contenders.iter().zip(&times) {
        println!("  {:24} {} s", contender.name, times.show());
    }
    let blobs: u64 = layers.iter().map(|layer| layer.size).sum();
    let size = fs::metadata(&store).context("looking at the store")?.len();
    println!(
        "  {:.0} MB of layers, {:.0} MB of store",
        blobs as f64 / 1e6,
        size as f64 / 1e6
    );
    Ok(())
}
