//! Guest files for tests, made by the real command as an ordinary user, once for each change of what they are made of.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use vcontainer_guest::{Arch, Engine, GuestFiles};

use vcontainer_debian::{self as debian, Mirror, host};

use crate::layout::{Compression, Image, Layout};
use crate::person::{self, Person};
use crate::tarball::{Format, Meta, Tarball};
use crate::{apt, cache, tool};

/// Names of busybox in the test image.
const APPLETS: &[&str] = &[
    "cat",
    "date",
    "dd",
    "echo",
    "env",
    "false",
    "head",
    "id",
    "ls",
    "nc",
    "printf",
    "sh",
    "sha256sum",
    "sleep",
    "stty",
    "tail",
    "test",
    "touch",
    "true",
    "uname",
    "wc",
    "wget",
];

/// The directory that holds `vdkr/<arch>` and `vpdmn/<arch>` as far as [`guest_files`] has made them. Its name changes
/// with the guest data, the agents and the code that makes guests.
///
/// # Errors
/// One of them cannot be read: `cargo xtask agent` makes the agents.
pub fn directory() -> Result<PathBuf> {
    let checkout = cache::checkout();
    let mut sha = Sha256::new();
    for part in [
        "guest",
        "crates/guest/src",
        "crates/debian/src",
        "target/share/vcontainer/agent",
    ] {
        add(&mut sha, &checkout.join(part))
            .with_context(|| format!("reading {part} (`cargo xtask agent` makes the agents)"))?;
    }
    let key: String = sha
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(cache::directory()?.join("guests").join(key))
}

/// Somebody whose `vdkr` and `vpdmn` find the guest files of these engines and architectures, and whose machines start
/// from templates that all tests share: a guest is booted for the first time once, not in every test. Their state is
/// their own.
///
/// # Errors
/// Guest files cannot be made.
pub fn owner(guests: &[(Engine, Arch)]) -> Result<Person> {
    let mut person = Person::new()?.with("XDG_CACHE_HOME", shared_cache()?);
    for (engine, arch) in guests {
        let variable = format!("{}_BLOB_DIR", engine.tool().to_uppercase());
        person = person.with(&variable, guest_files(*engine, *arch)?);
    }
    Ok(person)
}

/// The cache of those who share templates (`XDG_CACHE_HOME`).
///
/// # Errors
/// It cannot be made.
pub fn shared_cache() -> Result<PathBuf> {
    let shared = cache::directory()?.join("guests/cache");
    fs::create_dir_all(&shared).with_context(|| format!("making {}", shared.display()))?;
    person::give(&shared)?;
    Ok(shared)
}

/// Somebody who has no guest files yet. Their cache is their own, but for what takes long: downloads, and templates of
/// guests that others have booted before.
///
/// # Errors
/// The directories cannot be made.
pub fn newcomer() -> Result<Person> {
    let mut person = Person::new()?;
    let own = person.directory("home/.cache/vcontainer")?;
    person::give_all(&person.path("home/.cache"))?;
    for (name, place) in [
        ("apt", "guest-packages/apt"),
        ("templates", "guests/cache/vcontainer/templates"),
    ] {
        let shared = cache::directory()?.join(place);
        fs::create_dir_all(&shared).with_context(|| format!("making {}", shared.display()))?;
        person::give(&shared)?;
        symlink(&shared, own.join(name)).with_context(|| format!("linking {name}"))?;
    }
    if let Some(mirror) = std::env::var_os("VCONTAINER_MIRROR") {
        person = person.with("VCONTAINER_MIRROR", mirror);
    }
    Ok(person)
}

/// A small image for an architecture: a static busybox in `/bin`, `FOO=bar` in its environment, a shell as its command.
///
/// # Errors
/// busybox cannot be fetched.
pub fn image(arch: Arch) -> Result<Image> {
    let mut layer = Tarball::new(Format::Pax)
        .directory("bin", Meta::mode(0o755))
        .file("bin/busybox", Meta::mode(0o755), busybox(arch)?);
    for name in APPLETS {
        layer = layer.symlink(format!("bin/{name}"), "busybox");
    }
    layer = layer.directory("tmp", Meta::mode(0o1777));
    Ok(Image {
        architecture: arch.debian().to_owned(),
        layers: vec![layer.finish(0)],
        config: serde_json::json!({"Env": ["PATH=/bin", "FOO=bar"], "Cmd": ["/bin/sh"]}),
    })
}

