//! A root filesystem as a user names it: a directory or a tar file.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};
use vcontainer_image::{Compression, LayerTypeError};

use crate::error::Error;
use crate::scan;
use crate::tree::Tree;
use crate::unpack::Unpacker;

/// Why a root filesystem cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the root filesystem `{}` cannot be used", path.display())]
pub struct RootfsError {
    /// What was named.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: RootfsFault,
}

/// What is wrong with a root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum RootfsFault {
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A tar in a compression that is not known.
    #[error(transparent)]
    Compression(#[from] LayerTypeError),
    /// Something in it cannot be read.
    #[error(transparent)]
    Content(#[from] Error),
    /// An empty file is a tar to some.
    #[error("it is empty")]
    Empty,
}

/// Reads a root filesystem: a directory, or a tar file, whose content is unpacked into a nameless file in `scratch`.
///
/// What belongs to an ordinary user who calls this belongs to root in it; root, or who pretends to be (fakeroot, pseudo),
/// has owners to keep.
///
/// # Errors
/// See [`RootfsFault`].
pub fn rootfs(path: &Path, scratch: &Path) -> Result<Tree, RootfsError> {
    read(path, scratch).map_err(|fault| RootfsError {
        path: path.to_owned(),
        fault,
    })
}

fn read(path: &Path, scratch: &Path) -> Result<Tree, RootfsFault> {
    if fs::metadata(path)?.is_dir() {
        let (user, group) = (geteuid(), getegid());
        let builder = (!user.is_root()).then(|| (user.as_raw(), group.as_raw()));
        return Ok(scan::directory_of(path, builder)?);
    }
    let mut file = File::open(path)?;
    let mut start = [0; 8];
    let count = file.read(&mut start)?;
    let compression = Compression::sniff(start.get(..count).unwrap_or_default())?;
    file.rewind()?;
    let mut unpacker = Unpacker::new(scratch)?.without_whiteouts();
    unpacker.add(file, compression, &format!("`{}`", path.display()))?;
    let tree = unpacker.finish();
    if tree.is_empty() {
        return Err(RootfsFault::Empty);
    }
    Ok(tree)
}
