//! The files of a guest as they are written: all of them or none, in place of those that are there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use vcontainer_debian::Tree;

use crate::build::BuildEvent;
use crate::error::{BuildError, io_error};
use crate::manifest::{FORMAT, FileRecord, Manifest};
use crate::rootfs::{self, KernelParts};
use crate::{Arch, Engine, GuestFiles, INITRAMFS, MANIFEST, ROOTFS};
use crate::{elf, files, initramfs, manifest};

/// Which guest is made, and where.
pub(crate) struct Output<'a> {
    pub engine: Engine,
    pub arch: Arch,
    /// Where the guests of one tool lie: the files come into a directory of the architecture's name in it.
    pub directory: &'a Path,
    /// The program and its version, for the manifest.
    pub tool: &'a str,
}

/// What a guest is made of.
pub(crate) struct Parts {
    /// The kernel's image.
    pub image: Vec<u8>,
    /// What the initramfs has of its modules.
    pub kernel: KernelParts,
    /// The root filesystem.
    pub tree: Tree,
    /// Versions of packages by name, as far as they are known.
    pub packages: BTreeMap<String, String>,
}

impl Output<'_> {
    /// Writes what `gather` has put together; it may use the directory for temporary files. The same parts give the same
    /// bytes. When anything fails the old files stay as they are.
    pub(crate) fn write(
        &self,
        agent: &Path,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        gather: impl FnOnce(&Path, &mut dyn FnMut(BuildEvent<'_>)) -> Result<Parts, BuildError>,
    ) -> Result<GuestFiles, BuildError> {
        let agent = self.read_agent(agent)?;
        fs::create_dir_all(self.directory).map_err(io_error("make the directory", self.directory))?;
        let _lock = self.lock(tell)?;
        let prefix = format!(".{}-", self.arch);
        self.remove_leftovers(&prefix)?;
        // Beside the place where it will be: it is renamed in the end, and dropped with all it holds when anything fails.
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(self.directory)
            .map_err(io_error("write into the directory", self.directory))?;
        let parts = gather(directory.path(), tell)?;
        tell(BuildEvent::Packing);
        let manifest = self.fill(directory.path(), &agent, parts)?;
        let path = directory.path().join(MANIFEST);
        let text = manifest
            .text()
            .map_err(|error| io_error("write", &path)(error.into()))?;
        write(&path, |file| file.write_all(text.as_bytes()))?;
        publish(directory, &self.directory.join(self.arch.name()))?;
        Ok(GuestFiles::open(self.directory, self.engine, self.arch)?)
    }

    /// Everything but the manifest.
    fn fill(&self, directory: &Path, agent: &[u8], parts: Parts) -> Result<Manifest, BuildError> {
        write(&directory.join(self.arch.kernel_file()), |file| {
            file.write_all(&parts.image)
        })?;
        write(&directory.join(INITRAMFS), |file| {
            let modules = parts.kernel.boot_modules.iter();
            let modules = modules.map(|(name, bytes)| (&name[..], &bytes[..]));
            initramfs::write(file, agent, modules).map(|_| ())
        })?;
        rootfs::write_squashfs(&parts.tree, &directory.join(ROOTFS))?;
        let mut records = BTreeMap::new();
        for name in [self.arch.kernel_file(), INITRAMFS, ROOTFS] {
            let path = directory.join(name);
            let size = path.metadata().map_err(io_error("read", &path))?.len();
            let sha256 = files::digest(&path).map_err(io_error("read", &path))?;
            records.insert(name.to_owned(), FileRecord { size, sha256 });
        }
        Ok(Manifest {
            format: FORMAT,
            tool: self.tool.to_owned(),
            engine: self.engine,
            arch: self.arch,
            kernel: parts.kernel.release,
            agent_sha256: manifest::sha256(agent),
            files: records,
            packages: parts.packages,
        })
    }

    /// The agent: a static program for the guest's architecture.
    fn read_agent(&self, path: &Path) -> Result<Vec<u8>, BuildError> {
        let path = path.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(BuildError::Agent { path, source }),
        };
        let arch = self.arch;
        if !elf::is_for(&bytes, arch) {
            return Err(BuildError::OtherAgent { path, arch });
        }
        if elf::is_dynamic(&bytes) {
            return Err(BuildError::DynamicAgent { path });
        }
        Ok(bytes)
    }

    /// One build of a guest at a time.
    fn lock(&self, tell: &mut dyn FnMut(BuildEvent<'_>)) -> Result<File, BuildError> {
        let path = self.directory.join(format!(".{}.lock", self.arch));
        let file = File::create(&path).map_err(io_error("make", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            tell(BuildEvent::Waiting);
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|error| io_error("lock", &path)(error.into()))?;
        }
        Ok(file)
    }

    /// Removes what killed builds have left.
    fn remove_leftovers(&self, prefix: &str) -> Result<(), BuildError> {
        let output = self.directory;
        for entry in fs::read_dir(output).map_err(io_error("list", output))? {
            let entry = entry.map_err(io_error("list", output))?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                fs::remove_dir_all(entry.path()).map_err(io_error("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), BuildError> {
    let write = || {
        let mut file = File::create(path)?;
        content(&mut file)?;
        file.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// Puts a finished directory in its place in one step. A machine that runs from the old files keeps them.
fn publish(directory: tempfile::TempDir, place: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.path();
    // Others may read what a temporary directory would keep from them.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(io_error("open to others", path))?;
    if place.exists() {
        renameat_with(CWD, path, CWD, place, RenameFlags::EXCHANGE)
            .map_err(|error| io_error("replace", place)(error.into()))?;
        // What is dropped here now holds the old files.
        return directory
            .close()
            .map_err(io_error("remove the old files of", place));
    }
    fs::rename(path, place).map_err(io_error("make", place))?;
    let _ = directory.keep();
    Ok(())
}
