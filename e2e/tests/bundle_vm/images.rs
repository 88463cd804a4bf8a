//! The images that are bundled for aarch64: the probe image with everything odd in it, and one on top of it.

use std::path::Path;

use anyhow::Result;
use e2e::layout::{Compression, Descriptor, Image, Layout};
use e2e::person::{self, Person};
use e2e::process::Command;
use e2e::{guest, probe};
use vcontainer_guest::{Arch, Engine};

/// Somebody with guest files and a directory of images, `images`, in their `work`.
pub struct Images {
    pub person: Person,
    pub engine: Engine,
    /// The image `probe`.
    pub probe: Image,
    /// Digests of its blobs.
    pub probe_blobs: Descriptor,
    /// The image `derived`: `probe` and a layer.
    pub derived: Image,
    /// Digests of its blobs.
    pub derived_blobs: Descriptor,
}

impl Images {
    pub fn new(engine: Engine) -> Result<Self> {
        let person = guest::owner(&[(engine, Arch::Aarch64)])?;
        let busybox = guest::busybox(Arch::Aarch64)?;
        let probe = probe::with_getfattr(&probe::image("arm64", &busybox), &guest::getfattr(Arch::Aarch64)?);
        let derived = probe::derived(&probe);
        let directory = person.directory("work/images")?;
        let probe_blobs = add(&directory, "probe", &probe)?;
        let derived_blobs = add(&directory, "derived", &derived)?;
        person::give_all(&directory)?;
        Ok(Self {
            person,
            engine,
            probe,
            probe_blobs,
            derived,
            derived_blobs,
        })
    }

    /// `vcontainer bundle` of images for aarch64.
    pub fn bundle(&self) -> Command {
        self.person
            .command("vcontainer")
            .args(["bundle", "--quiet", "--arch", "aarch64", "--images", "images"])
    }

    /// The entry of a bundle that puts an image into the store of the engine.
    pub fn entry(&self, name: &str) -> String {
        format!("{name}:{}", self.engine)
    }

    /// `vdkr` or `vpdmn` for aarch64.
    pub fn tool(&self) -> Command {
        self.person.command(self.engine.tool()).args(["-a", "aarch64"])
    }

    /// An image's name as the engine shows it.
    pub fn shown(&self, name: &str) -> String {
        match self.engine {
            Engine::Docker => name.to_owned(),
            Engine::Podman => format!("localhost/{name}"),
        }
    }
}

/// Adds an image to a directory of images, under a name that a bundle finds.
pub fn add(directory: &Path, name: &str, image: &Image) -> Result<Descriptor> {
    let mut layout = Layout::create(directory.join(name))?;
    let descriptor = layout.add(image, Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    Ok(descriptor)
}
