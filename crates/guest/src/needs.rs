//! What must be in a root filesystem that a guest can run from, and in its kernel.

use std::collections::BTreeSet;

use vcontainer_debian::{Kind, Tree};

use crate::recipe::Recipe;
use crate::rootfs::{RootfsError, link};
use crate::{Arch, BuildError, Engine, elf, root};

/// Where programs are looked for: PATH of the guest, and where Podman has its helpers.
const PLACES: &[&str] = &[
    "usr/sbin",
    "usr/bin",
    "usr/local/sbin",
    "usr/local/bin",
    "usr/libexec/podman",
    "usr/lib/podman",
];

/// What a guest needs and what isn't there.
#[derive(Debug, thiserror::Error)]
pub enum Lacks {
    /// Programs of the root filesystem.
    #[error(
        "the root filesystem lacks what a guest of {engine} on {arch} needs: {}. Install the packages that have them",
        list.join("; ")
    )]
    Programs {
        /// The engine of the guest.
        engine: Engine,
        /// The architecture of the guest.
        arch: Arch,
        /// Each as a clause.
        list: Vec<String>,
    },
    /// Settings of the kernel.
    #[error(
        "the kernel's configuration lacks what a guest needs: {}. Add guest/kernel.cfg and the one of the architecture to \
         it", list.join(", ")
    )]
    Settings {
        /// The settings.
        list: Vec<String>,
    },
}

/// All programs that the guest data names must be there, and be for the architecture. One that lies elsewhere than where
/// it is looked for gets a link.
pub(crate) fn programs(
    tree: &mut Tree,
    recipe: &Recipe,
    engine: Engine,
    arch: Arch,
) -> Result<(), BuildError> {
    let mut list = Vec::new();
    let wanted: BTreeSet<&String> = recipe.programs.iter().collect();
    for program in wanted {
        let name = program.rsplit('/').next().unwrap_or(program);
        let elsewhere = PLACES.iter().map(|place| format!("{place}/{name}"));
        let own = program.contains('/').then(|| program.clone());
        let found = own
            .into_iter()
            .chain(elsewhere)
            .find_map(|place| root::resolve(tree, place.as_bytes()).map(|(real, node)| (place, real, node)));
        let Some((place, real, node)) = found else {
            list.push(format!("there is no `{name}`"));
            continue;
        };
        let Kind::File(content) = node.kind else {
            list.push(format!("`/{place}` is no program"));
            continue;
        };
        let start = tree.start(content, 20).map_err(RootfsError::Io)?;
        if elf::is_elf(&start) && !elf::is_for(&start, arch) {
            list.push(format!(
                "there is no `{name}` for {arch}, only `/{place}` for another architecture"
            ));
        }
        if recipe.not_busybox.contains(program) && is_busybox(&real) {
            list.push(format!(
                "`/{place}` is busybox's, which keeps no extended attributes"
            ));
        }
        if program.contains('/') && &place != program {
            tree.insert(program.as_bytes(), link(&format!("/{place}")));
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    Err(Lacks::Programs { engine, arch, list }.into())
}

/// Whether modprobe can find the modules, if there are any: busybox's reads `modules.dep`, kmod's an index of it that
/// depmod makes.
pub(crate) fn modprobe_works(tree: &Tree, release: &str) -> bool {
    let directory = format!("usr/lib/modules/{release}/");
    let is_module = |path: &[u8]| path.starts_with(directory.as_bytes()) && path.ends_with(b".ko");
    tree.get(format!("{directory}modules.dep.bin").as_bytes())
        .is_some()
        || !tree.iter().any(|(path, _)| is_module(path))
        || root::resolve(tree, b"usr/sbin/modprobe").is_some_and(|(real, _)| is_busybox(&real))
}

fn is_busybox(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(b"busybox")
}

/// Every setting of `fragments` must be in `configuration`, built in or as a module. Both are as the kernel's
/// `.config` is.
pub(crate) fn settings(fragments: &str, configuration: &str) -> Result<(), Lacks> {
    let on = |text: &str| -> BTreeSet<String> {
        let settings = text.lines().filter_map(|line| line.trim().split_once('='));
        let on = settings.filter(|(_, value)| matches!(*value, "y" | "m"));
        on.map(|(name, _)| name.to_owned()).collect()
    };
    let list: Vec<String> = on(fragments).difference(&on(configuration)).cloned().collect();
    if list.is_empty() {
        return Ok(());
    }
    Err(Lacks::Settings { list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_may_be_modules() {
        let wanted = "# Disks\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n";
        let has = "CONFIG_A=m\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=\"text\"\n";
        let error = settings(wanted, has).unwrap_err().to_string();
        assert!(error.contains("needs: CONFIG_C. Add"), "{error}");
        settings(wanted, &format!("{has}CONFIG_C=y\n")).unwrap();
    }
}
