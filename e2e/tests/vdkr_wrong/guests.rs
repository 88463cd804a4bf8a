//! Guest files that are not there, or not as they were made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result};
use e2e::guest;
use e2e::person;
use e2e::process::Command;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

use crate::bench::{Bench, DENIED, LEFT, error, no_start};

const MAKE: &str = "`vcontainer guest build --engine docker --arch aarch64` makes";

pub fn add(trials: &mut Trials) {
    trials.anywhere("guests::they_are_missing", missing);
    trials.anywhere("guests::they_are_damaged", damaged);
    trials.anywhere("guests::their_manifest_cannot_be_used", manifest);
}

/// Somebody with guest files of their own: small ones copied, the others the shared ones.
struct Files {
    bench: Bench,
    folder: PathBuf,
}

impl Files {
    fn new() -> Result<Self> {
        let bench = Bench::new()?;
        for name in ["work/blobs", "work/blobs/aarch64"] {
            bench.person.directory(name)?;
        }
        let folder = bench.person.path("work/blobs/aarch64");
        let files = Self { bench, folder };
        let shared = guest::guest_files(Engine::Docker, Arch::Aarch64)?.join("aarch64");
        symlink(shared.join("rootfs.img"), files.path("rootfs.img"))?;
        for name in ["Image", "initramfs.cpio.gz", "manifest.json"] {
            fs::copy(shared.join(name), files.path(name)).with_context(|| format!("copying {name}"))?;
        }
        person::give_all(&files.folder)?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn vdkr(&self) -> Command {
        self.bench.vdkr(&["--blob-dir", "blobs", "images"])
    }

    fn refused(&self, stderr: &str) -> Result<()> {
        self.bench.fails(self.vdkr(), 1, stderr)
    }
}

fn missing() -> Result<()> {
    let bench = Bench::new()?;
    // Where they are when nobody says anything.
    let usual = bench.person.path("home/.local/share/vcontainer");
    for (tool, engine, arch) in [
        ("vdkr", "docker", "aarch64"),
        ("vdkr", "docker", "x86_64"),
        ("vpdmn", "podman", "aarch64"),
    ] {
        let command = bench
            .person
            .command(tool)
            .args(["-a", arch, "images"])
            .env("VDKR_BLOB_DIR", "")
            .env("VPDMN_BLOB_DIR", "");
        let told = format!(
            "[{tool}] error: there are no guest files for {engine} on {arch} in `{}/{tool}/{arch}`: `vcontainer guest \
             build --engine {engine} --arch {arch}` makes them\n",
            usual.display()
        );
        bench.fails(command, 1, &told)?;
    }
    let told = error(
        &format!(
            "there are no guest files for docker on aarch64 in `{}/aarch64`: {MAKE} them",
            bench.work("none")
        ),
        &[],
    );
    bench.refused(&["--blob-dir", "none", "images"], &told)
}

fn damaged() -> Result<()> {
    let files = Files::new()?;
    let told = |name: &str, found: &str| {
        error(
            &format!(
                "the guest file `{}` is damaged: {found}. {MAKE} it again",
                files.shown(name)
            ),
            &[],
        )
    };
    let kernel = fs::read(files.path("Image"))?;
    let mut changed = kernel.clone();
    *changed.get_mut(100_000).context("the kernel is small")? ^= 1;
    fs::write(files.path("Image"), changed)?;
    files.refused(&told("Image", "its content isn't what the manifest says"))?;
    let size = kernel.len();
    fs::write(files.path("Image"), &kernel[..size - 5])?;
    files.refused(&told(
        "Image",
        &format!("it has {} bytes instead of {size}", size - 5),
    ))?;
    fs::write(files.path("Image"), kernel)?;
    let name = "initramfs.cpio.gz";
    fs::rename(files.path(name), files.path("elsewhere"))?;
    files.refused(&told(name, "it is missing"))?;
    fs::create_dir(files.path(name))?;
    files.refused(&told(name, "it is no file"))?;
    fs::remove_dir(files.path(name))?;
    fs::rename(files.path("elsewhere"), files.path(name))?;
    unreadable(&files, name)?;
    // Whole again, they are used.
    let person = &files.bench.person;
    let without_qemu = person
        .command("env")
        .arg(format!("PATH={}", person.path("bin").display()));
    files.bench.fails_and_leaves(
        without_qemu.args(["vdkr", "-a", "aarch64", "--blob-dir", "blobs", "images"]),
        125,
        &no_start(&[
            "qemu-system-aarch64 was not found on PATH: install it (Debian and Ubuntu: apt install \
                     qemu-system-arm)",
        ]),
        &LEFT,
    )
}

fn unreadable(files: &Files, name: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(files.path(name), fs::Permissions::from_mode(0o000))?;
    files.refused(&error(
        &format!("cannot read the guest file `{}`", files.shown(name)),
        &[DENIED],
    ))?;
    fs::set_permissions(files.path(name), fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn manifest() -> Result<()> {
    let files = Files::new()?;
    let path = files.path("manifest.json");
    let whole = fs::read_to_string(&path)?;
    let what = format!(
        "cannot use the guest files of `{}`: {MAKE} them again",
        path.display()
    );
    fs::write(&path, &whole[..40])?;
    files.refused(&error(
        &what,
        &[
            "it is no guest manifest",
            "EOF while parsing a string at line 3 column 23",
        ],
    ))?;
    fs::write(&path, "{}")?;
    files.refused(&error(
        &what,
        &["it is no guest manifest", "missing field `format`"],
    ))?;
    fs::write(&path, whole.replacen("\"format\": 1", "\"format\": 99", 1))?;
    files.refused(&error(
        &what,
        &["it has format 99, which another version of vcontainer has written: this one knows format 1"],
    ))?;
    // That of another guest.
    fs::write(&path, whole.replacen("\"docker\"", "\"podman\"", 1))?;
    files.refused(&error(
        &format!(
            "the guest file `{}` is damaged: it says podman on aarch64. {MAKE} it again",
            path.display()
        ),
        &[],
    ))
}
