//! Compresses a layer on several threads. The result does not depend on how many.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use flate2::{Compress, CompressError, Crc, FlushCompress, Status};
use vcontainer_image::Compression;

/// How much one thread compresses at a time. Part of the format: another size gives other bytes.
const BLOCK: usize = 1 << 20;
/// As far as deflate looks back (RFC 1951).
const WINDOW: usize = 32 << 10;
/// Magic number, deflate, no name, no time, unknown system (RFC 1952), as Go writes it.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    compression: Compression,
    level: i32,
}

/// A level that a compression does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} has the levels {first} to {last}, and not {level}")]
pub struct LevelError {
    name: &'static str,
    first: i32,
    last: i32,
    level: i32,
}

impl Method {
    /// A compression with a level, or the usual one of both: 3.
    ///
    /// # Errors
    /// A level that there is not.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self, LevelError> {
        let (name, first, last, usual) = match compression {
            Compression::None => ("no compression", 0, 0, 0),
            // As small as other builders make it; level 6 takes half as long again for 3 percent (`make bench`).
            Compression::Gzip => ("gzip", 1, 9, 3),
            Compression::Zstd => ("zstd", 1, 19, 3),
        };
        let level = level.unwrap_or(usual);
        if !(first..=last).contains(&level) {
            return Err(LevelError {
                name,
                first,
                last,
                level,
            });
        }
        Ok(Self { compression, level })
    }

    /// No compression.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            compression: Compression::None,
            level: 0,
        }
    }

    /// The kind of compression.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// How hard it tries.
    #[must_use]
    pub fn level(&self) -> i32 {
        self.level
    }

    /// Compresses into `output`, on so many threads (at least one).
    ///
    /// # Errors
    /// No threads can be had.
    pub fn writer<W: Write>(&self, output: W, threads: usize) -> io::Result<Compressor<W>> {
        Ok(match self.compression {
            Compression::None => Compressor::None(output),
            Compression::Gzip => Compressor::Gzip(Gzip::new(output, self.level, threads)?),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(output, self.level)?;
                // With no worker the bytes are others.
                encoder.multithread(u32::try_from(threads.max(1)).unwrap_or(1))?;
                encoder.include_checksum(true)?;
                Compressor::Zstd(encoder)
            }
        })
    }
}

/// Compresses what is written to it.
pub enum Compressor<W: Write> {
    /// Not at all.
    None(W),
    /// With deflate.
    Gzip(Gzip<W>),
    /// With zstd.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Writes the end, and gives the output back.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(output) => Ok(output),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(output) => output.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(output) => output.flush(),
            Self::Gzip(_) => Ok(()),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// One member of a gzip file, made of blocks that threads compress side by side.
pub struct Gzip<W> {
    output: W,
    block: Vec<u8>,
    /// The end of the block before.
    window: Vec<u8>,
    crc: Crc,
    jobs: Option<mpsc::Sender<Job>>,
    workers: Vec<thread::JoinHandle<()>>,
    /// Blocks that are being compressed, in order.
    pending: VecDeque<mpsc::Receiver<Result<Vec<u8>, CompressError>>>,
}

struct Job {
    block: Vec<u8>,
    window: Vec<u8>,
    is_last: bool,
    done: mpsc::SyncSender<Result<Vec<u8>, CompressError>>,
}

impl<W: Write> Gzip<W> {
    fn new(mut output: W, level: i32, threads: usize) -> io::Result<Self> {
        output.write_all(&GZIP_HEADER)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let level = flate2::Compression::new(level.unsigned_abs());
        let mut workers = Vec::new();
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            let work = move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    // Nobody waits for it after an error.
                    let _ = job
                        .done
                        .send(deflate(&job.block, &job.window, job.is_last, level));
                }
            };
            workers.push(thread::Builder::new().name("gzip".into()).spawn(work)?);
        }
        Ok(Self {
            output,
            block: Vec::with_capacity(BLOCK),
            window: Vec::new(),
            crc: Crc::new(),
            jobs: Some(jobs),
            workers,
            pending: VecDeque::new(),
        })
    }

    fn dispatch(&mut self, is_last: bool) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let tail = block
            .get(block.len().saturating_sub(WINDOW)..)
            .unwrap_or_default()
            .to_vec();
        let (done, result) = mpsc::sync_channel(1);
        let job = Job {
            window: std::mem::replace(&mut self.window, tail),
            block,
            is_last,
            done,
        };
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(io::Error::other("the threads that compress are gone"));
        }
        self.pending.push_back(result);
        while self.pending.len() > 2 * self.workers.len() {
            self.take()?;
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<()> {
        if let Some(result) = self.pending.pop_front() {
            let compressed = result
                .recv()
                .map_err(|_| io::Error::other("a thread that compresses is gone"))?
                .map_err(io::Error::other)?;
            self.output.write_all(&compressed)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.dispatch(true)?;
        while !self.pending.is_empty() {
            self.take()?;
        }
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        // The length modulo 2^32, as the format has it.
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.output)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        let bytes = bytes.get(..count).unwrap_or_default();
        self.crc.update(bytes);
        self.block.extend_from_slice(bytes);
        if self.block.len() == BLOCK {
            self.dispatch(false)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Raw deflate of one block, which ends at a byte's border.
fn deflate(
    block: &[u8],
    window: &[u8],
    is_last: bool,
    level: flate2::Compression,
) -> Result<Vec<u8>, CompressError> {
    let mut compress = Compress::new(level, false);
    if !window.is_empty() {
        compress.set_dictionary(window)?;
    }
    let mut output = Vec::with_capacity(block.len() / 2 + 1024);
    let flush = match is_last {
        true => FlushCompress::Finish,
        false => FlushCompress::Sync,
    };
    loop {
        let taken = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let rest = block.get(taken..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut output, flush)?;
        let is_done = match is_last {
            true => status == Status::StreamEnd,
            // With room left, all has been written.
            false => output.len() < output.capacity() && compress.total_in() == block.len() as u64,
        };
        if is_done {
            return Ok(output);
        }
        output.reserve(output.capacity().max(1024));
    }
}
