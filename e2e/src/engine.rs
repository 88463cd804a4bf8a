//! What the tests ask of an engine, Docker or Podman: the same words, and the same ways to look at an image.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::machine::Machine;
use crate::process::Command;
use crate::{layout, tree};

/// Shows layer directories, topmost first, merged in `/merged`. By short links: `mount` passes at most 255 bytes of lower
/// directories on to newer kernels.
const MOUNT: &str = r#"
set -eu
mkdir -p /merged /layer
number=0; layers=
for layer; do ln -sfn "$layer" /layer/$number; layers=$layers:/layer/$number; number=$((number + 1)); done
if [ $# = 1 ]; then mount --bind "$1" /merged
else mount -t overlay -o "lowerdir=${layers#:}" overlay /merged; fi
"#;

/// A real engine in a machine.
pub trait Engine {
    /// Where it runs.
    fn machine(&self) -> &Machine;

    /// Its command-line program, to be completed with words.
    fn command(&self) -> Command;

    /// Runs its command-line program and returns what that printed.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    fn cli(&self, words: &[&str]) -> Result<String> {
        self.command().args(words).output()
    }

    /// Runs a container of this image to its end and returns what it printed. An empty `words` means the command of
    /// the image.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    fn run(&self, image: &str, words: &[&str]) -> Result<String> {
        self.command()
            .args(["run", "--rm", "--network=none", image])
            .args(words)
            .output()
    }

    /// `image inspect NAME`: the one object.
    ///
    /// # Errors
    /// The image isn't there.
    fn inspect(&self, name: &str) -> Result<Value> {
        let text = self.cli(&["image", "inspect", name])?;
        let mut list: Vec<Value> = serde_json::from_str(&text).context("reading `image inspect`")?;
        list.pop()
            .with_context(|| format!("`image inspect {name}` printed an empty list"))
    }

    /// The file tree that a container of this image sees, mounted from the directories that the engine names.
    ///
    /// # Errors
    /// The image isn't there, or isn't stored as overlay directories.
    fn merged_tree(&self, name: &str) -> Result<tree::Tree> {
        self.look_at_merged(name, tree::read)
    }

    /// What `look` finds in the file system that a container of this image sees, mounted from the directories that the
    /// engine names.
    ///
    /// # Errors
    /// As [`Engine::merged_tree`], or `look` fails.
    fn look_at_merged<T>(&self, name: &str, look: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let inspect = self.inspect(name)?;
        let data = &inspect["GraphDriver"]["Data"];
        let top = data["UpperDir"]
            .as_str()
            .with_context(|| format!("the engine names no directory of {name}"))?;
        let lower = data["LowerDir"].as_str().unwrap_or_default();
        let machine = self.machine();
        machine
            .command("sh")
            .args(["-c", MOUNT, "mount", top])
            .args(lower.split(':').filter(|layer| !layer.is_empty()))
            .output()?;
        let found = look(&machine.host_path("/merged"));
        machine.command("umount").arg("/merged").output()?;
        found
    }

    /// Saves the image as a `docker save` archive and returns what is in it.
    ///
    /// # Errors
    /// The engine cannot save it, or the archive isn't one.
    fn save(&self, name: &str) -> Result<Saved> {
        let directory =
            tempfile::tempdir_in(self.machine().shared()).context("making a directory to save into")?;
        let file_name = directory
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let archive = format!("{}/{file_name}/image.tar", Machine::SHARED);
        self.cli(&["save", "-o", &archive, name])?;
        Saved::in_archive(&directory.path().join("image.tar"))
    }
}

/// Digests of what an engine saved: of the configuration and of each uncompressed layer, base first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Digest of the configuration.
    pub config: String,
    /// Digests of the layers.
    pub layers: Vec<String>,
}

impl Saved {
    /// What an image of ours is, when it was saved bit-exact.
    pub fn of(image: &layout::Image) -> Self {
        Self {
            config: layout::digest(&image.configuration()),
            layers: image.diff_ids(),
        }
    }

    /// The first image of a `docker save` archive, compressed or not.
    ///
    /// # Errors
    /// It is none.
    pub fn in_archive(archive: &Path) -> Result<Self> {
        let images = Self::read(archive)?;
        let (_, saved) = images.into_iter().next().context("the archive is empty")?;
        Ok(saved)
    }

    /// Reads a `docker save` archive, of any version: its images, in its order, each with its names.
    ///
    /// # Errors
    /// It is none.
    pub fn read(archive: &Path) -> Result<Vec<(Vec<String>, Self)>> {
        let unpacked = tempfile::tempdir().context("making a directory to unpack into")?;
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(unpacked.path())
            .output()?;
        let read = |name: &str| {
            fs::read(unpacked.path().join(name)).with_context(|| format!("reading {name} of the saved image"))
        };
        let digest = |value: &Value| {
            let name = value.as_str().context("manifest.json has no such name")?;
            read(name).map(|bytes| layout::digest(&bytes))
        };
        let manifest: Vec<Value> = serde_json::from_slice(&read("manifest.json")?)
            .context("reading manifest.json of the saved image")?;
        let one = |image: &Value| {
            let layers = image["Layers"]
                .as_array()
                .context("manifest.json has no layers")?
                .iter()
                .map(digest)
                .collect::<Result<_>>()?;
            let names = serde_json::from_value(image["RepoTags"].clone()).unwrap_or_default();
            let config = digest(&image["Config"])?;
            Ok((names, Self { config, layers }))
        };
        manifest.iter().map(one).collect()
    }
}
