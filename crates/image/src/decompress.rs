//! Layer compressions.
//!
//! Source: OCI image-spec `layer.md` and `media-types.md` (gzip: RFC 1952, zstd: RFC 8878).

use std::io::{self, BufReader, Read};

use crate::Compression;

/// How much of a blob is read at a time.
const READ_AHEAD: usize = 256 * 1024;

impl Compression {
    /// The uncompressed bytes of `blob`: all gzip members and all zstd frames of it. A zstd window is limited to
    /// 128 MiB, as in the zstd program.
    ///
    /// # Errors
    /// No memory for the decompressor.
    pub fn reader<'a>(self, blob: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        let blob = BufReader::with_capacity(READ_AHEAD, blob);
        Ok(match self {
            Self::None => Box::new(blob),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
        })
    }
}
