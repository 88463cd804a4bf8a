//! Making the files of one guest from Debian packages.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use vcontainer_debian::{self as debian, Apt, Installed, Kind, Mirror, Tree};

use crate::manifest::{FORMAT, FileRecord, Manifest};
use crate::modules::ModuleError;
use crate::recipe::{Recipe, RecipeError};
use crate::rootfs::{self, RootfsError};
use crate::{Arch, Engine, GuestFiles, INITRAMFS, MANIFEST, OpenError, ROOTFS};
use crate::{files, initramfs, manifest};

/// What guest to make, and from what.
#[derive(Debug, Clone)]
pub struct Build {
    /// Its engine.
    pub engine: Engine,
    /// Its architecture.
    pub arch: Arch,
    /// The directory of the guest data (`guest/` of the sources).
    pub data: PathBuf,
    /// The agent, for the guest's architecture.
    pub agent: PathBuf,
    /// Where the guests of one tool lie: the files come into a directory of the architecture's name in it.
    pub output: PathBuf,
    /// Where packages are kept for the next time.
    pub cache: PathBuf,
    /// Where packages come from; the first that serves the release is taken.
    pub mirrors: Vec<Mirror>,
    /// The keys that the release must be signed with.
    pub keyring: PathBuf,
    /// Options about fetching, as [`vcontainer_debian::host::fetch_options`] gives them.
    pub fetch_options: Vec<String>,
    /// The program and its version, for the manifest.
    pub tool: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEvent<'a> {
    /// Another program is making the same guest: its end is waited for.
    Waiting,
    /// The packages are being fetched.
    Packages(debian::Event<'a>),
    /// So many packages are being unpacked.
    Unpacking(usize),
    /// The root filesystem is being packed.
    Packing,
}

/// Why a guest could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The packages.
    #[error("cannot get the packages of a guest")]
    Packages(#[from] debian::Error),
    /// The guest data.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The kernel's modules.
    #[error("cannot use the kernel of the packages")]
    Modules(#[from] ModuleError),
    /// The root filesystem.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The agent is missing.
    #[error("cannot read the agent `{}`: it belongs to the installed program, install it again", path.display())]
    Agent {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent is for another architecture, or no program.
    #[error("the agent `{}` is no program for {arch}", path.display())]
    OtherAgent {
        /// The agent.
        path: PathBuf,
        /// The architecture of the guest.
        arch: Arch,
    },
    /// The packages have no kernel that QEMU can boot.
    #[error("the packages have no kernel that can be booted on {0}")]
    NoKernel(Arch),
    /// The file system said no.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was made cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { doing, path, source }
}

/// Makes the files of a guest, in place of those that are there. The same packages, data and agent give the same bytes.
/// When anything fails the old files stay as they are.
///
/// # Errors
/// See [`BuildError`].
pub fn build(build: &Build, tell: &mut dyn FnMut(BuildEvent<'_>)) -> Result<GuestFiles, BuildError> {
    let agent = read_agent(build)?;
    let recipe = Recipe::read(&build.data, build.engine)?;
    fs::create_dir_all(&build.output).map_err(io_error("make the directory", &build.output))?;
    let _lock = lock(build, tell)?;
    let prefix = format!(".{}-", build.arch);
    remove_leftovers(&build.output, &prefix)?;
    // Beside the place where it will be: it is renamed in the end, and dropped with all it holds when anything fails.
    let directory = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&build.output)
        .map_err(io_error("write into the directory", &build.output))?;
    let manifest = make(build, &recipe, &agent, directory.path(), tell)?;
    let path = directory.path().join(MANIFEST);
    let text = manifest
        .text()
        .map_err(|error| io_error("write", &path)(error.into()))?;
    write(&path, |file| file.write_all(text.as_bytes()))?;
    publish(directory, &build.output.join(build.arch.name()))?;
    Ok(GuestFiles::open(&build.output, build.engine, build.arch)?)
}

/// Writes everything but the manifest into `directory`.
fn make(
    build: &Build,
    recipe: &Recipe,
    agent: &[u8],
    directory: &Path,
    tell: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Manifest, BuildError> {
    let sources = debian::Sources {
        architecture: build.arch.debian().to_owned(),
        release: Some(debian::Release {
            suite: recipe.suite.clone(),
            mirrors: build.mirrors.clone(),
            keyring: build.keyring.clone(),
        }),
        feeds: Vec::new(),
        options: build.fetch_options.clone(),
        cache: build.cache.clone(),
        max_age: Duration::ZERO,
    };
    let packages: Vec<String> = recipe
        .packages
        .iter()
        .map(|name| name.replace("{arch}", build.arch.debian()))
        .collect();
    let installed = Installed::assumed(build.arch.debian(), &recipe.assumed);
    let mut apt = Apt::open(&sources, &mut |event| tell(BuildEvent::Packages(event)))?;
    let solution = apt.solve(&packages, &installed, &mut |event| {
        tell(BuildEvent::Packages(event));
    })?;
    let fetched = apt.fetch(&solution, &mut |event| tell(BuildEvent::Packages(event)))?;
    tell(BuildEvent::Unpacking(fetched.packages.len()));
    let mut tree = debian::unpack(&fetched.packages, directory, &|path| recipe.keeps(path))?;
    let kernel_image = take_kernel(&mut tree, build.arch)?;
    let kernel = rootfs::take_modules(&mut tree, recipe)?;
    rootfs::dress(&mut tree, recipe)?;
    tell(BuildEvent::Packing);
    write(&directory.join(build.arch.kernel_file()), |file| {
        file.write_all(&kernel_image)
    })?;
    write(&directory.join(INITRAMFS), |file| {
        let modules = kernel
            .boot_modules
            .iter()
            .map(|(name, bytes)| (&name[..], &bytes[..]));
        initramfs::write(file, agent, modules).map(|_| ())
    })?;
    rootfs::write_squashfs(&tree, &directory.join(ROOTFS))?;
    let mut records = BTreeMap::new();
    for name in [build.arch.kernel_file(), INITRAMFS, ROOTFS] {
        let path = directory.join(name);
        let size = path.metadata().map_err(io_error("read", &path))?.len();
        let sha256 = files::digest(&path).map_err(io_error("read", &path))?;
        records.insert(name.to_owned(), FileRecord { size, sha256 });
    }
    Ok(Manifest {
        format: FORMAT,
        tool: build.tool.clone(),
        engine: build.engine,
        arch: build.arch,
        kernel: kernel.release,
        agent_sha256: manifest::sha256(agent),
        files: records,
        packages: fetched
            .packages
            .into_iter()
            .map(|package| (package.name, package.version))
            .collect(),
    })
}

/// The agent: an ELF program for the guest's architecture.
fn read_agent(build: &Build) -> Result<Vec<u8>, BuildError> {
    let path = build.agent.clone();
    let bytes = fs::read(&path).map_err(|source| BuildError::Agent {
        path: path.clone(),
        source,
    })?;
    // e_machine of the ELF header: EM_AARCH64, EM_X86_64.
    let machine: [u8; 2] = match build.arch {
        Arch::Aarch64 => 183u16.to_le_bytes(),
        Arch::X86_64 => 62u16.to_le_bytes(),
    };
    if bytes.get(..4) != Some(b"\x7fELF") || bytes.get(18..20) != Some(&machine) {
        return Err(BuildError::OtherAgent {
            path,
            arch: build.arch,
        });
    }
    Ok(bytes)
}

/// Takes `/boot` out of the tree and returns the kernel's image in the form that QEMU boots.
fn take_kernel(tree: &mut Tree, arch: Arch) -> Result<Vec<u8>, BuildError> {
    let content = tree.iter().find_map(|(path, node)| match node.kind {
        Kind::File(content) if path.starts_with(b"boot/vmlinuz-") => Some(content),
        _ => None,
    });
    let content = content.ok_or(BuildError::NoKernel(arch))?;
    let bytes = tree.read(content).map_err(RootfsError::Io)?;
    // Documentation/arch/arm64/booting.rst and Documentation/arch/x86/boot.rst of Linux.
    let (at, magic) = match arch {
        Arch::Aarch64 => (0x38, b"ARM\x64"),
        Arch::X86_64 => (0x202, b"HdrS"),
    };
    if bytes.get(at..at + 4) != Some(magic) {
        return Err(BuildError::NoKernel(arch));
    }
    tree.remove(b"boot");
    Ok(bytes)
}

fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), BuildError> {
    let write = || {
        let mut file = File::create(path)?;
        content(&mut file)?;
        file.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// One build of a guest at a time.
fn lock(build: &Build, tell: &mut dyn FnMut(BuildEvent<'_>)) -> Result<File, BuildError> {
    let path = build.output.join(format!(".{}.lock", build.arch));
    let file = File::create(&path).map_err(io_error("make", &path))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        tell(BuildEvent::Waiting);
        flock(&file, FlockOperation::LockExclusive).map_err(|error| io_error("lock", &path)(error.into()))?;
    }
    Ok(file)
}

/// Removes what killed builds have left.
fn remove_leftovers(output: &Path, prefix: &str) -> Result<(), BuildError> {
    for entry in fs::read_dir(output).map_err(io_error("list", output))? {
        let entry = entry.map_err(io_error("list", output))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path()).map_err(io_error("remove", &entry.path()))?;
        }
    }
    Ok(())
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
