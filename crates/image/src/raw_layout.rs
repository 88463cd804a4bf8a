//! A layout as it lies there, for whoever looks for faults in it: [`list`](crate::list) ends at the first.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::blob::Blob;
use crate::digest::Digest;
use crate::error::SourceError;
use crate::source::{OpenOptions, layout_tree};
use crate::tree::{Tree, blob_name};

/// The directory of a layout's blobs.
const BLOBS: &[u8] = b"blobs/sha256/";

/// The files of an OCI layout by name. Nothing of their content has been looked at.
#[derive(Debug)]
pub struct RawLayout(Tree);

/// One file of a layout.
#[derive(Debug, Clone)]
pub struct RawFile(Blob);

impl RawLayout {
    /// The layout at a path: a directory or an archive.
    ///
    /// # Errors
    /// It cannot be read, or there is something else.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, SourceError> {
        layout_tree(path, options).map(Self)
    }

    /// The file of this name; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn file(&self, name: &str) -> Result<Option<RawFile>, SourceError> {
        Ok(self.0.find(name)?.map(RawFile))
    }

    /// The file in the place of this blob; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn blob(&self, digest: Digest) -> Result<Option<RawFile>, SourceError> {
        self.file(&blob_name(digest))
    }

    /// The names of all that lies in the directory of blobs, as bytes.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn blob_names(&self) -> Result<BTreeSet<Vec<u8>>, SourceError> {
        if let Some(names) = self.0.member_names() {
            let names = names.filter_map(|name| name.strip_prefix(BLOBS));
            return Ok(names.map(<[u8]>::to_vec).collect());
        }
        let path = self.0.path().join(OsStr::from_bytes(BLOBS));
        let failed = |source| SourceError::Io {
            doing: "list",
            path: path.clone(),
            source,
        };
        match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(failed(error)),
            Ok(entries) => entries
                .map(|entry| Ok(entry.map_err(failed)?.file_name().as_bytes().to_vec()))
                .collect(),
        }
    }
}

impl RawFile {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Its bytes from the start.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.0.open()
    }

    /// Its first bytes, at most `count`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn start(&self, count: usize) -> io::Result<Vec<u8>> {
        self.0.start(count)
    }
}
