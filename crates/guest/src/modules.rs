//! Kernel modules: which ones the wanted ones need, in which order they are loaded, and what modprobe has to know.
//!
//! All of it is read from the modules' own `.modinfo` (`include/linux/module.h` of Linux), as depmod does it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use vcontainer_debian::{Content, Kind, Tree};

use crate::elf;

/// Why the kernel's modules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// There are modules of no kernel.
    #[error(
        "there are none in /usr/lib/modules, not even the list `modules.builtin`: install the kernel's packages \
         (linux-image-… of Debian, kernel-base and kernel-modules of Yocto), or name its modules by --modules"
    )]
    NoKernel,
    /// There are modules of several kernels.
    #[error("there are modules of {0} kernels in /usr/lib/modules instead of one")]
    Kernels(usize),
    /// Modules that the kernel doesn't have, as a list.
    #[error(
        "kernel {kernel} has no {names}, neither built in nor as a module: a guest needs them. Switch them on in its \
         configuration (guest/kernel.cfg lists what a guest needs) and install its modules"
    )]
    Lacks {
        /// The kernel's release.
        kernel: String,
        /// The modules.
        names: String,
    },
    /// Modules that modprobe cannot find.
    #[error(
        "kernel {kernel} has no modules.dep, which the modprobe of the root filesystem needs: run \
         `depmod -b ROOT {kernel}`, or install busybox, whose modprobe does without"
    )]
    NoDepmod {
        /// The kernel's release.
        kernel: String,
    },
    /// A module that the kernel doesn't have.
    #[error("kernel {kernel} has no module `{name}`, which {wanted_by} needs")]
    Missing {
        /// The kernel's release.
        kernel: String,
        /// The module.
        name: String,
        /// Who needs it.
        wanted_by: String,
    },
    /// A module that cannot be read.
    #[error("the kernel module `{name}` is damaged or packed in an unknown way")]
    Damaged {
        /// The module.
        name: String,
    },
    /// The temporary file fails.
    #[error("cannot read or write temporary files")]
    Io(#[from] io::Error),
}

/// A module, unpacked.
#[derive(Debug)]
pub(crate) struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
    depends: Vec<String>,
    before: Vec<String>,
    aliases: Vec<String>,
}

/// The modules of one kernel.
pub(crate) struct Modules<'a> {
    /// Its release, as `uname -r` says it.
    pub kernel: String,
    tree: &'a Tree,
    packed: BTreeMap<String, (Vec<u8>, Content)>,
    builtin: BTreeSet<String>,
    loaded: BTreeMap<String, Module>,
}

impl<'a> Modules<'a> {
    /// Finds the modules of the one kernel in `tree`.
    pub fn find(tree: &'a Tree) -> Result<Self, ModuleError> {
        let mut kernels = BTreeSet::new();
        let (mut packed, mut builtin) = (BTreeMap::new(), BTreeSet::new());
        for (path, node) in tree.iter() {
            let Some(rest) = path.strip_prefix(b"usr/lib/modules/") else {
                continue;
            };
            let Some(kernel) = rest.split(|byte| *byte == b'/').next() else {
                continue;
            };
            kernels.insert(String::from_utf8_lossy(kernel).into_owned());
            let Kind::File(content) = node.kind else { continue };
            let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if let Some(at) = file.windows(3).position(|part| part == b".ko") {
                packed.insert(
                    module_name(file.get(..at).unwrap_or_default()),
                    (path.to_vec(), content),
                );
            } else if file == b"modules.builtin" {
                let text = tree.read(content)?;
                let names = text.split(|byte| *byte == b'\n').filter_map(|line| {
                    module_name(line.rsplit(|byte| *byte == b'/').next()?)
                        .strip_suffix(".ko")
                        .map(str::to_owned)
                });
                builtin.extend(names);
            }
        }
        let count = kernels.len();
        match kernels.pop_first() {
            Some(kernel) if count == 1 => Ok(Self {
                kernel,
                tree,
                packed,
                builtin,
                loaded: BTreeMap::new(),
            }),
            None => Err(ModuleError::NoKernel),
            Some(_) => Err(ModuleError::Kernels(count)),
        }
    }

    /// Whether the kernel has it, built in or as a module.
    pub fn has(&self, name: &str) -> bool {
        let name = module_name(name.as_bytes());
        self.builtin.contains(&name) || self.packed.contains_key(&name)
    }

