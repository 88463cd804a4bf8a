//! A root filesystem with an engine and its kernel, as somebody has them who makes them in another way than this project:
//! what is in Debian's packages, and nothing that a guest has besides.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use vcontainer_debian::{self as debian, Kind};
use vcontainer_guest::{Arch, Engine};

use crate::person::{self, Person};
use crate::{cache, guest};

/// A root filesystem and its kernel, in somebody's `work`.
pub struct Root {
    /// As a tar: merged into `/usr`, with the kernel's modules and its configuration. depmod has not been run.
    pub tar: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// Versions of the packages by name.
    pub packages: BTreeMap<String, String>,
}

impl Root {
    /// Of the packages that guests are made of.
    ///
    /// # Errors
    /// They cannot be fetched.
    pub fn new(person: &Person, engine: Engine, arch: Arch) -> Result<Self> {
        let data = cache::checkout().join("guest");
        let read = |name: &str| {
            let path = data.join(format!("{name}.toml"));
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let (common, own) = (read("common")?, read(engine.name())?);
        let names: Vec<String> = [&common, &own]
            .into_iter()
            .flat_map(|text| list(text, "packages"))
            .map(|name| name.replace("{arch}", arch.debian()))
            .collect();
        let installed = debian::Installed::assumed(arch.debian(), &list(&common, "assumed"));
        let lock = File::create(cache::directory()?.join("guests/packages.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)
            .context("waiting for another test that fetches a package")?;
        let (tree, packages) = guest::unpack(arch, &names, &installed, &person.path("work"), &|_| true)?;
        let kernel = tree
            .iter()
            .find_map(|(path, node)| match node.kind {
                Kind::File(content) if path.starts_with(b"boot/vmlinuz-") => Some(content),
                _ => None,
            })
            .context("the packages have no kernel")?;
        let root = Self {
            tar: person.path("work/root.tar"),
            kernel: person.write("work/kernel", tree.read(kernel)?)?,
            packages,
        };
        tree.write_tar(BufWriter::new(File::create(&root.tar)?), 0)?;
        person::give(&root.tar)?;
        Ok(root)
    }
}

/// The words of a list in a file of the guest data.
fn list(text: &str, name: &str) -> Vec<String> {
    let start = format!("{name} = [");
    let lines = text.lines().skip_while(|line| !line.starts_with(&start));
    let mut words = Vec::new();
    for line in lines {
        let line = line.split('#').next().unwrap_or_default();
        words.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        if line.trim_end().ends_with(']') {
            break;
        }
    }
    words
}
