//! The same image by everyone who can unpack it.
//!
//! Everybody writes into a fresh directory, and no file is removed before the end, only emptied: for minutes after files
//! have been removed, ext4 takes many times as long to make new ones (it looks for inodes that were not freed lately).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::machine::{Builder, Machine};
use e2e::podman::Podman;
use e2e::process::Command;

use crate::contest::{self, Contender, Times, timed};
use crate::debian_image::DebianImage;
use crate::growth;
use crate::layout::Compression;
use crate::program;

/// Where the machines see the image.
const IMAGE: &str = "/image";
/// Where Podman's machine sees the directories that are written to.
const STORES: &str = "/stores";

/// Unpacks one layer. Arguments: decompressor, blob, directory.
const PLAIN: &str = r#"$1 -dc "$2" | tar -x -C "$3""#;

/// Unpacks one layer and computes both SHA-256 sums, everything at the same time.
const HASHED: &str =
    r#"sha256sum "$2" > "$3.blob" & $1 -dc "$2" | tee >(sha256sum > "$3.diff") | tar -x -C "$3"; wait"#;

/// Which of our numbers a peer is compared with, and what the ratio should be.
enum Target {
    /// Nothing to compare: ourselves, or for information.
    None,
    /// The peer should take at least so many times as long as we take for its kind of store.
    AtLeast(f64, Ours),
    /// Our slower store should take at most so many times as long as the peer.
    AtMost(f64),
}

/// Our stores, as positions in the list of contenders.
#[derive(Clone, Copy)]
enum Ours {
    Docker = 0,
    Podman = 1,
}

/// A contender, and what we want to be in comparison.
struct Entry<'a> {
    target: Target,
    contender: Contender<'a>,
}

/// What all contenders work with.
struct Arena<'a> {
    image: &'a DebianImage,
    compression: Compression,
    /// Where fresh directories are made.
    scratch: &'a Path,
    vcontainer: PathBuf,
    blobs: Vec<PathBuf>,
    machine: &'a Machine,
    podman: &'a Podman<'a>,
}

/// The contest for one compression.
pub(crate) fn compare(
    image: &DebianImage,
    compression: Compression,
    rounds: usize,
    scratch: &Path,
) -> Result<()> {
    let machine = Builder::new(Suite::Trixie)
        .bind(scratch, STORES)
        .bind(image.directory(), IMAGE)
        .start()?;
    let arena = Arena {
        image,
        compression,
        scratch,
        vcontainer: program::path()?,
        blobs: image.blobs(compression)?,
        machine: &machine,
        podman: &Podman::new(&machine)?,
    };
    if !growth::has_room(scratch, 2 * image.unpacked)? {
        return Ok(());
    }
    arena.warm_up()?;
    let (targets, contenders): (Vec<_>, Vec<_>) = arena
        .entries()
        .into_iter()
        .map(|entry| (entry.target, entry.contender))
        .unzip();
    let times = contest::hold(&contenders, rounds)?;
    println!(
        "\n{}: {} layers, {:.0} MB unpacked, {} entries; seconds, median (min–max) of {rounds} rounds",
        compression.name(),
        arena.blobs.len(),
        image.unpacked as f64 / 1e6,
        image.entries,
    );
    for ((contender, target), time) in contenders.iter().zip(&targets).zip(&times) {
        println!(
            "  {:<38} {:<20} {:4.0} MB/s  {}",
            contender.name,
            time.show(),
            image.unpacked as f64 / 1e6 / time.median(),
            target.verdict(time, &times),
        );
    }
    Ok(())
}

