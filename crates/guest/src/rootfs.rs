//! The root filesystem: what is added to the packages' tree, and squashfs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vcontainer_debian::{Kind, Node, Tree};

use crate::modules::{ModuleError, Modules};
use crate::recipe::Recipe;
use crate::root;

/// Compression of squashfs: beyond this level packing takes several times as long for one or two percent.
const LEVEL: &str = "12";

/// Why a root filesystem cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// squashfs-tools is missing.
    #[error("cannot run `mksquashfs`: install the package squashfs-tools, version 4.5 or newer")]
    NoMksquashfs,
    /// It failed.
    #[error("cannot write `{}`: mksquashfs says: {said}", path.display())]
    Mksquashfs {
        /// The file.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// A file of the guest data cannot be read.
    #[error("cannot read the guest data `{}`", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The guest data wants files that the packages don't have.
    #[error("there is nothing for `/{0}` in the root filesystem: the guest data doesn't fit it")]
    Nothing(String),
    /// The temporary file fails.
    #[error("cannot read or write temporary files")]
    Io(#[from] io::Error),
}

/// What the initramfs and the manifest need of a kernel.
pub(crate) struct KernelParts {
    /// Its release, as `uname -r` says it.
    pub release: String,
    /// Names and contents of the modules in the initramfs, in load order.
    pub boot_modules: Vec<(String, Vec<u8>)>,
}

/// Takes the kernel's modules out of the tree: the wanted ones, unpacked, take the place of all. All must be there.
pub(crate) fn take_modules(tree: &mut Tree, recipe: &Recipe) -> Result<KernelParts, ModuleError> {
    let modules = Modules::find(tree)?;
    modules.require(recipe.boot_modules.iter().chain(&recipe.modules))?;
    replace_modules(tree, &recipe.boot_modules, &recipe.modules)
}

/// The same of any kernel: of the modules in the root filesystem those must be there that the agent loads. Where depmod
/// has been run, its lists and all modules stay as they are.
pub(crate) fn take_any_modules(tree: &mut Tree, recipe: &Recipe) -> Result<KernelParts, ModuleError> {
    let mut modules = Modules::find(tree)?;
    modules.require(recipe.boot_modules.iter().chain(&recipe.needed_modules))?;
    let release = modules.kernel.clone();
    let lists = format!("usr/lib/modules/{release}/modules.dep");
    if tree.get(lists.as_bytes()).is_some() {
        let boot = modules.load_order(&recipe.boot_modules)?;
        let boot_modules = modules.contents(&boot);
        return Ok(KernelParts {
            release,
            boot_modules,
        });
    }
    let there: Vec<String> = recipe
        .modules
        .iter()
        .filter(|name| modules.has(name))
        .cloned()
        .collect();
    replace_modules(tree, &recipe.boot_modules, &there)
}

fn replace_modules(tree: &mut Tree, boot: &[String], others: &[String]) -> Result<KernelParts, ModuleError> {
    let mut modules = Modules::find(tree)?;
    let boot = modules.load_order(boot)?;
    let mut all = modules.load_order(others)?;
    all.extend(boot.iter().cloned());
    all.sort();
    all.dedup();
    let dependencies = modules.dependencies(&all)?;
    let aliases = modules.aliases(&all);
    let kernel = modules.kernel.clone();
    let (boot, all) = (modules.contents(&boot), modules.contents(&all));
    let directory = format!("usr/lib/modules/{kernel}");
    let builtin = tree
        .get(format!("{directory}/modules.builtin").as_bytes())
        .cloned();
    tree.remove(directory.as_bytes());
    for (name, bytes) in all {
        put(tree, &format!("{directory}/kernel/{name}.ko"), 0o644, &bytes)?;
    }
    for (name, text) in [("modules.dep", dependencies), ("modules.alias", aliases)] {
        put(tree, &format!("{directory}/{name}"), 0o644, text.as_bytes())?;
    }
    if let Some(builtin) = builtin {
        tree.insert(format!("{directory}/modules.builtin").as_bytes(), builtin);
    }
    Ok(KernelParts {
        release: kernel,
        boot_modules: boot,
    })
}

/// Adds to the tree what the guest data says. Links, names of busybox and files made of others are for what isn't there.
pub(crate) fn dress(tree: &mut Tree, recipe: &Recipe) -> Result<(), RootfsError> {
    for (path, pattern) in &recipe.concatenate {
        if tree.get(path.as_bytes()).is_some() {
            continue;
        }
        let mut parts = Vec::new();
        for (path, node) in tree.iter().filter(|(path, _)| pattern.matches(path)) {
            if let Kind::File(content) = node.kind {
                parts.push((path.to_vec(), tree.read(content)?));
            }
        }
        if parts.is_empty() {
            return Err(RootfsError::Nothing(path.clone()));
        }
        let mut whole = Vec::new();
        for (part, bytes) in parts {
            tree.remove(&part);
            whole.extend(bytes);
        }
        put(tree, path, 0o644, &whole)?;
    }
    for (path, mode) in &recipe.directories {
        tree.insert(
            path.as_bytes(),
            Node {
                mode: *mode,
                ..Node::DIRECTORY
            },
        );
    }
    for (path, file) in &recipe.files {
        let bytes = fs::read(&file.source).map_err(|source| RootfsError::Data {
            path: file.source.clone(),
            source,
        })?;
        let content = tree.store_bytes(&bytes)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        tree.insert(
            path,
            Node {
                mode,
                uid: 0,
                gid: 0,
                mtime: 0,
                kind: Kind::File(content),
            },
        );
    }
    for (path, target) in &recipe.links {
        // A name without a program would hide the same name further on in PATH.
        let target_is_there = || match path.rsplit_once('/') {
            Some((directory, _)) if path.starts_with("usr/") => {
                root::resolve(tree, format!("{directory}/{target}").as_bytes()).is_some()
            }
            _ => true,
        };
        if is_free(tree, path) && target_is_there() {
            tree.insert(path.as_bytes(), link(target));
        }
    }
    for applets in &recipe.applets {
        let Some((directory, program)) = applets.program.rsplit_once('/') else {
            continue;
        };
        if tree.get(applets.program.as_bytes()).is_none() {
            continue;
        }
        for name in &applets.names {
            let path = format!("{directory}/{name}");
            let elsewhere = format!("usr/sbin/{name}");
            if tree.get(path.as_bytes()).is_none() && tree.get(elsewhere.as_bytes()).is_none() {
                tree.insert(path.as_bytes(), link(program));
            }
        }
    }
    Ok(())
}

/// Whether there is nothing at a path, or an empty directory.
fn is_free(tree: &Tree, path: &str) -> bool {
    match tree.get(path.as_bytes()).map(|node| &node.kind) {
        None => true,
        Some(Kind::Directory) => {
            let below = [&Tree::real(path.as_bytes())[..], b"/"].concat();
            !tree.iter().any(|(path, _)| path.starts_with(&below))
        }
        Some(_) => false,
    }
}

pub(crate) fn link(target: &str) -> Node {
    Node {
        mode: 0o777,
        uid: 0,
        gid: 0,
        mtime: 0,
        kind: Kind::Symlink(target.as_bytes().to_vec()),
    }
}

fn put(tree: &mut Tree, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let content = tree.store_bytes(bytes)?;
    tree.insert(
        path.as_bytes(),
        Node {
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            kind: Kind::File(content),
        },
    );
    Ok(())
}

/// Writes the tree as a squashfs image that depends on nothing but the tree.
pub(crate) fn write_squashfs(tree: &Tree, path: &Path) -> Result<(), RootfsError> {
    let mut child = Command::new("mksquashfs")
        // It would be taken as a second time.
        .env_remove("SOURCE_DATE_EPOCH")
        .arg("-")
        .arg(path)
        // Reading a tar stream came with 4.5.
        .args(["-tar", "-noappend"])
        .args(["-comp", "zstd", "-Xcompression-level", LEVEL, "-b", "128K"])
        .args(["-mkfs-time", "0", "-all-time", "0", "-root-time", "0"])
        .args(["-root-mode", "755", "-root-uid", "0", "-root-gid", "0"])
        .args(["-no-xattrs", "-exit-on-error", "-no-progress", "-quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RootfsError::NoMksquashfs,
            _ => RootfsError::Io(error),
        })?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    });
    let fed = match child.stdin.take() {
        Some(stdin) => tree
            .write_tar(BufWriter::with_capacity(1 << 17, stdin), 0)
            .and_then(|mut output| output.flush()),
        None => Ok(()),
    };
    let status = child.wait()?;
    let said = reader.join().unwrap_or_default();
    if !status.success() {
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let said = if lines.is_empty() {
            status.to_string()
        } else {
            lines.join("; ")
        };
        return Err(RootfsError::Mksquashfs {
            path: path.to_owned(),
            said,
        });
    }
    fed?;
    File::open(path)?.sync_all()?;
    Ok(())
}
