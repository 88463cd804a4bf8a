//! Root filesystems drawn from a seed: umoci lays the layers upon each other, in each mode, and gets what was there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::machine::scratch_directory;
use e2e::process::Command;
use e2e::random::Random;
use e2e::{tool, tree};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

/// How many root filesystems are drawn.
const SEEDS: u64 = 25;

/// Few names, so that what is new meets what is there; what sorts between a directory and its content; what is no plain word.
const NAMES: &[&str] = &["a", "b", "c", "d", "a-b", "\u{e4} x", ".h"];

/// Targets of links: some lead to directories, some nowhere.
const TARGETS: &[&str] = &["a", "../b", "/c/d", "nowhere/at/all", "."];

pub fn umoci_unpacks_what_was_drawn() -> Result<()> {
    (0..SEEDS).try_for_each(|seed| one(seed).with_context(|| format!("seed {seed}")))
}

/// One layer; a base and what is new; each name at the top as a layer of its own, alone and upon the base.
fn one(seed: u64) -> Result<()> {
    let scratch = scratch_directory()?;
    let path = |name: &str| scratch.path().join(name);
    let mut random = Random::new(seed);
    fs::create_dir(path("old"))?;
    describe(&mut random, &path("old"), &FileType::Directory)?;
    grow(&mut random, &path("old"), 15)?;
    Command::new("cp")
        .arg("-a")
        .args([path("old"), path("new")])
        .output()?;
    change(&mut random, &path("new"))?;
    grow(&mut random, &path("new"), 10)?;
    let build = |root: &str, words: &[String]| {
        tool::vcontainer(&["oci", "build", "--arch", "aarch64", "--quiet", "--no-layer-cache"])?
            .arg("--rootfs")
            .arg(path(root))
            .arg("--output")
            .arg(scratch.path())
            .args(words)
            .output()
    };
    let layers = layers(&mut random, &path("new"))?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let upon = words(&["--base", "base"]);
    let images = [
        ("base", "old", Vec::new()),
        ("two", "new", upon.clone()),
        ("many", "new", layers.clone()),
        ("many-upon", "new", [upon, layers.clone()].concat()),
    ];
    for (name, root, mut arguments) in images {
        if name.starts_with("many") && layers.is_empty() {
            continue;
        }
        arguments.push(name.to_owned());
        build(root, &arguments)?;
        Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!(
                "{}:latest",
                path(&format!("{name}-latest-oci")).display()
            ))
            .arg(path(name))
            .output()?;
        let is_one = name == "base";
        let expected = read(&path(root), is_one)?;
        let found = read(&path(name).join("rootfs"), is_one)?;
        let differences = tree::differences(&expected, &found);
        ensure!(differences.is_empty(), "{name}, {arguments:?}: {differences:#?}");
    }
    Ok(())
}

/// A tree whose names of one file are told apart: those in other layers are files of their own.
fn read(root: &Path, with_links: bool) -> Result<tree::Tree> {
    let mut found = tree::read(root)?;
    let kinds = found.clone();
    for entry in found.values_mut() {
        // Those of links and special files are all the same (docs/guide/images.md, "Times").
        let first = entry
            .kind
            .strip_prefix("hard link to ")
            .and_then(|first| kinds.get(first));
        let is_file = first.unwrap_or(entry).kind.starts_with("file");
        if let Some(first) = first.filter(|_| !with_links) {
            entry.kind.clone_from(&first.kind);
        }
        if !is_file {
            entry.mtime = None;
        }
    }
    Ok(found)
}

/// A layer for each name at the top, in any order.
fn layers(random: &mut Random, root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .context("a name that is no text")?;
        let kind = if entry.file_type()?.is_dir() {
            "directories"
        } else {
            "files"
        };
        names.push(format!("{kind}:/{name}"));
    }
    names.sort();
    let mut words = Vec::new();
    while !names.is_empty() {
        let name = names.remove(random.below(names.len()));
        words.push(format!("--layer=l{}:{name}", names.len()));
    }
    Ok(words)
}

