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

/// The same, unless the directory is to be called otherwise.
pub(crate) fn place(directory: &Path, name: &str, tag: &str, layout_name: Option<&str>) -> Result<PathBuf> {
    let Some(own) = layout_name else {
        return Ok(layout(directory, name, tag));
    };
    // Names of directories in the making begin with a dot: they would be taken for abandoned ones.
    ensure!(
        !own.is_empty() && !own.contains('/') && !own.starts_with('.'),
        "--layout-name `{own}` is no name of a directory: the place is --output"
    );
    Ok(directory.join(own))
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
    let old = directory.join(format!(".{name}.{}.old", std::process::id()));
    let make = || {
        std::os::unix::fs::symlink(target, &new)?;
        match fs::symlink_metadata(&path) {
            // An image that was built with the tag `latest`: the link takes its place, as the next build would.
            Ok(metadata) if is_ours(&path, &metadata) => {
                fs::rename(&path, &old)?;
                fs::rename(&new, &path)?;
                match metadata.is_dir() {
                    true => fs::remove_dir_all(&old),
                    false => fs::remove_file(&old),
                }
            }
            Ok(metadata) if !metadata.is_symlink() => Err(std::io::Error::other(
                "something else than a link is there: remove it",
            )),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => fs::rename(&new, &path),
        }
    };
    make()
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .with_context(|| format!("cannot make the link `{}`", path.display()))
}

/// Whether a layout, or a tar file of one, is there.
fn is_ours(path: &Path, metadata: &fs::Metadata) -> bool {
    match metadata.is_dir() {
        true => path.join("oci-layout").is_file(),
        false => metadata.is_file() && path.extension().is_some_and(|extension| extension == "tar"),
    }
}
