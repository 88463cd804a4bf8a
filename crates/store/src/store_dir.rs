//! Reading a store that already exists, as data: without following symlinks and without running an engine.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The largest index file (`repositories.json`, `layers.json`, …) that is read: far above what any device holds,
/// and it keeps memory bounded.
const MAX_FILE: u64 = 16 << 20;

/// The directory of a store on this machine. Names of what is in it are relative, with `/` between components.
#[derive(Debug, Clone)]
pub(crate) struct StoreDir {
    root: PathBuf,
}

impl StoreDir {
    /// The store in the directory `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where the store is on this machine.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where `name` is on this machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What `name` is; `None` if there is nothing.
    ///
    /// # Errors
    /// A directory on the way that is a symlink (it could lead out of the target's root filesystem), or that cannot
    /// be read.
    pub(crate) fn metadata(&self, name: &str) -> Result<Option<fs::Metadata>, StoreError> {
        let mut path = self.root.clone();
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if absent(&error) => return Ok(None),
                Err(source) => return Err(StoreError::Read { path, source }),
            };
            if parts.peek().is_none() {
                return Ok(Some(metadata));
            }
            if metadata.is_symlink() {
                return Err(StoreError::Existing {
                    path,
                    what: "it is a symbolic link, and a store is read without following links".into(),
                });
            }
        }
        Ok(None)
    }

    /// Whether `name` is a directory.
    ///
    /// # Errors
    /// As [`StoreDir::metadata`].
    pub(crate) fn is_dir(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.metadata(name)?.is_some_and(|metadata| metadata.is_dir()))
    }

    /// The content of the regular file `name`, an index or another document; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`StoreDir::metadata`]; something that is no regular file, larger than 16 MiB, or not readable.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_up_to(name, MAX_FILE)
    }

    /// The content of the regular file `name` of at most `limit` bytes; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`StoreDir::read`].
    pub(crate) fn read_up_to(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(metadata) = self.metadata(name)? else {
            return Ok(None);
        };
        let path = self.path(name);
        if !metadata.is_file() {
            return Err(StoreError::Existing {
                path,
                what: "it is not a regular file".into(),
            });
        }
        let mut content = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(limit + 1).read_to_end(&mut content));
        match read {
            Ok(_) if content.len() as u64 > limit => Err(StoreError::Existing {
                path,
                what: format!("it is larger than {} MiB", limit >> 20),
            }),
            Ok(_) => Ok(Some(content)),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// The content of the small text file `name`, without white space around it; `None` if there is no such file or
    /// it is not UTF-8.
    ///
    /// # Errors
    /// As [`StoreDir::read`].
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        let content = self.read(name)?;
        Ok(content
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(|text| text.trim().to_owned()))
    }

    /// The names in the directory `name` that are UTF-8, sorted; none if there is no such directory.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, StoreError> {
        if !self.is_dir(name)? {
            return Ok(Vec::new());
        }
        let path = self.path(name);
        let names = || -> io::Result<Vec<String>> {
            let entries = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?;
            Ok(entries
                .into_iter()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect())
        };
        let mut names = names().map_err(|source| StoreError::Read {
            path: path.clone(),
            source,
        })?;
        names.sort();
        Ok(names)
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_absence_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), " text\n").unwrap();
        let dir = StoreDir::new(folder.path());
        assert_eq!(dir.text("a/b").unwrap().as_deref(), Some("text"));
        assert_eq!(dir.read("a/c").unwrap(), None);
        assert_eq!(dir.read("a/b/c").unwrap(), None);
        assert_eq!(dir.list("a").unwrap(), ["b"]);
        assert!(dir.list("none").unwrap().is_empty());
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "text").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("a/b", folder.path().join("file")).unwrap();
        let dir = StoreDir::new(folder.path());
        assert!(matches!(dir.read("link/b"), Err(StoreError::Existing { .. })));
        assert!(matches!(dir.read("file"), Err(StoreError::Existing { .. })));
        assert!(matches!(dir.read("a"), Err(StoreError::Existing { .. })));
    }
}
