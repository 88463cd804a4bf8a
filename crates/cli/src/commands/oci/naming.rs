//! Where an image of a name and a tag lies: `NAME-TAG-oci`, with a link `NAME-latest-oci`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The name and the tag as they become parts of file names.
pub(crate) fn name_and_tag(text: &str) -> Result<(&str, &str)> {
    let (name, tag) = text.split_once(':').unwrap_or((text, "latest"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for part in [name, tag] {
        ensure!(
            part.bytes().all(plain)
                && part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_'),
            "`{text}` is no name of an image here: use letters, digits, `-`, `_` and `.`, and a tag behind a colon"
        );
    }
    Ok((name, tag))
}

/// Where the layout of an image lies.
pub(crate) fn layout(directory: &Path, name: &str, tag: &str) -> PathBuf {
    directory.join(format!("{name}-{tag}-oci"))
}

/// Makes the link from `NAME-latest-oci` to the layout of another tag.
pub(crate) fn link_latest(directory: &Path, name: &str, tag: &str) -> Result<()> {
    match tag {
        "latest" => Ok(()),
        tag => link(
            directory,
            &format!("{name}-latest-oci"),
            &format!("{name}-{tag}-oci"),
        ),
    }
}

/// Makes a link, in place of one that is there.
pub(crate) fn link(directory: &Path, name: &str, target: &str) -> Result<()> {
    let path = directory.join(name);
    let new = directory.join(format!(".{name}.{}", std::process::id()));
    let make = || {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_symlink() => {
                return Err(std::io::Error::other(
                    "something else than a link is there: remove it",
                ));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &new)?;
        fs::rename(&new, &path)
    };
    make()
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .with_context(|| format!("cannot make the link `{}`", path.display()))
}
