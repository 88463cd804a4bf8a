//! Somebody who uses one tool for one architecture.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::layout::{Compression, Image, Layout, digest, docker_archive};
use e2e::person::{self, Person};
use e2e::process::{Command, Outcome};
use e2e::{guest, tarball};
use rustix::process::Pid;
use vcontainer_guest::{Arch, Engine};

/// A person, and the machine that their commands are for.
pub struct User {
    pub person: Person,
    pub engine: Engine,
    pub arch: Arch,
}

impl User {
    /// Somebody who has guest files and no machine yet.
    pub fn new(engine: Engine, arch: Arch) -> Result<Self> {
        Ok(Self {
            person: guest::owner(&[(engine, arch)])?,
            engine,
            arch,
        })
    }

    /// The same with a cache of their own.
    pub fn with_own_cache(engine: Engine, arch: Arch) -> Result<Self> {
        let variable = format!("{}_BLOB_DIR", engine.tool().to_uppercase());
        let files = guest::guest_files(engine, arch)?;
        Ok(Self {
            person: guest::newcomer()?.with(&variable, files),
            engine,
            arch,
        })
    }

    /// `vdkr -a ARCH WORDS`.
    pub fn command(&self, words: &[&str]) -> Command {
        let tool = self.person.command(self.engine.tool());
        tool.args(["-a", self.arch.name()]).args(words)
    }

    /// The same under the name that says the architecture: `vdkr-aarch64 WORDS`.
    pub fn command_by_name(&self, words: &[&str]) -> Command {
        let name = format!("{}-{}", self.engine.tool(), self.arch);
        self.person.command(name).args(words)
    }

    /// Runs it, whatever it does.
    pub fn call(&self, words: &[&str]) -> Result<Outcome> {
        self.command(words).outcome()
    }

    /// What it prints when it succeeds.
    pub fn output(&self, words: &[&str]) -> Result<String> {
        self.command(words).output()
    }

    /// Runs it; it must succeed, print this and say nothing.
    pub fn prints(&self, words: &[&str], output: &str) -> Result<()> {
        self.call(words)?.is(0, output, "")
    }

    /// Removes a container that runs. Killed first: Podman's `rm -f` asks it to stop and warns when that takes more than
    /// ten seconds, as it can in an emulated machine.
    pub fn remove_running(&self, name: &str) -> Result<()> {
        let shown = format!("{name}\n");
        self.prints(&["kill", name], &shown)?;
        self.prints(&["rm", "-f", name], &shown)
    }

    /// The machine's folder.
    pub fn state(&self) -> PathBuf {
        self.person
            .path("home")
            .join(format!(".{}", self.engine.tool()))
            .join(self.arch.name())
    }

    /// An image's name as the engine shows it.
    pub fn shown(&self, name: &str) -> String {
        match self.engine {
            Engine::Docker => name.to_owned(),
            Engine::Podman => format!("localhost/{name}"),
        }
    }

    /// The small image that runs on this machine.
    pub fn image(&self) -> Result<Image> {
        guest::image(self.arch)
    }

    /// An OCI layout of an image in `work`.
    pub fn layout(&self, name: &str, image: &Image) -> Result<()> {
        let path = self.person.path("work").join(name);
        let mut layout = Layout::create(&path)?;
        let descriptor = layout.add(image, Compression::Gzip)?;
        layout.name(&descriptor, Some("latest"))?;
        person::give_all(&path)
    }

    /// The same as an OCI archive.
    pub fn oci_archive(&self, name: &str, image: &Image) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut layout = Layout::create(folder.path().join("layout"))?;
        let descriptor = layout.add(image, Compression::Gzip)?;
        layout.name(&descriptor, Some("latest"))?;
        let path = self.person.path("work").join(name);
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(&path)
            .arg("-C")
            .arg(layout.path());
        packed.arg(".").output()?;
        person::give(&path)
    }

    /// A `docker save` archive of an image in `work`.
    pub fn docker_archive(&self, name: &str, image: &Image) -> Result<()> {
        let archive = docker_archive(image, "someones:1");
        self.person.write(&format!("work/{name}"), archive).map(drop)
    }

    /// A tarball of a root filesystem in `work`: the small image's, with `file` in it.
    pub fn rootfs(&self, name: &str, file: &str) -> Result<()> {
        let more = tarball::Tarball::new(tarball::Format::Pax)
            .file(file, tarball::Meta::mode(0o644), format!("this is {file}\n"))
            .finish(0);
        let base = self.image()?.layers.remove(0);
        // The end of an archive is two blocks of zeros: the one goes on where those of the other would stand.
        let end = base
            .rchunks(512)
            .take_while(|block| block.iter().all(|byte| *byte == 0))
            .count();
        let whole = [&base[..base.len() - end * 512], &more].concat();
        self.person.write(&format!("work/{name}"), whole).map(drop)
    }

    /// The images in the engine: `NAME:TAG ID`.
    pub fn images(&self) -> Result<BTreeSet<String>> {
        self.images_of(&[])
    }

    /// The images that a command with these options of the tool shows.
    pub fn images_of(&self, options: &[&str]) -> Result<BTreeSet<String>> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let words = [options, &["images", "--no-trunc", "--format", format]].concat();
        Ok(self.output(&words)?.lines().map(str::to_owned).collect())
    }

    /// What [`User::images`] shows of images that have been kept bit-exact.
    pub fn list(&self, images: &[(&str, &Image)]) -> BTreeSet<String> {
        let line = |(name, image): &(&str, &Image)| {
            format!("{} {}", self.shown(name), digest(&image.configuration()))
        };
        images.iter().map(line).collect()
    }

    /// The supervisor of a machine's folder.
    pub fn supervisor(&self, state: &std::path::Path) -> Result<Pid> {
        let path = state.join("daemon.pid");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let number = text.trim().parse().ok().and_then(Pid::from_raw);
        number.with_context(|| format!("{} holds {text:?}", path.display()))
    }

    /// Suspends the machine.
    pub fn stop(&self) -> Result<()> {
        self.prints(&["vmemres", "stop"], "")
    }

    /// Suspends the machine; nothing of this person runs any more then.
    pub fn leave(self) -> Result<()> {
        self.stop()?;
        self.person.alone()
    }
}

/// The text has all of these parts.
pub fn holds(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    Ok(())
}
