//! Making the files of one guest from a root filesystem and a kernel that somebody has built.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vcontainer_debian::{Kind, Tree};

use crate::build::BuildEvent;
use crate::error::{BuildError, io_error};
use crate::modules::ModuleError;
use crate::output::{Output, Parts};
use crate::recipe::Recipe;
use crate::rootfs::{self, RootfsError};
use crate::{Arch, Engine, GuestFiles, kernel, needs, root};

/// What guest to make, and from what.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its engine, which is in the root filesystem.
    pub engine: Engine,
    /// Its architecture.
    pub arch: Arch,
    /// The directory of the guest data (`guest/` of the sources).
    pub data: PathBuf,
    /// The agent, for the guest's architecture.
    pub agent: PathBuf,
    /// The root filesystem: a directory or a tar file.
    pub root: PathBuf,
    /// The kernel's image.
    pub kernel: PathBuf,
    /// Where its modules are, if not in the root filesystem: a directory or a tar file with `lib/modules` in it.
    pub modules: Option<PathBuf>,
    /// The kernel's configuration, if it is not in the root filesystem's `/boot`.
    pub configuration: Option<PathBuf>,
    /// Where the guests of one tool lie: the files come into a directory of the architecture's name in it.
    pub output: PathBuf,
    /// The program and its version, for the manifest.
    pub tool: String,
}

/// Makes the files of a guest, in place of those that are there. The same root filesystem, kernel, data and agent give the
/// same bytes. When anything fails the old files stay as they are.
///
/// # Errors
/// See [`BuildError`]; what a guest needs and what isn't there is told before anything is written.
pub fn pack(pack: &Pack, tell: &mut dyn FnMut(BuildEvent<'_>)) -> Result<GuestFiles, BuildError> {
    let recipe = Recipe::read(&pack.data, pack.engine)?;
    let output = Output {
        engine: pack.engine,
        arch: pack.arch,
        directory: &pack.output,
        tool: &pack.tool,
    };
    output.write(&pack.agent, tell, |directory, tell| {
        gather(pack, &recipe, directory, tell)
    })
}

fn gather(
    pack: &Pack,
    recipe: &Recipe,
    directory: &Path,
    tell: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Parts, BuildError> {
    let image = fs::read(&pack.kernel).map_err(io_error("read the kernel", &pack.kernel))?;
    if !kernel::is_bootable(&image, pack.arch) {
        return Err(BuildError::OtherKernel {
            path: pack.kernel.clone(),
            arch: pack.arch,
        });
    }
    tell(BuildEvent::Reading(&pack.root));
    let mut tree = Tree::new(directory).map_err(io_error("make a temporary file in", directory))?;
    root::add(&mut tree, &pack.root, directory, &|path| {
        path.starts_with(b"boot/") || recipe.keeps(path)
    })?;
    if let Some(modules) = &pack.modules {
        tell(BuildEvent::Reading(modules));
        tree.remove(b"usr/lib/modules");
        root::add(&mut tree, modules, directory, &|path| {
            path.starts_with(b"usr/lib/modules/")
        })?;
    }
    let configuration = configuration(pack, &tree)?;
    tree.remove(b"boot");
    let kernel = rootfs::take_any_modules(&mut tree, recipe)?;
    if let Some(release) = kernel::release(&image, pack.arch)
        && release != kernel.release
    {
        return Err(BuildError::OtherModules {
            path: pack.kernel.clone(),
            kernel: release,
            modules: kernel.release,
        });
    }
    if let Some(configuration) = configuration {
        needs::settings(&fragments(pack)?, &configuration)?;
    }
    rootfs::dress(&mut tree, recipe)?;
    needs::programs(&mut tree, recipe, pack.engine, pack.arch)?;
    if !needs::modprobe_works(&tree, &kernel.release) {
        let kernel = kernel.release;
        return Err(ModuleError::NoDepmod { kernel }.into());
    }
    Ok(Parts {
        image,
        kernel,
        tree,
        packages: BTreeMap::new(),
    })
}

/// The text of the kernel's configuration, where it is known: from the file that was named, or from `/boot`.
fn configuration(pack: &Pack, tree: &Tree) -> Result<Option<String>, BuildError> {
    if let Some(path) = &pack.configuration {
        let text = fs::read_to_string(path).map_err(io_error("read the kernel's configuration", path))?;
        return Ok(Some(text));
    }
    let found = tree.iter().find_map(|(path, node)| match node.kind {
        Kind::File(content) if path.starts_with(b"boot/config-") => Some(content),
        _ => None,
    });
    let bytes = found.map(|content| tree.read(content)).transpose();
    let bytes = bytes.map_err(RootfsError::Io)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What the guest data says that a kernel must have.
fn fragments(pack: &Pack) -> Result<String, BuildError> {
    let mut whole = String::new();
    for name in ["kernel.cfg".to_owned(), format!("kernel-{}.cfg", pack.arch)] {
        let path = pack.data.join(name);
        let text: io::Result<String> = fs::read_to_string(&path);
        whole.push_str(&text.map_err(io_error("read the guest data", &path))?);
    }
    Ok(whole)
}
