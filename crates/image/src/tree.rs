//! The files of an image source by name: a directory or an indexed archive.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::archive::Members;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::entry::TreePath;
use crate::error::{ArchiveError, SourceError};
use crate::manifest::Descriptor;
use crate::source::{Document, SourceLimits};

/// Files by name.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The path of the source.
    path: PathBuf,
    /// The same, for messages.
    pub origin: String,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Directory,
    Archive(Members),
}

impl Tree {
    /// The files below a directory.
    pub fn directory(path: &Path) -> Self {
        Self::new(path, Files::Directory)
    }

    /// The members of an archive at `path`.
    pub fn archive(path: &Path, members: Members) -> Self {
        Self::new(path, Files::Archive(members))
    }

    fn new(path: &Path, files: Files) -> Self {
        Self {
            path: path.to_owned(),
            origin: path.display().to_string(),
            files,
        }
    }

    /// The file called `name`, which may come from a document: it is cleaned and cannot leave the source. `None` when
    /// there is none.
    ///
    /// In a directory it may be a symbolic link: build systems deploy blobs as links into a shared pool.
    pub fn find(&self, name: &str) -> Result<Option<Blob>, SourceError> {
        let name = TreePath::clean(name.as_bytes()).map_err(|error| self.archive_error(error.into()))?;
        match &self.files {
            Files::Archive(members) => members.find(&name).map_err(|error| self.archive_error(error)),
            Files::Directory => {
                let path = self.path.join(OsStr::from_bytes(name.as_bytes()));
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => Ok(Some(Blob::file(path, metadata.len()))),
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(SourceError::Io {
                        doing: "look at",
                        path,
                        source,
                    }),
                }
            }
        }
    }

    /// The blob with this digest, in the place that the OCI image layout gives it.
    pub fn find_blob(&self, digest: Digest) -> Result<Option<Blob>, SourceError> {
        self.find(&blob_name(digest))
    }

    /// The blob of `descriptor`, which must be there in full size. `what` says what it is, for messages.
    pub fn blob(&self, descriptor: &Descriptor, what: &str) -> Result<Blob, SourceError> {
        let blob = self
            .find_blob(descriptor.digest)?
            .ok_or_else(|| SourceError::MissingBlob {
                origin: self.origin.clone(),
                what: format!("{what} {}", descriptor.digest),
                name: blob_name(descriptor.digest),
            })?;
        if blob.size != descriptor.size {
            return Err(SourceError::BlobSize {
                origin: self.origin.clone(),
                what: format!("{what} {}", descriptor.digest),
                expected: descriptor.size,
                found: blob.size,
            });
        }
        Ok(blob)
    }

    /// The verified JSON document of `descriptor`.
    pub fn document(
        &self,
        descriptor: &Descriptor,
        what: &str,
        limits: &SourceLimits,
    ) -> Result<Document, SourceError> {
        let blob = self.blob(descriptor, what)?;
        let bytes = self.read(&blob, what, limits)?;
        let document = Document::new(descriptor.media_type.clone(), bytes);
        if document.digest != descriptor.digest {
            return Err(SourceError::BlobDigest {
                origin: self.origin.clone(),
                what: format!("{what} {}", descriptor.digest),
                found: document.digest,
            });
        }
        Ok(document)
    }

    /// All bytes of a small file.
    pub fn read(&self, blob: &Blob, what: &str, limits: &SourceLimits) -> Result<Vec<u8>, SourceError> {
        if blob.size > limits.document_bytes {
            return Err(SourceError::TooLarge {
                origin: self.origin.clone(),
                what: what.to_owned(),
                size: blob.size,
                limit: limits.document_bytes,
            });
        }
        let mut bytes = Vec::new();
        blob.open()
            .and_then(|mut reader| reader.read_to_end(&mut bytes))
            .map_err(|source| self.io("read the JSON of", source))?;
        Ok(bytes)
    }

    /// An error of the file system about this source.
    pub fn io(&self, doing: &'static str, source: io::Error) -> SourceError {
        SourceError::Io {
            doing,
            path: self.path.clone(),
            source,
        }
    }

    fn archive_error(&self, source: ArchiveError) -> SourceError {
        SourceError::Archive {
            path: self.path.clone(),
            source,
        }
    }

    /// The names of all files of an archive; `None` for a directory.
    pub fn member_names(&self) -> Option<impl Iterator<Item = &[u8]>> {
        match &self.files {
            Files::Archive(members) => Some(members.names()),
            Files::Directory => None,
        }
    }

    /// The path of the source.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where an OCI image layout keeps a blob. Made from the digest alone, so no name from a document reaches a path.
pub(crate) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
