//! The files of one guest as they lie on this machine.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::manifest::{self, FileRecord, Manifest, ManifestError};
use crate::{Arch, Engine};

/// The name of the initial file system among the guest files.
pub const INITRAMFS: &str = "initramfs.cpio.gz";
/// The name of the root filesystem among the guest files.
pub const ROOTFS: &str = "rootfs.img";
/// The name of the manifest among the guest files.
pub const MANIFEST: &str = "manifest.json";

/// The files that a guest boots from. They are there and have the sizes that the manifest says; [`GuestFiles::verify`]
/// reads what is in them.
#[derive(Debug, Clone)]
pub struct GuestFiles {
    directory: PathBuf,
    manifest: Manifest,
    hash: String,
}

/// Why there are no guest files to use.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There are none.
    #[error(
        "there are no guest files for {engine} on {arch} in `{}`: `vcontainer guest build --engine {engine} --arch \
         {arch}` makes them", directory.display()
    )]
    Missing {
        /// Where they should be.
        directory: PathBuf,
        /// For this engine.
        engine: Engine,
        /// For this architecture.
        arch: Arch,
    },
    /// One of them is missing or has another content.
    #[error(
        "the guest file `{}` is damaged: {found}. `vcontainer guest build --engine {engine} --arch {arch}` makes it \
         again", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        found: String,
        /// For this engine.
        engine: Engine,
        /// For this architecture.
        arch: Arch,
    },
    /// The manifest cannot be used.
    #[error(
        "cannot use the guest files of `{}`: `vcontainer guest build --engine {engine} --arch {arch}` makes them \
         again", path.display()
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// For this engine.
        engine: Engine,
        /// For this architecture.
        arch: Arch,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The file system said no.
    #[error("cannot read the guest file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl GuestFiles {
    /// The guest files in `tool_directory/<arch>`, where `tool_directory` is one tool's (`--blob-dir`, or
    /// `…/vcontainer/vdkr`). Reads the manifest and compares sizes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(tool_directory: &Path, engine: Engine, arch: Arch) -> Result<Self, OpenError> {
        let directory = tool_directory.join(arch.name());
        let path = directory.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(OpenError::Missing {
                    directory,
                    engine,
                    arch,
                });
            }
            Err(source) => return Err(OpenError::Read { path, source }),
        };
        let manifest = Manifest::parse(&text).map_err(|source| OpenError::Manifest {
            path: path.clone(),
            engine,
            arch,
            source,
        })?;
        let files = Self {
            hash: manifest::sha256(&text),
            directory,
            manifest,
        };
        if (files.manifest.engine, files.manifest.arch) != (engine, arch) {
            let found = format!("it says {} on {}", files.manifest.engine, files.manifest.arch);
            return Err(OpenError::Damaged {
                path,
                found,
                engine,
                arch,
            });
        }
        for path in [files.kernel(), files.initramfs(), files.rootfs()] {
            let expected = files.record(&path)?.size;
            let size = match path.metadata() {
                Ok(metadata) if !metadata.is_file() => {
                    return Err(files.damaged(path, "it is no file".into()));
                }
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(files.damaged(path, "it is missing".into()));
                }
                Err(source) => return Err(OpenError::Read { path, source }),
            };
            if size != expected {
                return Err(files.damaged(path, format!("it has {size} bytes instead of {expected}")));
            }
        }
        Ok(files)
    }

    /// As [`GuestFiles::open`], in the first of `tool_directories` that has a manifest; an error speaks of the first.
    ///
    /// # Errors
    /// As [`GuestFiles::open`]; no directory at all counts as missing files.
    pub fn find(tool_directories: &[PathBuf], engine: Engine, arch: Arch) -> Result<Self, OpenError> {
        let has_manifest = |directory: &&PathBuf| directory.join(arch.name()).join(MANIFEST).exists();
        match tool_directories
            .iter()
            .find(has_manifest)
            .or(tool_directories.first())
        {
            Some(directory) => Self::open(directory, engine, arch),
            None => Err(OpenError::Missing {
                directory: PathBuf::new(),
                engine,
                arch,
            }),
        }
    }

    /// Compares the content of every file with its digest. What was read is remembered in `memory` (a directory, made
    /// if it isn't there) by size, times and inode, so that only changed files are read again. A memory that cannot
    /// be written is no error: the files are read each time.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn verify(&self, memory: &Path) -> Result<(), OpenError> {
        let mut seen = Vec::new();
        for path in [self.kernel(), self.initramfs(), self.rootfs()] {
            let read = |source| OpenError::Read {
                path: path.clone(),
                source,
            };
            let metadata = path.metadata().map_err(read)?;
            seen.push(format!(
                "{} {} {} {} {}",
                metadata.dev(),
                metadata.ino(),
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec()
            ));
        }
        let record = memory.join(format!("guest-{}", self.hash));
        let text = seen.join("\n") + "\n";
        if fs::read_to_string(&record).is_ok_and(|remembered| remembered == text) {
            return Ok(());
        }
        for path in [self.kernel(), self.initramfs(), self.rootfs()] {
            let digest = digest(&path).map_err(|source| OpenError::Read {
                path: path.clone(),
                source,
            })?;
            if digest != self.record(&path)?.sha256 {
                return Err(self.damaged(path, "its content isn't what the manifest says".into()));
            }
        }
        let _ = remember(memory, &record, &text);
        Ok(())
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.directory.join(self.manifest.arch.kernel_file())
    }

    /// The initial file system: the agent and the kernel modules that it needs to find the root filesystem.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.directory.join(INITRAMFS)
    }

    /// The root filesystem (squashfs).
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join(ROOTFS)
    }

    /// What the guest was made of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest as hexadecimal digits. It stands for the content of all files.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The directory that the files lie in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn record(&self, path: &Path) -> Result<&FileRecord, OpenError> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        self.manifest.files.get(name).ok_or_else(|| {
            self.damaged(
                self.directory.join(MANIFEST),
                format!("it doesn't speak of {name}"),
            )
        })
    }

    fn damaged(&self, path: PathBuf, found: String) -> OpenError {
        OpenError::Damaged {
            path,
            found,
            engine: self.manifest.engine,
            arch: self.manifest.arch,
        }
    }
}

