//! The content store: every blob as it was shipped, in a file named by its digest.

use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::sync::{Mutex, PoisonError};

use vcontainer_image::{Digest, Document, HashingReader, Image, LayerSource};

use super::blob_name;
use super::existing::Existing;
use crate::StoreError;
use crate::import::Import;

/// Blobs are read in pieces of this size.
const PIECE: usize = 256 << 10;

/// Writes blobs, each once.
pub(super) struct Content<'a> {
    task: &'a Import<'a>,
    existing: &'a Existing,
    done: Mutex<HashSet<Digest>>,
}

impl<'a> Content<'a> {
    pub fn new(task: &'a Import<'a>, existing: &'a Existing) -> Self {
        let done = Mutex::default();
        Self { task, existing, done }
    }

    /// Writes a manifest, an index or a configuration.
    pub fn document(&self, document: &Document) -> Result<(), StoreError> {
        if self.wanted(document.digest, document.bytes.len() as u64)? {
            self.task
                .file(&blob_name(document.digest), 0o444, &document.bytes)?;
        }
        Ok(())
    }

    /// Writes the blob of a layer, and verifies it.
    pub fn layer(&self, source: &LayerSource, image: &Image) -> Result<(), StoreError> {
        if !self.wanted(source.digest, source.size)? {
            return Ok(());
        }
        let image = &image.origin;
        let blob = source.open().map_err(|source| StoreError::Source {
            image: image.clone(),
            source: Box::new(source),
        })?;
        // One byte more than announced, to notice a blob that is too long.
        let mut reader = BufReader::with_capacity(
            PIECE,
            HashingReader::new(Wanted {
                blob: blob.take(source.size.saturating_add(1)),
                task: self.task,
            }),
        );
        let path = self.task.path(&blob_name(source.digest));
        self.task
            .sink
            .stream(&path, &self.task.meta(0o444), source.size, &mut reader)?;
        let rest = std::io::copy(&mut reader, &mut std::io::sink());
        let (digest, bytes) = reader.into_inner().finish();
        if rest.is_err() || bytes != source.size || digest != source.digest {
            return Err(StoreError::Blob {
                image: image.clone(),
                blob: source.digest,
            });
        }
        Ok(())
    }

    /// Whether a blob has still to be written; from now on it has not.
    fn wanted(&self, digest: Digest, size: u64) -> Result<bool, StoreError> {
        let new = self
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest);
        Ok(new && !self.existing.blob(digest, size)?)
    }
}

/// A blob that is read as long as nobody interrupts the import.
struct Wanted<'a, R> {
    blob: R,
    task: &'a Import<'a>,
}

impl<R: Read> Read for Wanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.task.progress.interrupted() {
            return Err(std::io::Error::other(crate::BlobFault::Interrupted));
        }
        self.blob.read(buffer)
    }
}
