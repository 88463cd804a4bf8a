//! Images from a root filesystem of real packages: `vcontainer oci build` and what people use instead; the layer cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use e2e::apt;
use e2e::machine::scratch_directory;
use e2e::process::Command;

use crate::contest::{self, Contender, Times, timed};
use crate::debian_image::{DebianImage, LAYERS};
use crate::growth::has_room;
use crate::layout::Compression;
use crate::program;

/// Most memory that a build may take, in bytes.
const MEMORY_TARGET: u64 = 150_000_000;

/// tar, a compressor and both SHA-256 sums, all at the same time.
const PIPE: &str = r#"tar -C "$2" --sort=name -c . | tee >(sha256sum > "$3/diff") | $1 | tee >(sha256sum > "$3/blob") > "$3/layer"; wait"#;

/// A contender, and how many times as long as ours it should take at least.
type Entry<'a> = (Option<f64>, Contender<'a>);

pub(crate) fn measure(image: &DebianImage, rounds: usize) -> Result<()> {
    let scratch = scratch_directory()?;
    if !has_room(scratch.path(), 8 * image.unpacked)? {
        return Ok(());
    }
    let arena = Arena {
        vcontainer: program::path()?,
        root: scratch.path().join("root"),
        scratch: scratch.path().to_owned(),
    };
    fs::create_dir(&arena.root).context("making the root filesystem")?;
    for blob in image.blobs(Compression::Zstd)? {
        Command::new("tar")
            .args(["--zstd", "--numeric-owner", "-xpf"])
            .arg(blob)
            .arg("-C")
            .arg(&arena.root)
            .output()?;
    }
    // Into the page cache, for everybody.
    Command::new("sh")
        .args(["-c", "tar -C \"$0\" -c . | cat > /dev/null"])
        .arg(&arena.root)
        .output()?;
    arena.contest("gzip", image, arena.gzip(), rounds)?;
    arena.contest("zstd", image, arena.zstd(), rounds)?;
    arena.memory()?;
    arena.cache(rounds)
}

struct Arena {
    vcontainer: PathBuf,
    root: PathBuf,
    scratch: PathBuf,
}

impl Arena {
    fn contest(&self, name: &str, image: &DebianImage, entries: Vec<Entry<'_>>, rounds: usize) -> Result<()> {
        let (targets, contenders): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let times = contest::hold(&contenders, rounds)?;
        println!(
            "\nan image of {:.0} MB in {} files, {name}; seconds, median (min–max) of {rounds} rounds",
            image.unpacked as f64 / 1e6,
            image.entries
        );
        for ((contender, target), time) in contenders.iter().zip(targets).zip(&times) {
            println!(
                "  {:<46} {:<20} {}",
                contender.name,
                time.show(),
                verdict(target, time, &times[0])
            );
        }
        Ok(())
    }

