//! The image of the comparisons: Debian 13 for amd64, unpacked from packages, in three layers as a Dockerfile would make
//! them. Kept in the cache.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::process::Command;
use e2e::{apt, cache};
use sha2::{Digest as _, Sha256};

use crate::layout::{self, Compression, Layer};

/// Counts up when the way to make the image changes.
const RECIPE_VERSION: u32 = 1;

/// The packages of each layer, on top of those of the layers below.
pub(crate) const LAYERS: [&[&str]; 3] = [
    &[
        "base-files",
        "base-passwd",
        "bash",
        "ca-certificates",
        "coreutils",
        "dash",
        "debianutils",
        "findutils",
        "grep",
        "gzip",
        "hostname",
        "libc-bin",
        "ncurses-base",
        "perl",
        "sed",
        "tar",
        "util-linux",
    ],
    &["build-essential", "cmake", "git"],
    &["python3", "python3-numpy"],
];

/// The image, in every compression.
pub(crate) struct DebianImage {
    directory: PathBuf,
    /// Entries of all layers.
    pub(crate) entries: usize,
    /// Bytes of all uncompressed layers.
    pub(crate) unpacked: u64,
}

impl DebianImage {
    /// From the cache, made first if it isn't there (a few minutes; needs root and the Debian mirror).
    pub(crate) fn get() -> Result<Self> {
        let recipe = format!("{RECIPE_VERSION} {LAYERS:?}");
        let key = &layout::hex(&Sha256::digest(recipe.as_bytes()))[..16];
        let bench = cache::directory()?.join("bench");
        fs::create_dir_all(&bench).with_context(|| format!("making {}", bench.display()))?;
        let directory = bench.join(format!("image-{key}"));
        if !directory.exists() {
            println!("making the image out of Debian packages (once; some minutes)");
            let partial = tempfile::tempdir_in(&bench).context("making a directory in the cache")?;
            make(partial.path()).context("making the image out of Debian packages")?;
            fs::rename(partial.keep(), &directory)
                .with_context(|| format!("renaming to {}", directory.display()))?;
        }
        let path = directory.join("size");
        let size = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut numbers = size.split_whitespace().map(str::parse::<u64>);
        let mut number = || numbers.next().context("the file of sizes is too short");
        Ok(Self {
            entries: usize::try_from(number()??)?,
            unpacked: number()??,
            directory,
        })
    }

    /// Where all is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its layers, base first.
    pub(crate) fn layers(&self, compression: Compression) -> Result<Vec<Layer>> {
        layout::read_layers(&self.directory.join(compression.name()))
    }

    /// The files of its layer blobs, base first.
    pub(crate) fn blobs(&self, compression: Compression) -> Result<Vec<PathBuf>> {
        let blobs = layout::blobs(&self.directory.join(compression.name()))?;
        let layers = self.layers(compression)?;
        Ok(layers.iter().map(|layer| blobs.join(&layer.digest)).collect())
    }
}

fn make(directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(directory).context("making a directory")?;
    let mut packages: Vec<&str> = Vec::new();
    let mut below = BTreeSet::new();
    let mut tars = Vec::new();
    let mut entries = 0;
    for (number, more) in LAYERS.iter().enumerate() {
        packages.extend(*more);
        let root = scratch.path().join(format!("root{number}"));
        unpack(&packages, &root)?;
        let mut names = BTreeSet::new();
        list(&root, Path::new(""), &mut names)?;
        let layer = with_parents(names.difference(&below));
        entries += layer.len();
        let tar = scratch.path().join(format!("layer{number}.tar"));
        pack(&root, &layer, &tar)?;
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
        tars.push(tar);
        below = names;
    }
    let mut unpacked = 0;
    for compression in Compression::ALL {
        let layout = directory.join(compression.name());
        let layers = tars
            .iter()
            .map(|tar| layout::compress(tar, &layout, compression))
            .collect::<Result<Vec<Layer>>>()?;
        layout::describe(&layout, &layers)?;
        let archive = directory.join(format!("docker-{}.tar", compression.name()));
        layout::docker_archive(&layout, &layers, &archive)?;
        unpacked = layers.iter().map(|layer| layer.unpacked).sum();
    }
    fs::write(directory.join("size"), format!("{entries} {unpacked}\n")).context("writing the file of sizes")
}

/// Unpacks packages and all that they depend on, with the right owners.
fn unpack(packages: &[&str], root: &Path) -> Result<()> {
    Command::new("mmdebstrap")
        .args([
            "--mode=root",
            "--variant=extract",
            "--architectures=amd64",
            "--format=directory",
        ])
        .args(
            apt::fetch_options()?
                .iter()
                .map(|option| format!("--aptopt={option}")),
        )
        .arg(format!("--include={}", packages.join(",")))
        .args(["trixie".as_ref(), root.as_os_str()])
        .arg(apt::mirror()?)
        .output()
        .map(|_| ())
}

/// Everything below a directory.
fn list(root: &Path, below: &Path, names: &mut BTreeSet<PathBuf>) -> Result<()> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &name, names)?;
        }
        names.insert(name);
    }
    Ok(())
}

/// These names and the directories that they lie in, which change when something is put into them.
fn with_parents<'a>(names: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<&'a Path> {
    names
        .flat_map(|name| name.ancestors())
        .filter(|name| !name.as_os_str().is_empty())
        .collect()
}

fn pack(root: &Path, names: &BTreeSet<&Path>, tar: &Path) -> Result<()> {
    let mut list = tempfile::NamedTempFile::new().context("making a temporary file")?;
    for name in names {
        list.write_all(name.as_os_str().as_bytes())?;
        list.write_all(b"\0")?;
    }
    list.flush()?;
    Command::new("tar")
        .args([
            "--format=pax",
            "--pax-option=delete=atime,delete=ctime",
            "--numeric-owner",
        ])
        .args(["--no-recursion", "--null", "--verbatim-files-from"])
        .arg("-C")
        .arg(root)
        .arg("-T")
        .arg(list.path())
        .arg("-cf")
        .arg(tar)
        .output()
        .map(|_| ())
}
