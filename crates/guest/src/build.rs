//! Making the files of one guest from Debian packages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vcontainer_debian::{self as debian, Apt, Installed, Kind, Mirror, Tree};

use crate::error::BuildError;
use crate::output::{Output, Parts};
use crate::recipe::Recipe;
use crate::rootfs::{self, RootfsError};
use crate::{Arch, Engine, GuestFiles, kernel, needs};

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
    /// A root filesystem or modules are being read.
    Reading(&'a Path),
    /// So many packages are being unpacked.
    Unpacking(usize),
    /// The root filesystem is being packed.
    Packing,
}

/// Makes the files of a guest from Debian packages, in place of those that are there. The same packages, data and agent
/// give the same bytes. When anything fails the old files stay as they are.
///
/// # Errors
/// See [`BuildError`].
pub fn build(build: &Build, tell: &mut dyn FnMut(BuildEvent<'_>)) -> Result<GuestFiles, BuildError> {
    let recipe = Recipe::read(&build.data, build.engine)?;
    let output = Output {
        engine: build.engine,
        arch: build.arch,
        directory: &build.output,
        tool: &build.tool,
    };
    output.write(&build.agent, tell, |directory, tell| {
        gather(build, &recipe, directory, tell)
    })
}

/// Fetches the packages and makes a guest's parts of them.
fn gather(
    build: &Build,
    recipe: &Recipe,
    directory: &Path,
    tell: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Parts, BuildError> {
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
    let image = take_kernel(&mut tree, build.arch)?;
    let kernel = rootfs::take_modules(&mut tree, recipe)?;
    rootfs::dress(&mut tree, recipe)?;
    needs::programs(&mut tree, recipe, build.engine, build.arch)?;
    Ok(Parts {
        image,
        kernel,
        tree,
        packages: fetched
            .packages
            .into_iter()
            .map(|package| (package.name, package.version))
            .collect(),
    })
}

/// Takes `/boot` out of the tree and returns the kernel's image in the form that QEMU boots.
fn take_kernel(tree: &mut Tree, arch: Arch) -> Result<Vec<u8>, BuildError> {
    let content = tree.iter().find_map(|(path, node)| match node.kind {
        Kind::File(content) if path.starts_with(b"boot/vmlinuz-") => Some(content),
        _ => None,
    });
    let content = content.ok_or(BuildError::NoKernel(arch))?;
    let bytes = tree.read(content).map_err(RootfsError::Io)?;
    if !kernel::is_bootable(&bytes, arch) {
        return Err(BuildError::NoKernel(arch));
    }
    tree.remove(b"boot");
    Ok(bytes)
}
