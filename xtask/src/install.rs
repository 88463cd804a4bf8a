//! `cargo xtask install [PREFIX=DIR] [DESTDIR=DIR]`: the tool as its users have it, below `PREFIX`: programs, agents,
//! guest data, man pages and completions. With `DESTDIR` all of it lies below that directory, for packagers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e2e::cache::checkout;
use e2e::process::Command;

use crate::agent::{self, copy_tree, replace};
use crate::man;

/// Other names of the program: what it does, its name says.
const LINKS: &[&str] = &[
    "vdkr",
    "vdkr-aarch64",
    "vdkr-x86_64",
    "vpdmn",
    "vpdmn-aarch64",
    "vpdmn-x86_64",
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let root = place(arguments)?;
    // Nobody should wait for a compiler to hear this.
    fs::create_dir_all(&root).with_context(|| format!("making the directory {}", root.display()))?;
    agent::run(&[])?;
    Command::new("cargo")
        .args(["build", "--release", "--package", "vcontainer"])
        .directory(checkout())
        .run()?;
    man::run(&[])?;
    copy(&checkout().join("target"), &root)?;
    println!("installed into {}", root.display());
    Ok(())
}

/// Where everything goes: `DESTDIR` followed by `PREFIX`.
fn place(arguments: &[String]) -> Result<PathBuf> {
    let (mut prefix, mut destination) = ("/usr/local", "");
    for argument in arguments {
        match argument.split_once('=') {
            Some(("PREFIX", value)) if !value.is_empty() => prefix = value,
            Some(("DESTDIR", value)) => destination = value,
            _ => bail!("`cargo xtask install` takes PREFIX=DIR and DESTDIR=DIR, not {argument:?}"),
        }
    }
    if destination.is_empty() {
        return std::path::absolute(prefix).with_context(|| format!("finding {prefix}"));
    }
    Ok(Path::new(destination).join(prefix.trim_start_matches('/')))
}

/// Copies what was built below `target`.
fn copy(target: &Path, root: &Path) -> Result<()> {
    let bin = root.join("bin");
    replace(&target.join("release/vcontainer"), &bin.join("vcontainer"))?;
    for name in LINKS {
        let link = bin.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
        }
        symlink("vcontainer", &link).with_context(|| format!("making {}", link.display()))?;
    }
    let share = root.join("share");
    for part in ["agent", "guest"] {
        let installed = share.join("vcontainer").join(part);
        // What an older version had and this one hasn't must not stay.
        if installed.exists() {
            fs::remove_dir_all(&installed).with_context(|| format!("removing {}", installed.display()))?;
        }
        copy_tree(&target.join("share/vcontainer").join(part), &installed)?;
    }
    copy_tree(&target.join("man"), &share.join("man/man1"))?;
    let completions = target.join("completions");
    for (file, installed) in [
        ("vcontainer.bash", "bash-completion/completions/vcontainer"),
        ("_vcontainer", "zsh/site-functions/_vcontainer"),
        ("vcontainer.fish", "fish/vendor_completions.d/vcontainer.fish"),
    ] {
        replace(&completions.join(file), &share.join(installed))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_place_is_below_destdir() {
        assert_eq!(place(&words("")).unwrap(), Path::new("/usr/local"));
        assert_eq!(
            place(&words("PREFIX=/opt/v DESTDIR=")).unwrap(),
            Path::new("/opt/v")
        );
        assert_eq!(
            place(&words("PREFIX=/usr DESTDIR=/tmp/pkg")).unwrap(),
            Path::new("/tmp/pkg/usr")
        );
        assert!(place(&words("--prefix=/usr")).is_err());
        assert!(place(&words("PREFIX=")).is_err());
    }

    #[test]
    fn everything_is_copied_and_links_lead_to_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let (target, root) = (directory.path().join("target"), directory.path().join("root"));
        for file in [
            "release/vcontainer",
            "share/vcontainer/agent/aarch64/vcontainer-agent",
            "share/vcontainer/guest/files/common/etc/passwd",
            "man/vcontainer.1",
            "completions/vcontainer.bash",
            "completions/_vcontainer",
            "completions/vcontainer.fish",
        ] {
            let path = target.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        let stale = root.join("share/vcontainer/guest/old");
        fs::create_dir_all(&stale).unwrap();
        // Twice: an installed tool is installed again.
        copy(&target, &root).unwrap();
        copy(&target, &root).unwrap();
        assert_eq!(
            fs::read_to_string(root.join("bin/vdkr-x86_64")).unwrap(),
            "release/vcontainer"
        );
        assert!(
            root.join("share/vcontainer/guest/files/common/etc/passwd")
                .exists()
        );
        assert!(root.join("share/man/man1/vcontainer.1").exists());
        assert!(!stale.exists());
    }
}
