//! What happens when there is more: memory for large layers, time for many images, a second bundle over a first.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::machine::scratch_directory;
use e2e::process::Command;

use crate::contest::{Times, timed};
use crate::debian_image::DebianImage;
use crate::layout::Compression;
use crate::program::{self, Usage};
use crate::{generated, layout};

/// Sizes of the layers whose peak memory is shown.
const LAYER_SIZES: [u64; 3] = [100_000_000, 1_000_000_000, 4_000_000_000];
/// Most resident memory that is allowed, whatever the layer.
const MEMORY_TARGET: u64 = 100_000_000;
/// Numbers of images, of [`IMAGE_SIZE`] each.
const IMAGES: [u64; 3] = [10, 50, 100];
const IMAGE_SIZE: u64 = 100_000_000;
/// Room that is left on the disk.
const RESERVE: u64 = 5_000_000_000;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Whether there is room for so many bytes more; says so if there isn't.
pub(crate) fn has_room(directory: &Path, bytes: u64) -> Result<bool> {
    let free = rustix::fs::statvfs(directory).context("asking for free space")?;
    let free = free.f_bavail * free.f_frsize;
    if free < bytes + RESERVE {
        println!(
            "  skipped: {:.0} MB needed, {:.0} MB free",
            megabytes(bytes + RESERVE),
            megabytes(free)
        );
        return Ok(false);
    }
    Ok(true)
}

/// One bundle into the Docker store of `rootfs`.
fn bundle(rootfs: &Path, images: &[(String, &Path)]) -> Result<(Duration, Usage)> {
    let mut command: Command = program::bundle(&program::path()?, rootfs);
    for (name, layout) in images {
        command = command
            .arg("--image")
            .arg(format!("{name}={}", layout.display()))
            .arg(format!("{name}:docker"));
    }
    let mut usage = Usage::default();
    let time = timed(rootfs, || {
        usage = program::watch(command)?;
        Ok(())
    })?;
    Ok((time, usage))
}

/// Peak memory for layers of different sizes.
pub(crate) fn memory() -> Result<()> {
    println!("\npeak memory of one bundle (gzip, one layer: half in one file, half in files of 64 KiB)");
    for size in LAYER_SIZES {
        let scratch = scratch_directory()?;
        if !has_room(scratch.path(), 2 * size)? {
            continue;
        }
        let image = scratch.path().join("image");
        let layer = generated::layer(&image, 1, size)?;
        layout::describe(&image, &[layer])?;
        let rootfs = scratch.path().join("rootfs");
        fs::create_dir(&rootfs)?;
        let (time, usage) = bundle(&rootfs, &[("bench".into(), &image)])?;
        println!(
            "  layer of {:4.0} MB: {:5.1} MB, {:6.2} s; target: below {:.0} MB, {}",
            megabytes(size),
            megabytes(usage.peak_memory),
            time.as_secs_f64(),
            megabytes(MEMORY_TARGET),
            if usage.peak_memory < MEMORY_TARGET {
                "reached"
            } else {
                "MISSED"
            }
        );
    }
    Ok(())
}

/// Time for more and more images in one bundle, all of them different.
pub(crate) fn linearity() -> Result<()> {
    println!(
        "\ntime for many images in one bundle ({:.0} MB each, nothing shared)",
        megabytes(IMAGE_SIZE)
    );
    let most = IMAGES[IMAGES.len() - 1];
    let scratch = scratch_directory()?;
    if !has_room(scratch.path(), 2 * most * IMAGE_SIZE)? {
        return Ok(());
    }
    let start = Instant::now();
    let layouts: Vec<_> = (0..most)
        .map(|number| scratch.path().join(format!("image{number}")))
        .collect();
    for (layout, seed) in layouts.iter().zip(0..) {
        let layer = generated::layer(layout, seed, IMAGE_SIZE)?;
        layout::describe(layout, &[layer])?;
    }
    eprintln!("  made {most} images in {:.0} s", start.elapsed().as_secs_f64());
    for count in IMAGES {
        let rootfs = tempfile::tempdir_in(scratch.path()).context("making a root filesystem")?;
        let images: Vec<(String, &Path)> = (0..count)
            .zip(&layouts)
            .map(|(number, layout)| (format!("image{number}"), layout.as_path()))
            .collect();
        let (time, usage) = bundle(rootfs.path(), &images)?;
        println!(
            "  {count:3} images: {:6.2} s, {:5.1} ms for each, {:5.1} MB of memory",
            time.as_secs_f64(),
            time.as_secs_f64() * 1000.0 / count as f64,
            megabytes(usage.peak_memory)
        );
    }
    Ok(())
}

/// A bundle over an earlier one that has all but the top layer.
pub(crate) fn second_bundle(image: &DebianImage, rounds: usize) -> Result<()> {
    println!("\na second bundle that changes only the top layer (10 MB; Docker store)");
    let scratch = scratch_directory()?;
    let mut times = [Vec::new(), Vec::new()];
    let mut written = [0, 0];
    let layout = scratch.path().join("image");
    let blobs = layout::blobs(&layout)?;
    let below = image.layers(Compression::Gzip)?;
    for (layer, blob) in below.iter().zip(image.blobs(Compression::Gzip)?) {
        fs::copy(blob, blobs.join(&layer.digest)).context("copying a layer")?;
    }
    for round in 0..rounds {
        let rootfs = scratch.path().join(format!("rootfs{round}"));
        fs::create_dir(&rootfs)?;
        for version in 0..2 {
            let mut layers = below.clone();
            layers.push(generated::layer(
                &layout,
                (2 * round + version) as u64,
                10_000_000,
            )?);
            layout::describe(&layout, &layers)?;
            let (time, usage) = bundle(&rootfs, &[("bench".into(), &layout)])?;
            times[version].push(time.as_secs_f64());
            written[version] = usage.written;
        }
    }
    for (what, (times, written)) in ["first ", "second"].iter().zip(times.into_iter().zip(written)) {
        println!(
            "  {what} {} s, {:5.1} MB written",
            Times::new(times).show(),
            megabytes(written)
        );
    }
    Ok(())
}