impl<'a> Arena<'a> {
    fn entries(&self) -> Vec<Entry<'_>> {
        let (plain, fast) = match self.compression {
            Compression::Gzip => ("gzip", "pigz"),
            Compression::Zstd => ("zstd", "zstd"),
        };
        let archive = format!("{IMAGE}/docker-{}.tar", self.compression.name());
        let docker_archive = archive.clone();
        vec![
            // The order of `Ours`.
            self.entry("vcontainer bundle, Docker store", Target::None, |directory| {
                timed(directory, || self.bundle("bench:docker", directory).output().map(|_| ()))
            }),
            self.entry("vcontainer bundle, Podman store", Target::None, |directory| {
                timed(directory, || self.bundle("bench:podman", directory).output().map(|_| ()))
            }),
            self.entry("vcontainer bundle, tar file", Target::None, |directory| {
                let tar = directory.join("bundle.tar");
                let command = self.bundle("bench:docker", directory).arg("--tar").arg(tar);
                timed(directory, || command.output().map(|_| ()))
            }),
            self.entry(
                "skopeo copy oci: containers-storage:",
                Target::AtLeast(4.0, Ours::Podman),
                |directory| {
                    let inside = self.inside(directory);
                    timed(directory, || {
                        self.machine
                            .command("skopeo")
                            .args(["copy", "--quiet"])
                            .arg(format!("oci:{IMAGE}/{}", self.compression.name()))
                            .arg(format!("containers-storage:[overlay@{inside}/root+{inside}/run]localhost/bench:latest"))
                            .output()
                            .map(|_| ())
                    })
                },
            ),
            self.entry("docker load", Target::AtLeast(3.0, Ours::Docker), move |directory| {
                self.docker_load(directory, &docker_archive)
            }),
            self.entry("podman load", Target::AtLeast(3.0, Ours::Podman), move |directory| {
                let inside = self.inside(directory);
                let (root, run) = (format!("--root={inside}/root"), format!("--runroot={inside}/run"));
                timed(directory, || {
                    self.podman
                        .cli(&[&root, &run, "load", "--quiet", "--input", &archive])
                        .map(|_| ())
                })
            }),
            self.entry(format!("{plain} -dc | tar -x"), Target::AtMost(0.8), move |directory| {
                timed(directory, || self.unpack(PLAIN, plain, directory, false))
            }),
            self.entry(format!("{fast} -dc | tar -x, 2 sha256sum"), Target::AtMost(1.3), move |directory| {
                timed(directory, || self.unpack(HASHED, fast, directory, false))
            }),
            self.entry("the same, layers side by side", Target::AtMost(1.3), move |directory| {
                timed(directory, || self.unpack(HASHED, fast, directory, true))
            }),
        ]
    }

    fn entry<'b>(
        &'b self,
        name: impl Into<String>,
        target: Target,
        job: impl Fn(&Path) -> Result<Duration> + 'b,
    ) -> Entry<'b> {
        let run = Box::new(move || {
            let directory = tempfile::Builder::new()
                .disable_cleanup(true)
                .tempdir_in(self.scratch)
                .context("making a directory to unpack into")?;
            let time = job(directory.path())?;
            empty_files(directory.path())?;
            Ok(time)
        });
        let contender = Contender {
            name: name.into(),
            run,
        };
        Entry { target, contender }
    }

    /// Reads what everybody reads, so that nobody has to wait for the disk.
    fn warm_up(&self) -> Result<()> {
        let archive = self
            .image
            .directory()
            .join(format!("docker-{}.tar", self.compression.name()));
        self.blobs
            .iter()
            .chain([&archive])
            .try_for_each(|path| crate::layout::hash_file(path).map(|_| ()))
    }

    /// Where Podman's machine sees a directory.
    fn inside(&self, directory: &Path) -> String {
        let name = directory.file_name().unwrap_or_default();
        format!("{STORES}/{}", name.display())
    }

    fn bundle(&self, entry: &str, rootfs: &Path) -> Command {
        let layout = self.image.directory().join(self.compression.name());
        program::bundle(&self.vcontainer, rootfs)
            .arg("--image")
            .arg(format!("bench={}", layout.display()))
            .arg(entry)
    }

    /// `docker load` by a daemon on a fresh data root; only the load is timed.
    fn docker_load(&self, data_root: &Path, archive: &str) -> Result<Duration> {
        let machine = Builder::new(Suite::Trixie)
            .bind(data_root, "/var/lib/docker")
            .bind(self.image.directory(), IMAGE)
            .start()?;
        let docker = Docker::start(&machine, Store::Overlay2)?;
        let time = timed(data_root, || {
            docker.cli(&["load", "--quiet", "--input", archive]).map(|_| ())
        })?;
        docker.stop()?;
        Ok(time)
    }

    /// Runs the script for every layer, into a directory of its own.
    fn unpack(&self, script: &str, program: &str, directory: &Path, side_by_side: bool) -> Result<()> {
        let mut running = Vec::new();
        for (number, blob) in self.blobs.iter().enumerate() {
            let layer = directory.join(number.to_string());
            fs::create_dir(&layer).with_context(|| format!("making {}", layer.display()))?;
            let child = Command::new("bash")
                .args(["-o", "pipefail", "-c", script, "unpack", program])
                .arg(blob)
                .arg(&layer)
                .std()
                .spawn()
                .context("starting bash")?;
            if side_by_side {
                running.push(child);
            } else {
                finish(child)?;
            }
        }
        running.into_iter().try_for_each(finish)
    }
}

/// Truncates every file below a directory.
fn empty_files(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            empty_files(&path)?;
        } else if kind.is_file() {
            fs::File::create(&path).with_context(|| format!("emptying {}", path.display()))?;
        }
    }
    Ok(())
}

fn finish(mut child: Child) -> Result<()> {
    let status = child.wait().context("waiting for bash")?;
    anyhow::ensure!(status.success(), "unpacking failed ({status})");
    Ok(())
}

impl Target {
    fn verdict(&self, peer: &Times, all: &[Times]) -> String {
        let (text, reached) = match *self {
            Self::None => return String::new(),
            Self::AtLeast(wanted, ours) => {
                let ratio = peer.median() / all[ours as usize].median();
                (
                    format!("takes {ratio:.1} times as long as ours; target: at least {wanted}"),
                    ratio >= wanted,
                )
            }
            Self::AtMost(wanted) => {
                let ours = all[Ours::Docker as usize]
                    .median()
                    .max(all[Ours::Podman as usize].median());
                let ratio = ours / peer.median();
                (
                    format!("ours takes {ratio:.2} times as long; target: at most {wanted}"),
                    ratio <= wanted,
                )
            }
        };
        format!("{text}, {}", if reached { "reached" } else { "MISSED" })
    }
}
