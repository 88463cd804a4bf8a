//! JSON files of ours: read as foreign bytes, written so that a crash leaves them whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{During, Error};
use crate::instance::remove;

/// Reads a JSON file; `None` when it isn't there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("reading", path),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Unusable {
                path: path.into(),
                what: format!("is damaged ({error}): restore it, or delete the state with the command clean"),
            }),
    }
}

/// Writes a JSON file so that a crash leaves the old one or the new one, whole.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    remove(&new)?;
    let write = || {
        let bytes = serde_json::to_vec_pretty(value)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .on("writing", path)
}