    /// All of these must be there.
    pub fn require<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> Result<(), ModuleError> {
        let missing: Vec<&str> = names
            .into_iter()
            .filter(|name| !self.has(name))
            .map(|name| &name[..])
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ModuleError::Lacks {
            kernel: self.kernel.clone(),
            names: missing.join(", "),
        })
    }

    /// The wanted modules and what they need, in the order in which they can be loaded. What is built into the kernel
    /// is left out.
    pub fn load_order(&mut self, wanted: &[String]) -> Result<Vec<String>, ModuleError> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(&module_name(name.as_bytes()), "the guest", &mut order)?;
        }
        Ok(order)
    }

    fn visit(&mut self, name: &str, wanted_by: &str, order: &mut Vec<String>) -> Result<(), ModuleError> {
        if self.builtin.contains(name) || order.iter().any(|there| there == name) {
            return Ok(());
        }
        let module = self.load(name, wanted_by)?;
        let (depends, before) = (module.depends.clone(), module.before.clone());
        for other in depends {
            self.visit(&other, name, order)?;
        }
        // A soft dependency on what doesn't exist is none.
        for other in before.iter().filter(|other| *other != name) {
            if self.packed.contains_key(other) {
                self.visit(other, name, order)?;
            }
        }
        order.push(name.to_owned());
        Ok(())
    }

    fn load(&mut self, name: &str, wanted_by: &str) -> Result<&Module, ModuleError> {
        if !self.loaded.contains_key(name) {
            let Some((path, content)) = self.packed.get(name) else {
                return Err(ModuleError::Missing {
                    kernel: self.kernel.clone(),
                    name: name.to_owned(),
                    wanted_by: wanted_by.to_owned(),
                });
            };
            let damaged = || ModuleError::Damaged {
                name: name.to_owned(),
            };
            let packed = self.tree.read(*content)?;
            let bytes = if path.ends_with(b".ko") {
                packed
            } else if path.ends_with(b".ko.xz") {
                let mut bytes = Vec::new();
                lzma_rs::xz_decompress(&mut &packed[..], &mut bytes).map_err(|_| damaged())?;
                bytes
            } else {
                return Err(damaged());
            };
            let module = Module::read(name, bytes).ok_or_else(damaged)?;
            self.loaded.insert(name.to_owned(), module);
        }
        self.loaded.get(name).ok_or_else(|| ModuleError::Damaged {
            name: name.to_owned(),
        })
    }

    /// Names and contents of modules that [`Modules::load_order`] named.
    pub fn contents(&self, names: &[String]) -> Vec<(String, Vec<u8>)> {
        let loaded = names.iter().filter_map(|name| self.loaded.get(name));
        loaded
            .map(|module| (module.name.clone(), module.bytes.clone()))
            .collect()
    }

    /// `modules.dep` for these modules, each of which lies in `kernel/NAME.ko`: for each all that must be loaded
    /// before, the nearest first.
    pub fn dependencies(&mut self, names: &[String]) -> Result<String, ModuleError> {
        let mut text = String::new();
        for name in names {
            let mut order = Vec::new();
            self.visit(name, "the guest", &mut order)?;
            order.pop();
            text.push_str(&format!("kernel/{name}.ko:"));
            for other in order.iter().rev() {
                text.push_str(&format!(" kernel/{other}.ko"));
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// `modules.alias` for these modules.
    pub fn aliases(&self, names: &[String]) -> String {
        let mut text = String::new();
        for module in names.iter().filter_map(|name| self.loaded.get(name)) {
            for alias in &module.aliases {
                text.push_str(&format!("alias {alias} {}\n", module.name));
            }
        }
        text
    }
}

impl Module {
    /// Reads an ELF module of 64 bits, little-endian.
    fn read(name: &str, bytes: Vec<u8>) -> Option<Self> {
        let info = modinfo(&bytes)?;
        let mut module = Self {
            name: name.to_owned(),
            bytes: Vec::new(),
            depends: Vec::new(),
            before: Vec::new(),
            aliases: Vec::new(),
        };
        for record in info.split(|byte| *byte == 0) {
            let record = String::from_utf8_lossy(record);
            match record.split_once('=') {
                Some(("depends", names)) => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    module
                        .depends
                        .extend(names.map(|name| module_name(name.as_bytes())));
                }
                Some(("softdep", text)) => {
                    let before = text.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
                    let names = before.take_while(|word| *word != "post:");
                    module
                        .before
                        .extend(names.map(|name| module_name(name.as_bytes())));
                }
                Some(("alias", alias)) => module.aliases.push(alias.to_owned()),
                _ => {}
            }
        }
        module.bytes = bytes;
        Some(module)
    }
}

/// The name as the kernel has it: hyphens are underscores.
fn module_name(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace('-', "_")
}

/// The section `.modinfo` of an ELF file (System V ABI, chapter 4).
fn modinfo(bytes: &[u8]) -> Option<&[u8]> {
    let number = |at: usize, length: usize| usize::try_from(elf::number(bytes, at, length)?).ok();
    // 64 bits, little-endian.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count, names) = (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let section = |at: usize| {
        let (start, length) = (number(at.checked_add(24)?, 8)?, number(at.checked_add(32)?, 8)?);
        bytes.get(start..start.checked_add(length)?)
    };
    let names = section(header(names)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        let name = names.get(number(at, 4)?..)?.split(|byte| *byte == 0).next()?;
        if name == b".modinfo" { section(at) } else { None }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use vcontainer_debian::Node;

    /// An ELF file with a `.modinfo` of these records.
    pub(crate) fn elf(records: &str) -> Vec<u8> {
        let info = records.replace('\n', "\0").into_bytes();
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        let info_at = bytes.len();
        bytes.extend(&info);
        let names_at = bytes.len();
        bytes.extend(names);
        let table = bytes.len() as u64;
        for (name, at, size) in [
            (0u32, 0, 0),
            (1, info_at, info.len()),
            (10, names_at, names.len()),
        ] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            bytes.extend(header);
        }
        bytes[40..48].copy_from_slice(&table.to_le_bytes());
        bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
        bytes[60..62].copy_from_slice(&3u16.to_le_bytes());
        bytes[62..64].copy_from_slice(&2u16.to_le_bytes());
        bytes
    }

    pub(crate) fn kernel(directory: &Path, modules: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(directory).unwrap();
        let mut put = |path: String, bytes: &[u8]| {
            let content = tree.store_bytes(bytes).unwrap();
            tree.insert(
                path.as_bytes(),
                Node {
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    mtime: 0,
                    kind: Kind::File(content),
                },
            );
        };
        put(
            "usr/lib/modules/6.1/modules.builtin".into(),
            b"kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10.ko\n",
        );
        for (name, records) in modules {
            let mut packed = Vec::new();
            lzma_rs::xz_compress(&mut &elf(records)[..], &mut packed).unwrap();
            put(format!("usr/lib/modules/6.1/kernel/net/{name}.ko.xz"), &packed);
        }
        tree
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let directory = tempfile::tempdir().unwrap();
        let tree = kernel(
            directory.path(),
            &[
                ("a-top", "depends=b_mid,c-low,crc_t10\nalias=net-pf-1\nalias=top"),
                ("b_mid", "license=GPL\ndepends=c-low"),
                ("c-low", "depends=\nsoftdep=pre: d_soft no_such post: a-top"),
                ("d_soft", "depends="),
            ],
        );
        let mut modules = Modules::find(&tree).unwrap();
        assert_eq!(modules.kernel, "6.1");
        let order = modules.load_order(&names("ext4 a-top d_soft")).unwrap();
        assert_eq!(order, names("d_soft c_low b_mid a_top"));
        let text = modules.dependencies(&names("a_top d_soft")).unwrap();
        assert_eq!(
            text,
            "kernel/a_top.ko: kernel/b_mid.ko kernel/c_low.ko kernel/d_soft.ko\nkernel/d_soft.ko:\n"
        );
        assert_eq!(modules.aliases(&order), "alias net-pf-1 a_top\nalias top a_top\n");
        let error = modules.load_order(&names("e_none")).unwrap_err();
        assert!(error.to_string().contains("no module `e_none`"), "{error}");
    }

    #[test]
    fn damaged_modules_are_told() {
        let whole = elf("depends=x");
        assert_eq!(Module::read("m", whole.clone()).unwrap().depends, ["x"]);
        for end in 0..whole.len() {
            let _ = Module::read("m", whole[..end].to_vec());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            let _ = Module::read("m", bytes);
        }
        assert!(Module::read("m", b"no ELF".to_vec()).is_none());
    }
}
