//! A layer blob on its way from the source to the tar stream: read, hashed and inflated on one thread, hashed again
//! on a second one, taken in large pieces by a third.
//!
//! The second hash has a thread of its own because writing is the slowest stage of a layer in gzip, and nearly the
//! only one of a layer in zstd. The pieces are recycled, so that a stream of any length takes [`CHUNKS`] times
//! [`CHUNK`] bytes.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use vcontainer_image::{Compression, Digest, Hasher, HashingReader};

/// Bytes of one piece. Large enough to make the hand-over cheap, small enough to stay in a cache.
const CHUNK: usize = 256 * 1024;
/// How many pieces there are.
const CHUNKS: usize = 8;
/// How many idle pieces are kept for the next stream: those of four layers at a time.
const IDLE: usize = 4 * CHUNKS;

/// Pieces that no stream uses. Hundreds of layers, each with threads of its own, would otherwise leave as many holes in
/// the allocator's arenas: a bundle of 800 layers then took over 100 MB.
static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An idle piece, or a new one.
fn take_piece() -> Vec<u8> {
    let idle = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
    idle.unwrap_or_else(|| vec![0; CHUNK])
}

/// Gives a piece back.
fn return_piece(piece: Vec<u8>) {
    let mut idle = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if piece.capacity() >= CHUNK && idle.len() < IDLE {
        idle.push(piece);
    }
}

/// Why a blob is not what it is said to be.
#[derive(Debug, thiserror::Error)]
pub enum BlobFault {
    /// The source failed.
    #[error("cannot read the blob")]
    Read(#[source] io::Error),
    /// The blob is shorter or longer than its descriptor says.
    #[error("the blob has {} {actual} bytes, but {expected} are declared: the image is damaged, copy it again",
        if actual > expected { "more than" } else { "only" }, actual = actual.min(expected))]
    Size {
        /// Bytes declared.
        expected: u64,
        /// Bytes there; of a longer blob, where reading stopped.
        actual: u64,
    },
    /// The blob has other bytes than its digest says.
    #[error("the blob's content has the digest {actual}: the image is damaged, copy it again")]
    Digest {
        /// What was computed.
        actual: Digest,
    },
    /// The blob is intact but cannot be inflated.
    #[error("the blob is no valid {0:?} stream")]
    Decompress(Compression, #[source] io::Error),
    /// Nobody wants it any more.
    #[error("the work was interrupted")]
    Interrupted,
    /// A layer bomb.
    #[error("the layer unpacks to more than {limit} bytes; if that is what it should do, raise the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

/// Called with the number of bytes of a blob that were read since the last call; says whether to go on.
pub(crate) type OnRead<'a> = dyn Fn(u64) -> ControlFlow<()> + Sync + 'a;

/// What is claimed about a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub digest: Digest,
    pub size: u64,
    pub compression: Compression,
    /// Most bytes that the blob may unpack to.
    pub limit: u64,
}

/// The three stages of a stream of pieces.
pub(crate) fn channel() -> (ChunkWriter, ChunkHasher, ChunkReader) {
    let (inflated_in, inflated_out) = sync_channel(CHUNKS);
    let (hashed_in, hashed_out) = sync_channel(CHUNKS);
    let (empty_in, empty_out) = sync_channel(CHUNKS);
    let writer = ChunkWriter {
        full: inflated_in,
        empty: empty_out,
        made: 0,
    };
    let hasher = ChunkHasher {
        inflated: inflated_out,
        hashed: hashed_in,
    };
    let reader = ChunkReader {
        full: hashed_out,
        empty: empty_in,
        chunk: Vec::new(),
        at: 0,
    };
    (writer, hasher, reader)
}

/// The end that inflates.
pub(crate) struct ChunkWriter {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    made: usize,
}

/// Why inflating stopped.
enum Stop {
    /// At the end of the stream.
    End,
    /// Nobody reads any more.
    Abandoned,
    TooLarge,
    Failed(io::Error),
}