/// The test image of [`image`] as an OCI layout called `name` in the person's `work`, tagged `latest`.
///
/// # Errors
/// See [`image`].
pub fn layout(person: &Person, arch: Arch, name: &str) -> Result<PathBuf> {
    let path = person.path("work").join(name);
    let mut layout = Layout::create(&path)?;
    let descriptor = layout.add(&image(arch)?, Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    person::give_all(&path)?;
    Ok(path)
}

/// Debian's static busybox for an architecture.
///
/// # Errors
/// It cannot be fetched.
pub fn busybox(arch: Arch) -> Result<Vec<u8>> {
    unpacked(arch, "busybox-static", "usr/bin/busybox")
}

/// getfattr for an architecture, with the loader and the library that it needs: file names and contents.
///
/// # Errors
/// It cannot be fetched.
pub fn getfattr(arch: Arch) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (folder, loader) = match arch {
        Arch::Aarch64 => ("usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
        Arch::X86_64 => ("usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    };
    Ok(vec![
        ("getfattr", unpacked(arch, "attr", "usr/bin/getfattr")?),
        ("ld.so", unpacked(arch, "libc6", &format!("{folder}/{loader}"))?),
        (
            "libc.so.6",
            unpacked(arch, "libc6", &format!("{folder}/libc.so.6"))?,
        ),
    ])
}

/// A file of a Debian package for an architecture, which is fetched once.
fn unpacked(arch: Arch, package: &str, path: &str) -> Result<Vec<u8>> {
    let guests = cache::directory()?.join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("making {}", guests.display()))?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let kept = guests.join(format!("{name}-{arch}"));
    let lock = fs::File::create(guests.join("packages.lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for another test that fetches a package")?;
    if let Ok(bytes) = fs::read(&kept) {
        return Ok(bytes);
    }
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let wanted = [package.to_owned()];
    let (tree, _) = unpack(
        arch,
        &wanted,
        &debian::Installed::default(),
        scratch.path(),
        &|found| found.ends_with(format!("/{name}").as_bytes()),
    )
    .with_context(|| format!("fetching {package}"))?;
    let node = tree
        .get(path.as_bytes())
        .with_context(|| format!("{package} has no {path}"))?;
    let debian::Kind::File(content) = node.kind else {
        anyhow::bail!("{path} is no file");
    };
    let bytes = tree.read(content).with_context(|| format!("reading {path}"))?;
    let partial = guests.join(format!("{name}-{arch}.partial"));
    fs::write(&partial, &bytes)
        .and_then(|()| fs::rename(&partial, &kept))
        .with_context(|| format!("keeping {name}"))?;
    Ok(bytes)
}

/// The tree of packages of Debian with what they depend on, but for what is `installed`, and their versions by name. Its
/// content lies in a nameless file in `scratch`.
///
/// # Errors
/// They cannot be fetched.
pub(crate) fn unpack(
    arch: Arch,
    names: &[String],
    installed: &debian::Installed,
    scratch: &Path,
    keep: &dyn Fn(&[u8]) -> bool,
) -> Result<(debian::Tree, BTreeMap<String, String>)> {
    let sources = debian::Sources {
        architecture: arch.debian().to_owned(),
        release: Some(debian::Release {
            suite: "trixie".to_owned(),
            mirrors: vec![Mirror {
                address: apt::mirror()?,
                origin: "of this machine".to_owned(),
            }],
            keyring: "/usr/share/keyrings/debian-archive-keyring.gpg".into(),
        }),
        feeds: Vec::new(),
        options: host::fetch_options()?,
        cache: cache::directory()?.join("guests/packages"),
        max_age: Duration::ZERO,
    };
    let mut debian = debian::Apt::open(&sources, &mut |_| ())?;
    let solution = debian.solve(names, installed, &mut |_| ())?;
    let packages = debian.fetch(&solution, &mut |_| ())?.packages;
    let tree = debian::unpack(&packages, scratch, keep)?;
    let versions = packages
        .into_iter()
        .map(|package| (package.name, package.version));
    Ok((tree, versions.collect()))
}

fn add(sha: &mut Sha256, path: &Path) -> Result<()> {
    if !path.is_dir() {
        let content = fs::read(path)?;
        sha.update((content.len() as u64).to_le_bytes());
        sha.update(content);
        return Ok(());
    }
    let mut names: Vec<_> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    for name in names {
        sha.update(name.as_encoded_bytes());
        add(sha, &path.join(name))?;
    }
    Ok(())
}

/// The directory with the guest files of one tool (`--blob-dir`), in which those of `arch` have been made.
///
/// # Errors
/// They cannot be made: no mirror, no agent, no space.
pub fn guest_files(engine: Engine, arch: Arch) -> Result<PathBuf> {
    let root = directory()?;
    let tool = root.join(engine.tool());
    let guests = cache::directory()?.join("guests");
    fs::create_dir_all(&guests).with_context(|| format!("making {}", guests.display()))?;
    let lock = fs::File::create(guests.join(format!("{}-{arch}.lock", engine.tool())))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for another test that makes a guest")?;
    if GuestFiles::open(&tool, engine, arch).is_ok() {
        return Ok(tool);
    }
    let person = Person::new()?;
    let made = build(&person, engine, arch)?;
    // Copied beside its place and renamed, so that a killed test leaves no half of it.
    let partial = root.join(format!("{}-{arch}.partial", engine.tool()));
    let place = tool.join(arch.name());
    for old in [&partial, &place] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
    fs::create_dir_all(&tool).with_context(|| format!("making {}", tool.display()))?;
    for entry in fs::read_dir(&made)? {
        let entry = entry?;
        fs::copy(entry.path(), partial.join(entry.file_name())).context("keeping a guest file")?;
    }
    fs::rename(&partial, &place).with_context(|| format!("making {}", place.display()))?;
    Ok(tool)
}

/// Has `person` make a guest in their `work/guests`, with packages from the cache; returns the directory of its files.
///
/// # Errors
/// The command fails.
pub fn build(person: &Person, engine: Engine, arch: Arch) -> Result<PathBuf> {
    let packages = cache::directory()?.join("guest-packages");
    fs::create_dir_all(&packages).with_context(|| format!("making {}", packages.display()))?;
    person::give_all(&packages)?;
    let output = person.path("work/guests");
    let mut command = person
        .command("vcontainer")
        .args(["guest", "build", "--quiet"])
        .args(["--engine", &engine.to_string(), "--arch", &arch.to_string()])
        .arg("--output")
        .arg(&output)
        .arg("--cache")
        .arg(&packages)
        .arg("--share")
        .arg(cache::checkout().join("target/share/vcontainer"));
    if let Some(mirror) = std::env::var_os("VCONTAINER_MIRROR") {
        command = command.env("VCONTAINER_MIRROR", mirror);
    }
    // The person cannot build the tool.
    tool::binary()?;
    command.output()?;
    Ok(output.join(engine.tool()).join(arch.name()))
}
