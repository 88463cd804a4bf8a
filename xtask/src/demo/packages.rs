//! Debian packages of another architecture, unpacked but not installed: an apt of our own in a directory of the cache,
//! which needs no privilege and touches nothing of the machine's apt.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::apt;
use e2e::process::Command;

/// The packages that layers are made of; apt adds what they depend on.
const PACKAGES: &[&str] = &["busybox-static", "lua5.4", "tzdata"];

/// Fetches [`PACKAGES`] and their dependencies for arm64, and returns the directory of the `.deb` files.
pub(super) fn fetch(cache: &Path) -> Result<PathBuf> {
    let root = cache.join("apt-arm64");
    let archives = root.join("archives");
    for directory in [
        root.join("lists/partial"),
        archives.join("partial"),
        root.join("etc"),
    ] {
        fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    write(
        "etc/sources.list",
        &format!("deb [signed-by={keyring}] {} trixie main\n", apt::mirror()?),
    )?;
    // Nothing is installed, so that apt takes every dependency.
    write("status", "")?;
    let at = |option: &str, name: &str| format!("{option} \"{}\";\n", root.join(name).display());
    let configuration = [
        at("Dir::Etc::SourceList", "etc/sources.list"),
        at("Dir::Etc::SourceParts", "etc/none"),
        at("Dir::Etc::Parts", "etc/none"),
        at("Dir::Etc::Preferences", "etc/none"),
        at("Dir::Etc::PreferencesParts", "etc/none"),
        at("Dir::State", ""),
        at("Dir::State::Lists", "lists"),
        at("Dir::State::status", "status"),
        at("Dir::Cache", ""),
        at("Dir::Cache::archives", "archives"),
        "APT::Architecture \"arm64\";\nAPT::Architectures { \"arm64\"; };\n".into(),
        "APT::Install-Recommends \"0\";\nAPT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n".into(),
        "Debug::NoLocking \"1\";\nAPT::Keep-Downloaded-Packages \"1\";\n".into(),
        apt::fetch_options()?.join("\n"),
    ]
    .concat();
    write("apt.conf", &configuration)?;
    let command = || {
        Command::new("apt-get")
            .env("APT_CONFIG", root.join("apt.conf"))
            .arg("-qq")
    };
    command().arg("update").output()?;
    command()
        .args(["--yes", "--download-only", "install"])
        .args(PACKAGES)
        .output()?;
    Ok(archives)
}

/// Unpacks the packages whose names satisfy `wanted` into a directory, without documentation and translations.
pub(super) fn unpack(archives: &Path, wanted: impl Fn(&str) -> bool, into: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(archives)
        .with_context(|| format!("listing {}", archives.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    for file in files {
        // busybox-static_1%3a1.37.0-6_arm64.deb
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let package = name.split('_').next().unwrap_or_default();
        if !name.ends_with(".deb") || !wanted(package) {
            continue;
        }
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&file)
            .arg(into)
            .output()?;
    }
    for unwanted in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/lintian",
    ] {
        let path = into.join(unwanted);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
