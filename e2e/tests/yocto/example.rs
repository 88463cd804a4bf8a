//! The layer's example (`meta-vcontainer/tests/harness/example.py`), built by an ordinary user, for whom pseudo remembers
//! owners and extended attributes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::machine::scratch_directory;
use e2e::mount::Mount;
use e2e::person::{self, Person};
use e2e::process::Command;
use e2e::{guest, yocto};
use tempfile::TempDir;
use vcontainer_guest::Arch;

/// A build folder with the example.
pub struct Example {
    pub person: Person,
    pub arch: Arch,
    /// The static busybox that is in the containers.
    pub busybox: Vec<u8>,
}

impl Example {
    /// One that `person` builds.
    ///
    /// # Errors
    /// BitBake or busybox cannot be fetched.
    pub fn new(person: Person, arch: Arch) -> Result<Self> {
        yocto::bitbake()?;
        let busybox = guest::busybox(arch)?;
        person.write("work/busybox", &busybox)?;
        Ok(Self {
            person,
            arch,
            busybox,
        })
    }

    /// The build folder.
    pub fn top(&self) -> PathBuf {
        self.person.path("work/build")
    }

    /// Builds an image, with more lines in local.conf, and unpacks its root filesystem as root.
    ///
    /// # Errors
    /// The build fails; the error holds what BitBake said.
    pub fn build(&self, image: &str, conf: &str) -> Result<Rootfs> {
        let machine = match self.arch {
            Arch::Aarch64 => "qemuarm64",
            Arch::X86_64 => "qemux86-64",
        };
        let python = self.person.command(yocto::python()?);
        let said = yocto::in_layer(python)?
            .args(["-m", "harness.example", "--machine", machine])
            .args(["--busybox".as_ref(), self.person.path("work/busybox").as_os_str()])
            .args(["--top".as_ref(), self.top().as_os_str()])
            .args(["--conf", conf, image])
            .output()?;
        Rootfs::unpack(Path::new(said.trim()))
    }
}

/// An unpacked root filesystem.
pub struct Rootfs(TempDir);

impl Rootfs {
    /// What is in a tar file.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn unpack(archive: &Path) -> Result<Self> {
        let directory = scratch_directory()?;
        Command::new("tar")
            .args(["-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*"])
            .arg("--delay-directory-restore")
            .args(["-C".as_ref(), directory.path().as_os_str()])
            .args(["-f".as_ref(), archive.as_os_str()])
            .output()?;
        Ok(Self(directory))
    }

    /// A copy of what is in a file system.
    ///
    /// # Errors
    /// It cannot be mounted or copied.
    pub fn copy(image: &Path) -> Result<Self> {
        let (directory, mounted) = (scratch_directory()?, scratch_directory()?);
        let mount = Mount::read_only(mounted.path(), image)?;
        Command::new("cp")
            .arg("-a")
            .arg(mount.path().join("."))
            .arg(directory.path())
            .output()?;
        Ok(Self(directory))
    }

    /// A path in it.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside.trim_start_matches('/'))
    }

    /// The files in one of its directories: paths and texts.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn files(&self, directory: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path(directory)).with_context(|| format!("listing {directory}"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
                let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {path}"))?;
                found.push((path, text));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Lets machines of the build start from templates that all tests share.
///
/// # Errors
/// They cannot be linked.
pub fn share_templates(example: &Example) -> Result<()> {
    let shared = guest::shared_cache()?;
    let cache = example.person.directory("work/build/tmp/cache")?;
    for made in ["work/build", "work/build/tmp"] {
        person::give(&example.person.path(made))?;
    }
    std::os::unix::fs::symlink(shared.join("vcontainer"), cache.join("vcontainer"))
        .context("linking the shared templates")
}
