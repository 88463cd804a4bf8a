//! What several fuzz targets share: archives made from fuzzed bytes, a place for files, systemd's own rules of text.

pub mod archive;
pub mod systemd;

use std::path::Path;

/// A folder for the files of one run, in memory where the machine has a tmpfs.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// The parts of an input that stands for several files: divided by 0xFF, a byte that no UTF-8 text has.
#[must_use]
pub fn parts(data: &[u8]) -> Vec<&[u8]> {
    data.split(|byte| *byte == 0xff).collect()
}
