//! Files of this computer that a command reads or writes. They are opened before any machine is started.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::Access;
use tempfile::NamedTempFile;

/// Opens a file to read from; `else_do` says what to do when there is a folder.
///
/// # Errors
/// It is not there, not readable, or a folder.
pub fn open(path: &Path, else_do: &str) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    if metadata.is_dir() {
        bail!(
            "`{}` is a folder, and a file is needed: {else_do}",
            path.display()
        );
    }
    Ok(file)
}

/// A file that appears, or takes another one's place, when it is whole.
pub struct NewFile {
    path: PathBuf,
    target: Target,
    written: u64,
}

enum Target {
    /// Beside its place until it is whole.
    Temporary(NamedTempFile, PathBuf),
    /// A pipe or a device.
    Direct(File),
}

impl NewFile {
    /// Makes ready to write to `path`.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write `{}`", path.display());
        let target = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                bail!(
                    "cannot write `{}`: there is a folder; name a file",
                    path.display()
                )
            }
            Ok(metadata) if !metadata.is_file() => {
                Target::Direct(File::options().write(true).open(path).with_context(cannot)?)
            }
            _ => {
                // Through a symlink, which is to stay one.
                let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                let folder = place
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(io::Error::from)
                    .with_context(|| format!("no file can be made in `{}`", folder.display()))
                    .with_context(cannot)?;
                let file = tempfile::Builder::new()
                    .prefix(".vcontainer-")
                    .suffix(".part")
                    .permissions(Permissions::from_mode(0o666)) // less the umask, as for any new file
                    .tempfile_in(folder)
                    .with_context(cannot)?;
                Target::Temporary(file, place)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            target,
            written: 0,
        })
    }

    /// Everything has been written: the file takes its place.
    ///
    /// # Errors
    /// It cannot.
    pub fn finish(self) -> Result<u64> {
        let cannot = || format!("cannot write `{}`", self.path.display());
        if let Target::Temporary(file, place) = self.target {
            file.as_file().sync_all().with_context(cannot)?;
            file.persist(place).with_context(cannot)?;
        }
        Ok(self.written)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.target {
            Target::Temporary(file, _) => file.write(bytes),
            Target::Direct(file) => file.write(bytes),
        }
        .map_err(|error| {
            let text = format!("cannot write `{}`: {error}", self.path.display());
            io::Error::new(error.kind(), text)
        })?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.tar");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new content").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(file.finish().unwrap(), 11);
        assert_eq!(std::fs::read(&path).unwrap(), b"new content");
        drop(NewFile::create(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_a_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |result: Result<NewFile>| format!("{:#}", result.err().unwrap());
        assert!(told(NewFile::create(folder.path())).contains("there is a folder"));
        assert!(told(NewFile::create(&folder.path().join("no/x"))).contains("no/x"));
        assert!(format!("{:#}", open(folder.path(), "pack it").unwrap_err()).contains("is a folder"));
        assert!(format!("{:#}", open(&folder.path().join("x"), "").unwrap_err()).contains("cannot read"));
    }

    #[test]
    fn devices_are_written_to_directly() {
        let mut file = NewFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.finish().unwrap();
        assert!(Path::new("/dev/null").exists());
    }
}
