//! `vcontainer bundle --import vm`: the images of a store are imported by the real engine, in one machine that leaves
//! nothing behind, and its store is written to the target.

use std::error::Error;
use std::io::{BufReader, Read, Write};

use anyhow::{Context as _, Result, bail};
use rustix::pipe::pipe;
use vcontainer_bundle::execute::Importer;
use vcontainer_guest::{Arch, Engine};
use vcontainer_image::{EntryKind, LayerItem, LayerReader, Meta, Reference, TreePath};
use vcontainer_store::{ImageReport, ImportReport, Sink, StoreImage, StoreKind, StoreTarget, TreeWriter};
use vcontainer_wire::{Exec, ExitStatus};

use crate::engine::config_file::ConfigFile;
use crate::engine::console::Console;
use crate::engine::machine::Machine;
use crate::engine::options::Options;
use crate::engine::program::Tool;
use crate::engine::session::{self, Outputs};
use crate::engine::settings::{Settings, Surroundings};
use crate::engine::vimport;

/// Imports through the real engine.
pub struct VmImport {
    /// The target's architecture.
    pub arch: Arch,
    /// Whether standard error is a terminal.
    pub terminal: bool,
}

impl Importer for VmImport {
    fn import(
        &self,
        target: &StoreTarget,
        images: &[StoreImage<'_>],
        sink: &dyn Sink,
    ) -> Result<ImportReport, Box<dyn Error + Send + Sync>> {
        self.fill(target, images, sink).map_err(Into::into)
    }
}

/// The folders of an engine's store that are its images; others are of the machine that made them. Layers come before
/// what speaks of them.
fn folders(engine: Engine) -> (&'static str, &'static [&'static str]) {
    match engine {
        Engine::Docker => ("/var/lib/docker", &["overlay2", "image"]),
        Engine::Podman => (
            "/var/lib/containers/storage",
            &["overlay", "overlay-layers", "overlay-images"],
        ),
    }
}

impl VmImport {
    fn fill(&self, target: &StoreTarget, images: &[StoreImage<'_>], sink: &dyn Sink) -> Result<ImportReport> {
        let engine = match target.kind {
            StoreKind::DockerOverlay2 => Engine::Docker,
            StoreKind::PodmanOverlay => Engine::Podman,
            StoreKind::DockerContainerd => {
                bail!("--import vm makes overlay2 stores, not containerd's: use --import native for this one")
            }
        };
        if target.existing.is_some() {
            bail!(
                "--import vm starts from an empty store, and the target has one in `{}` already: use --import native",
                target.root
            );
        }
        let settings = self.settings(engine)?;
        let console = Console::new("vcontainer", false, self.terminal);
        let machine = Machine::connect(&settings, &console)?;
        let mut reports = Vec::new();
        for store_image in images {
            let image = store_image.image;
            for name in &store_image.names {
                let name = shown(name, engine)?;
                console.progress(&format!("importing {name}"));
                let mut told = Vec::new();
                let mut outputs = Outputs {
                    out: &mut std::io::sink(),
                    error: &mut told,
                };
                let found = vimport::Found::new(image.clone(), name.clone());
                if vimport::import(&machine, found, &mut outputs)? != ExitStatus::Code(0) {
                    bail!(
                        "{engine} could not import `{name}` from {}: {}",
                        image.origin,
                        String::from_utf8_lossy(&told).trim()
                    );
                }
            }
            let names: Result<Vec<String>> =
                store_image.names.iter().map(|name| shown(name, engine)).collect();
            reports.push(ImageReport {
                origin: image.origin.clone(),
                names: names?,
                id: image.config.digest,
                layers: Vec::new(),
            });
        }
        console.progress("taking over the store");
        machine.stop_engine()?;
        // As the engines make it.
        let mode = if engine == Engine::Docker { 0o710 } else { 0o700 };
        let meta = Meta {
            mode,
            ..Meta::default()
        };
        sink.directory(&target.root, &meta)?;
        copy(&machine, target, sink)?;
        console.clear();
        Ok(ImportReport {
            images: reports,
            layers: Vec::new(),
        })
    }

    fn settings(&self, engine: Engine) -> Result<Settings> {
        let options = Options {
            arch: Some(self.arch),
            stateless: true,
            no_network: true,
            ..Options::default()
        };
        let folder = std::env::current_dir().context("the folder that this runs in is gone")?;
        let around = Surroundings {
            variable: &|name| std::env::var_os(name),
            machine: std::env::consts::ARCH,
            folder: &folder,
        };
        let tool = Tool { engine, arch: None };
        Settings::new(tool, &options, &ConfigFile::default(), &around)
    }
}

/// A name as the engine takes it.
fn shown(name: &Reference, engine: Engine) -> Result<String> {
    if name.digest().is_some() {
        bail!("`{name}` is named by its digest, which --import vm cannot give an image: use --import native");
    }
    let tagged = name.with_tag(name.tag_or_latest())?;
    Ok(match engine {
        Engine::Docker => tagged.familiar(),
        Engine::Podman => tagged.to_string(),
    })
}

/// Writes the machine's store into the sink, as it streams out of the machine.
fn copy(machine: &Machine, target: &StoreTarget, sink: &dyn Sink) -> Result<()> {
    let (store, folders) = folders(machine.engine());
    let argv = [
        "tar",
        "-C",
        store,
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-cf",
        "-",
        "--",
    ];
    let exec = Exec {
        argv: argv
            .iter()
            .chain(folders)
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        ..Exec::default()
    };
    let (from_guest, to_sink) = pipe().context("cannot make a pipe")?;
    let mut to_sink = std::fs::File::from(to_sink);
    let mux = machine.mux().clone();
    std::thread::scope(|scope| {
        let packed = scope.spawn(move || {
            let mut told = Vec::new();
            let mut outputs = Outputs {
                out: &mut to_sink,
                error: &mut told,
            };
            let ended = session::run(&mux, exec, None, &mut outputs)?;
            to_sink.flush()?;
            if ended != ExitStatus::Code(0) {
                bail!(
                    "the store cannot be packed in the machine: {}",
                    String::from_utf8_lossy(&told).trim()
                );
            }
            Ok(())
        });
        let written = unpack(std::fs::File::from(from_guest), &target.root, sink);
        let packed = packed
            .join()
            .unwrap_or_else(|_| bail!("the machine's store could not be read"));
        // Why the stream ended says more than that it did.
        match (packed, written) {
            (Err(error), _) if !error.is::<session::NobodyReads>() => Err(error),
            (_, written) => written,
        }
    })
}

/// Writes a tar stream below `root`, its top folders as a subtree each.
fn unpack(stream: impl Read, root: &TreePath, sink: &dyn Sink) -> Result<()> {
    let mut reader = LayerReader::new(BufReader::with_capacity(256 * 1024, stream));
    let mut open: Option<(TreePath, Box<dyn TreeWriter + '_>)> = None;
    while let Some(item) = reader.next_item().context("cannot read the machine's store")? {
        let LayerItem::Entry(entry) = item else { continue };
        let Some(top) = entry.path.components().next().map(<[u8]>::to_vec) else {
            continue;
        };
        let top = TreePath::of_components(&[&top]);
        let below = |path: &TreePath| {
            let rest: Vec<&[u8]> = path.components().skip(1).collect();
            TreePath::of_components(&rest)
        };
        if open.as_ref().is_none_or(|(name, _)| *name != top) {
            if let Some((_, tree)) = open.take() {
                tree.finish()?;
            }
            let name = top.components().next().unwrap_or_default().to_vec();
            open = Some((top, sink.tree(&root.join(&name), &entry.meta)?));
        }
        let Some((_, tree)) = &mut open else { continue };
        let (path, meta) = (below(&entry.path), &entry.meta);
        match &entry.kind {
            EntryKind::Directory => tree.directory(&path, meta)?,
            EntryKind::File { size } => tree.file(&path, meta, *size, &mut reader.content())?,
            EntryKind::Symlink { target } => tree.symlink(&path, meta, target)?,
            EntryKind::Hardlink { target } => tree.hardlink(&path, &below(target))?,
            kind => tree.node(&path, meta, kind)?,
        }
    }
    if let Some((_, tree)) = open {
        tree.finish()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vcontainer_image::{Timestamp, Xattr};
    use vcontainer_store::{TarCompression, TarSink};

    use super::*;

    fn path(name: &str) -> TreePath {
        TreePath::clean(name.as_bytes()).unwrap()
    }

    /// Two folders with everything that a store has in them.
    fn store(root: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let sink: Box<dyn Sink + '_> = Box::new(TarSink::new(&mut bytes, TarCompression::None).unwrap());
        let meta = |mode| Meta {
            mode,
            uid: 7,
            gid: 8,
            mtime: Timestamp {
                seconds: 1_700_000_000,
                nanoseconds: 0,
            },
            xattrs: Vec::new(),
        };
        if !root.is_empty() {
            let top = Meta {
                mode: 0o710,
                ..Meta::default()
            };
            sink.directory(&path(root), &top).unwrap();
        }
        let at = |name: &str| path(&format!("{root}/{name}"));
        let mut tree = sink.tree(&at("overlay2"), &meta(0o710)).unwrap();
        tree.directory(&path("id"), &meta(0o755)).unwrap();
        let opaque = Meta {
            xattrs: vec![Xattr {
                name: b"trusted.overlay.opaque".to_vec(),
                value: b"y".to_vec(),
            }],
            ..meta(0o1777)
        };
        tree.directory(&path("id/tmp"), &opaque).unwrap();
        tree.file(&path("id/program"), &meta(0o4755), 3, &mut &b"abc"[..])
            .unwrap();
        tree.hardlink(&path("id/other"), &path("id/program")).unwrap();
        tree.symlink(&path("id/link"), &meta(0o777), b"../x\xff").unwrap();
        let whiteout = EntryKind::Char { major: 0, minor: 0 };
        tree.node(&path("id/gone"), &meta(0), &whiteout).unwrap();
        tree.finish().unwrap();
        let mut tree = sink.tree(&at("image"), &meta(0o700)).unwrap();
        tree.file(&path("repositories.json"), &meta(0o600), 2, &mut &b"{}"[..])
            .unwrap();
        tree.finish().unwrap();
        sink.commit().unwrap();
        bytes
    }

    #[test]
    fn a_store_arrives_as_it_left_the_machine() {
        let packed = store("");
        let mut written = Vec::new();
        let root = path("var/lib/docker");
        let sink: Box<dyn Sink + '_> = Box::new(TarSink::new(&mut written, TarCompression::None).unwrap());
        let meta = Meta {
            mode: 0o710,
            ..Meta::default()
        };
        sink.directory(&root, &meta).unwrap();
        unpack(packed.as_slice(), &root, &*sink).unwrap();
        sink.commit().unwrap();
        assert!(written == store("var/lib/docker"));
    }

    #[test]
    fn a_store_that_breaks_off_is_an_error() {
        let packed = store("");
        let sink = TarSink::new(std::io::sink(), TarCompression::None).unwrap();
        sink.directory(&path("var"), &Meta::default()).unwrap();
        let half = &packed[..packed.len() / 2];
        unpack(half, &path("var"), &sink).unwrap_err();
    }
}