    fn entry<'a>(
        &'a self,
        target: Option<f64>,
        name: &str,
        job: impl Fn(&Path) -> Result<()> + 'a,
        prepare: impl Fn(&Path) -> Result<()> + 'a,
    ) -> Entry<'a> {
        let run = Box::new(move || {
            let directory = tempfile::tempdir_in(&self.scratch).context("making a directory")?;
            prepare(directory.path())?;
            timed(directory.path(), || job(directory.path()))
        });
        let contender = Contender {
            name: name.into(),
            run,
        };
        (target, contender)
    }

    fn build(&self, directory: &Path, words: &[&str]) -> Command {
        Command::new(&self.vcontainer)
            .args(["oci", "build", "--arch=x86_64", "--quiet", "--rootfs"])
            .arg(&self.root)
            .arg("--output")
            .arg(directory)
            .args(words)
            .arg("image")
    }

    fn pipe(&self, directory: &Path, compressor: &str) -> Result<()> {
        Command::new("bash")
            .args(["-c", PIPE, "bash", compressor])
            .arg(&self.root)
            .arg(directory)
            .output()
            .map(drop)
    }

    fn gzip(&self) -> Vec<Entry<'_>> {
        let nothing = |_: &Path| Ok(());
        let empty = |directory: &Path| {
            let layout = directory.join("layout");
            umoci(&["init", "--layout"], &[&layout])?;
            umoci(&["new", "--image"], &[&tagged(&layout)])
        };
        vec![
            self.entry(
                None,
                "vcontainer oci build",
                |directory| self.build(directory, &[]).output().map(drop),
                nothing,
            ),
            self.entry(
                Some(1.2),
                "umoci insert",
                move |directory| {
                    let layout = tagged(&directory.join("layout"));
                    umoci(&["insert", "--image"], &[&layout, &self.root, Path::new("/")])
                },
                empty,
            ),
            self.entry(
                Some(2.0),
                "umoci repack",
                |directory| {
                    let layout = tagged(&directory.join("layout"));
                    umoci(&["repack", "--image"], &[&layout, &directory.join("bundle")])
                },
                move |directory| {
                    empty(directory)?;
                    let bundle = directory.join("bundle");
                    umoci(
                        &["unpack", "--image"],
                        &[&tagged(&directory.join("layout")), &bundle],
                    )?;
                    Command::new("cp")
                        .arg("-a")
                        .arg(self.root.join("."))
                        .arg(bundle.join("rootfs"))
                        .output()
                        .map(drop)
                },
            ),
            self.entry(
                Some(2.0),
                "tar | pigz, with both SHA-256 sums",
                |directory| self.pipe(directory, "pigz"),
                nothing,
            ),
        ]
    }

    fn zstd(&self) -> Vec<Entry<'_>> {
        let nothing = |_: &Path| Ok(());
        vec![
            self.entry(
                None,
                "vcontainer oci build --compression zstd",
                |directory| self.build(directory, &["--compression=zstd"]).output().map(drop),
                nothing,
            ),
            self.entry(
                Some(4.0),
                "tar | pigz, with both SHA-256 sums",
                |directory| self.pipe(directory, "pigz"),
                nothing,
            ),
            self.entry(
                Some(1.0),
                "tar | zstd -T2, with both SHA-256 sums",
                |directory| self.pipe(directory, "zstd -q -T2"),
                nothing,
            ),
        ]
    }

    fn memory(&self) -> Result<()> {
        println!("\npeak memory of the same build");
        let base = tempfile::tempdir_in(&self.scratch).context("making a directory")?;
        self.build(base.path(), &[]).output()?;
        let path = base.path().join("image-latest-oci").display().to_string();
        let cases: [(&str, &[&str]); 3] = [
            ("gzip", &[]),
            ("zstd", &["--compression=zstd"]),
            ("gzip, on a base with the same files", &["--base", &path]),
        ];
        for (name, words) in cases {
            let directory = tempfile::tempdir_in(&self.scratch).context("making a directory")?;
            let usage = program::watch(self.build(directory.path(), words))?;
            println!(
                "  {name:<40} {:5.1} MB; target: below {:.0} MB, {}",
                usage.peak_memory as f64 / 1e6,
                MEMORY_TARGET as f64 / 1e6,
                reached(usage.peak_memory < MEMORY_TARGET)
            );
        }
        Ok(())
    }

    /// Three layers of packages: installed, and out of the cache.
    fn cache(&self, rounds: usize) -> Result<()> {
        let directory = tempfile::tempdir_in(&self.scratch).context("making a directory")?;
        let mirror = apt::mirror()?;
        let layers: Vec<String> = ["base", "build", "python"]
            .iter()
            .zip(LAYERS)
            .map(|(name, packages)| format!("--layer={name}:packages:{}", packages.join("+")))
            .collect();
        let command = || {
            Command::new(&self.vcontainer)
                .args(["oci", "build", "--arch=x86_64", "--quiet", "--suite=trixie"])
                .args(["--mirror", &mirror])
                .arg("--package-cache")
                .arg(directory.path().join("packages"))
                .arg("--layer-cache")
                .arg(directory.path().join("layers"))
                .arg("--output")
                .arg(directory.path())
                .args(&layers)
                .arg("image")
        };
        let build = |clear: bool| -> Result<f64> {
            if clear {
                fs::remove_dir_all(directory.path().join("layers")).context("emptying the cache")?;
            }
            let start = Instant::now();
            command().output()?;
            Ok(start.elapsed().as_secs_f64())
        };
        // Downloads come first, and do not count.
        build(false)?;
        let (mut installed, mut cached, mut hashed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            installed.push(build(true)?);
            cached.push(build(false)?);
            let start = Instant::now();
            Command::new("sh")
                .args(["-c", "sha256sum \"$0\"/*"])
                .arg(directory.path().join("image-latest-oci/blobs/sha256"))
                .output()?;
            hashed.push(start.elapsed().as_secs_f64());
        }
        let [installed, cached, hashed] = [installed, cached, hashed].map(Times::new);
        let more = cached.median() - hashed.median();
        println!("\nthree layers of packages; seconds, median (min–max) of {rounds} rounds");
        println!("  installed                  {}", installed.show());
        println!("  out of the cache           {}", cached.show());
        println!("  sha256sum of the blobs     {}", hashed.show());
        println!(
            "  {more:.2} s more than the hashing, {:.1} s saved; target: at most 0.2 s more, {}",
            installed.median() - cached.median(),
            reached(more <= 0.2)
        );
        Ok(())
    }
}

fn umoci(words: &[&str], paths: &[&Path]) -> Result<()> {
    Command::new("umoci").args(words).args(paths).output().map(drop)
}

fn tagged(layout: &Path) -> PathBuf {
    let mut path = layout.as_os_str().to_owned();
    path.push(":latest");
    path.into()
}

fn verdict(target: Option<f64>, time: &Times, ours: &Times) -> String {
    let ratio = time.median() / ours.median();
    target.map_or_else(String::new, |target| {
        format!(
            "{ratio:.2} times ours; target: {target} times, {}",
            reached(ratio >= target)
        )
    })
}

fn reached(is_reached: bool) -> &'static str {
    match is_reached {
        true => "reached",
        false => "MISSED",
    }
}