/// All objects below a directory, sorted.
fn objects(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        found.push(entry.path());
        if entry.file_type()?.is_dir() {
            found.extend(objects(&entry.path())?);
        }
    }
    found.sort();
    Ok(found)
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn kind(path: &Path) -> Result<FileType> {
    let mode = rustix::fs::lstat(path)?.st_mode;
    Ok(FileType::from_raw_mode(mode))
}

/// Adds up to so many objects where nothing is.
fn grow(random: &mut Random, root: &Path, most: usize) -> Result<()> {
    for _ in 0..random.below(most) + 1 {
        let all = objects(root)?;
        let mut folders = vec![root.to_owned()];
        let mut files = Vec::new();
        for path in all {
            match kind(&path)? {
                FileType::Directory => folders.push(path),
                FileType::RegularFile => files.push(path),
                _ => {}
            }
        }
        let path = folders[random.below(folders.len())].join(random.pick(NAMES));
        if is_there(&path) {
            continue;
        }
        match random.pick_any(&files) {
            Some(file) if random.one_in(6) => fs::hard_link(file, &path)?,
            _ => make(random, &path, true)?,
        }
    }
    Ok(())
}

/// Changes objects: what they are like, their content, what they are. Nothing becomes a directory that was none: what is in
/// a directory goes where a link below leads (docs/guide/images.md).
fn change(random: &mut Random, root: &Path) -> Result<()> {
    for path in objects(root)? {
        if !random.one_in(4) || !is_there(&path) {
            continue;
        }
        let kind = kind(&path)?;
        match random.below(3) {
            0 => describe(random, &path, &kind)?,
            1 if kind == FileType::RegularFile => {
                let mut file = OpenOptions::new().append(true).open(&path)?;
                file.write_all(b"more")?;
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000))?;
            }
            _ => {
                match kind {
                    FileType::Directory => fs::remove_dir_all(&path)?,
                    _ => fs::remove_file(&path)?,
                }
                make(random, &path, false)?;
            }
        }
    }
    Ok(())
}

fn make(random: &mut Random, path: &Path, may_be_directory: bool) -> Result<()> {
    let kind = match random.below(10) {
        0..=2 if may_be_directory => FileType::Directory,
        3 => FileType::Symlink,
        4 => FileType::Fifo,
        5 => FileType::CharacterDevice,
        _ => FileType::RegularFile,
    };
    match kind {
        FileType::Directory => fs::create_dir(path)?,
        FileType::Symlink => symlink(random.pick(TARGETS), path)?,
        FileType::RegularFile => {
            // Around the blocks of a tar.
            let mut bytes = vec![0; random.pick(&[0, 1, 511, 512, 513, 5000])];
            random.fill(&mut bytes);
            let mut file = File::create(path)?;
            file.write_all(&bytes)?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))?;
        }
        kind => {
            let device = makedev(1 + random.below(300) as u32, random.below(70_000) as u32);
            mknodat(CWD, path, kind, Mode::RUSR, device)?;
        }
    }
    describe(random, path, &kind)
}

/// Owner, mode, attributes.
fn describe(random: &mut Random, path: &Path, kind: &FileType) -> Result<()> {
    let (user, group) = random.pick(&[(0, 0), (1000, 1000), (33, 7), (4_000_000, 65_534)]);
    lchown(path, Some(user), Some(group))?;
    if *kind == FileType::Symlink {
        return Ok(());
    }
    let mode = random.pick(&[0o755, 0o644, 0o4755, 0o2750, 0o1777, 0o600, 0]);
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let set = |name: &str, value: &[u8]| lsetxattr(path, name, value, XattrFlags::empty());
    if random.one_in(5) {
        set("trusted.note", &[0, b'=', b'\n', random.below(256) as u8])?;
    }
    if *kind == FileType::RegularFile && random.one_in(5) {
        // cap_net_bind_service, as setcap writes it.
        let mut value = [0; 20];
        value[..6].copy_from_slice(&[1, 0, 0, 2, 0, 4]);
        set("security.capability", &value)?;
    }
    Ok(())
}
