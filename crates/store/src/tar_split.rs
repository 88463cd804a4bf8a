//! The tar-split stream. (Signatures only; the body follows.)

use std::io::{self, BufRead};

/// A finished, gzipped tar-split stream, spooled in memory or an unlinked temporary file.
#[derive(Debug)]
pub struct TarSplitFile {
    file: std::io::BufReader<tempfile::SpooledTempFile>,
    length: u64,
}

impl TarSplitFile {
    /// Its length in bytes, compressed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes, from the first one.
    ///
    /// # Errors
    /// The temporary file cannot be rewound.
    pub fn reader(&mut self) -> io::Result<&mut dyn BufRead> {
        io::Seek::rewind(&mut self.file)?;
        Ok(&mut self.file)
    }
}