/// SHA-256 of a file's content as hexadecimal digits.
pub(crate) fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(manifest::hex(&sha.finalize())),
            read => sha.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn remember(memory: &Path, record: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(memory)?;
    let mut file = tempfile::NamedTempFile::new_in(memory)?;
    file.write_all(text.as_bytes())?;
    file.persist(record)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guest files with small content in a directory of their own.
    fn small() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let arch = directory.path().join("aarch64");
        fs::create_dir(&arch).unwrap();
        let mut manifest = manifest::tests::example();
        for name in ["Image", INITRAMFS, ROOTFS] {
            fs::write(arch.join(name), name).unwrap();
            let record = FileRecord {
                size: name.len() as u64,
                sha256: manifest::sha256(name.as_bytes()),
            };
            manifest.files.insert(name.into(), record);
        }
        fs::write(arch.join(MANIFEST), manifest.text().unwrap()).unwrap();
        directory
    }

    fn open(directory: &tempfile::TempDir) -> Result<GuestFiles, OpenError> {
        GuestFiles::open(directory.path(), Engine::Docker, Arch::Aarch64)
    }

    #[test]
    fn whole_files_are_opened_and_read_once() {
        let directory = small();
        let memory = directory.path().join("memory");
        let files = open(&directory).unwrap();
        files.verify(&memory).unwrap();
        assert_eq!(files.hash().len(), 64);
        // The memory is believed as long as the file's times and size are the same.
        let times = fs::metadata(files.rootfs()).unwrap().modified().unwrap();
        fs::write(files.rootfs(), "ROOTFS.IMG").unwrap();
        File::options()
            .write(true)
            .open(files.rootfs())
            .unwrap()
            .set_modified(times)
            .unwrap();
        files.verify(&memory).unwrap();
        fs::write(files.rootfs(), "ROOTFS.IMG").unwrap();
        let error = files.verify(&memory).unwrap_err().to_string();
        assert!(
            error.contains("rootfs.img") && error.contains("guest build --engine docker --arch aarch64"),
            "{error}"
        );
    }

    #[test]
    fn missing_and_short_files_are_named() {
        let directory = small();
        let missing = GuestFiles::open(directory.path(), Engine::Docker, Arch::X86_64).unwrap_err();
        assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
        let other = GuestFiles::open(directory.path(), Engine::Podman, Arch::Aarch64).unwrap_err();
        assert!(other.to_string().contains("it says docker on aarch64"), "{other}");
        let rootfs = open(&directory).unwrap().rootfs();
        fs::write(&rootfs, "short").unwrap();
        assert!(
            open(&directory)
                .unwrap_err()
                .to_string()
                .contains("5 bytes instead of 10")
        );
        fs::remove_file(&rootfs).unwrap();
        assert!(
            open(&directory)
                .unwrap_err()
                .to_string()
                .contains("it is missing")
        );
    }

    #[test]
    fn the_first_directory_with_a_manifest_is_taken() {
        let (empty, full) = (tempfile::tempdir().unwrap(), small());
        let directories = [empty.path().to_owned(), full.path().to_owned()];
        let files = GuestFiles::find(&directories, Engine::Docker, Arch::Aarch64).unwrap();
        assert!(files.kernel().starts_with(full.path()));
        let error = GuestFiles::find(&directories, Engine::Docker, Arch::X86_64).unwrap_err();
        assert!(
            error.to_string().contains(&*empty.path().to_string_lossy()),
            "{error}"
        );
    }
}
