//! From the cache to an OCI layout: every byte is verified on its way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;
use vcontainer_build::layout::{Entry, LayoutWriter};
use vcontainer_image::Hasher;

use crate::cache::{Cache, Damaged};
use crate::download::Blob;
use crate::error::{Error, OnPath as _};
use crate::event::Observer;
use crate::select::Chosen;

/// A layout that is being written.
pub(crate) struct Layout<'a> {
    target: &'a Path,
    writer: LayoutWriter,
}

impl<'a> Layout<'a> {
    /// Begins a layout that will lie at `target`.
    pub fn new(target: &'a Path) -> Result<Self, Error> {
        let writer = LayoutWriter::new(target).map_err(|source| failed(target, source))?;
        Ok(Self { target, writer })
    }

    /// Copies a blob out of the cache. The inner error says that it is not there, or something else is.
    pub fn add(
        &mut self,
        cache: &Cache,
        blob: &Blob,
        observer: &dyn Observer,
    ) -> Result<Result<(), Damaged>, Error> {
        let Some(mut source) = cache.open(blob.digest)? else {
            return Ok(Err(Damaged));
        };
        let folder = self.writer.directory();
        let mut file = NamedTempFile::new_in(folder).at("making a file in", folder)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 128 << 10];
        let mut size = 0;
        loop {
            if observer.interrupted() {
                return Err(Error::GivenUp);
            }
            let count = match source.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.at("reading", cache.directory())?,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            size += count as u64;
            hasher.update(bytes);
            file.write_all(bytes).at("writing a layer for", self.target)?;
        }
        if (hasher.finish(), size) != (blob.digest, blob.size) {
            return Ok(Err(Damaged));
        }
        let added = self.writer.add_file(file, blob.digest);
        added.map_err(|source| failed(self.target, source))?;
        Ok(Ok(()))
    }

    /// Adds the documents and puts the layout at its place.
    pub fn finish(mut self, chosen: &Chosen, tag: &str) -> Result<(), Error> {
        let Chosen { manifest, config, .. } = chosen;
        let target = self.target;
        let write = || {
            self.writer.add_document(&config.media_type, &config.bytes)?;
            for index in &chosen.indexes {
                self.writer.add_document(&index.media_type, &index.bytes)?;
            }
            let descriptor = self.writer.add_document(&manifest.media_type, &manifest.bytes)?;
            self.writer.finish_with(&[Entry {
                descriptor,
                tag: Some(tag),
                platform: Some(&chosen.platform),
                index: chosen.indexes.first().map(|index| index.digest),
            }])
        };
        write().map_err(|source| failed(target, source))
    }
}

fn failed(target: &Path, source: vcontainer_build::Error) -> Error {
    Error::Layout {
        target: target.to_owned(),
        source: Box::new(source),
    }
}