impl ChunkWriter {
    /// Reads, verifies and inflates a blob to its end. If the other end gives up, the blob is still verified: when it
    /// is damaged, that is why the other end had to give up.
    pub fn inflate(
        mut self,
        claim: &Claim,
        blob: &mut (dyn Read + Send),
        on_read: &OnRead<'_>,
    ) -> Result<(), BlobFault> {
        let mut blob = BlobReader {
            inner: HashingReader::new(blob),
            size: claim.size,
            on_read,
            interrupted: false,
            error: None,
        };
        let stop = match claim.compression.reader(&mut blob) {
            Ok(mut stream) => self.pump(&mut *stream, claim.limit),
            Err(error) => Stop::Failed(error),
        };
        if matches!(stop, Stop::TooLarge) {
            return Err(BlobFault::TooLarge { limit: claim.limit });
        }
        // Whatever the decompressor left, so that digest and size are those of the whole blob. A read error is kept
        // in the reader.
        let _ = io::copy(&mut blob, &mut io::sink());
        if blob.interrupted {
            return Err(BlobFault::Interrupted);
        }
        if let Some(error) = blob.error {
            return Err(BlobFault::Read(error));
        }
        let (digest, bytes) = blob.inner.finish();
        if bytes != claim.size {
            return Err(BlobFault::Size {
                expected: claim.size,
                actual: bytes,
            });
        }
        if digest != claim.digest {
            return Err(BlobFault::Digest { actual: digest });
        }
        match stop {
            Stop::Failed(error) => Err(BlobFault::Decompress(claim.compression, error)),
            _ => Ok(()),
        }
    }

    fn pump(&mut self, stream: &mut dyn Read, limit: u64) -> Stop {
        let mut total = 0u64;
        loop {
            let mut chunk = match self.empty.try_recv() {
                Ok(chunk) => chunk,
                Err(_) if self.made < CHUNKS => {
                    self.made += 1;
                    take_piece()
                }
                Err(_) => match self.empty.recv() {
                    Ok(chunk) => chunk,
                    Err(_) => return Stop::Abandoned,
                },
            };
            chunk.resize(CHUNK, 0);
            let mut filled = 0;
            while filled < CHUNK {
                match stream.read(&mut chunk[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Stop::Failed(error),
                }
            }
            total += filled as u64;
            if total > limit {
                return Stop::TooLarge;
            }
            chunk.truncate(filled);
            if filled > 0 && self.full.send(chunk).is_err() {
                return Stop::Abandoned;
            }
            if filled < CHUNK {
                return Stop::End;
            }
        }
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        self.empty.try_iter().for_each(return_piece);
    }
}

/// Hashes and counts a blob, and stops it where it becomes longer than declared.
struct BlobReader<'a> {
    inner: HashingReader<&'a mut (dyn Read + Send)>,
    size: u64,
    on_read: &'a OnRead<'a>,
    interrupted: bool,
    error: Option<io::Error>,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(error.kind().into());
        }
        if self.interrupted || self.inner.bytes_read() > self.size {
            return Ok(0);
        }
        match self.inner.read(buffer) {
            Ok(count) => {
                if (self.on_read)(count as u64).is_break() {
                    self.interrupted = true;
                    return Ok(0);
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.error.get_or_insert(error);
                Err(kind.into())
            }
        }
    }
}

/// The stage in between.
pub(crate) struct ChunkHasher {
    inflated: Receiver<Vec<u8>>,
    hashed: SyncSender<Vec<u8>>,
}

impl ChunkHasher {
    /// The digest of all that is inflated, or of a part of it if the reader gave up.
    pub fn run(self) -> Digest {
        let mut hasher = Hasher::new();
        for chunk in self.inflated {
            hasher.update(&chunk);
            if self.hashed.send(chunk).is_err() {
                break;
            }
        }
        hasher.finish()
    }
}

/// The end that parses. It ends when the others are done or have failed; which of the two, only the result of
/// [`ChunkWriter::inflate`] tells.
pub(crate) struct ChunkReader {
    full: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        return_piece(std::mem::take(&mut self.chunk));
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            let done = std::mem::take(&mut self.chunk);
            self.at = 0;
            if done.capacity() > 0 {
                // There is room for all pieces; if the other end is gone, another stream gets the piece.
                if let Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) =
                    self.empty.try_send(done)
                {
                    return_piece(piece);
                }
            }
            if let Ok(chunk) = self.full.recv() {
                self.chunk = chunk;
            }
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}
