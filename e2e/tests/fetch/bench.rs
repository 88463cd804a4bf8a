//! Somebody who has pushed an image for two platforms.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::layout::digest;
use e2e::person::Person;
use e2e::process::{Command, Outcome};
use e2e::random::Random;
use e2e::registry::HostRegistry;
use serde_json::Value;

/// Size of the one large file of each platform: the layers cannot be much smaller.
pub const LARGE: usize = 8 << 20;

/// Architectures as vcontainer and as OCI call them.
pub const PLATFORMS: [(&str, &str); 2] = [("aarch64", "arm64"), ("x86_64", "amd64")];

/// The name of the image in its registry.
pub const NAME: &str = "team/app";

/// A person; in their `work` lie `app-1-oci` with both platforms and below the name of each the image of its own.
pub struct Bench {
    pub person: Person,
    /// The digest of the index.
    pub index: String,
}

impl Bench {
    pub fn new() -> Result<Self> {
        let person = Person::new()?;
        for (number, (machine, _)) in PLATFORMS.into_iter().enumerate() {
            person.directory("work/root")?;
            let mut bytes = vec![0; LARGE];
            Random::new(number as u64).fill(&mut bytes);
            person.write("work/root/large", bytes)?;
            person
                .command("vcontainer")
                .args(["oci", "build", "--quiet", "--rootfs=root", "--arch", machine])
                .args(["--output", machine, "app"])
                .output()?;
        }
        let layouts = PLATFORMS.map(|(machine, _)| format!("{machine}/app-latest-oci"));
        person
            .command("vcontainer")
            .args(["oci", "index", "--quiet", "app:1"])
            .args(layouts)
            .output()?;
        let entry: Value = serde_json::from_slice(&fs::read(person.path("work/app-1-oci/index.json"))?)?;
        let index = entry["manifests"][0]["digest"]
            .as_str()
            .context("no index")?
            .to_owned();
        Ok(Self { person, index })
    }

    /// A registry that anybody may use, with the image in it.
    pub fn registry(&self) -> Result<HostRegistry<'_>> {
        let registry = HostRegistry::start(&self.person)?;
        registry.push_all("app-1-oci:1", &format!("{NAME}:1"))?;
        Ok(registry)
    }

    /// The image by its digest, at a registry on this port.
    pub fn reference(&self, host: &str, port: u16) -> String {
        format!("{host}:{port}/{NAME}:1@{}", self.index)
    }

    /// `vcontainer fetch WORDS`.
    pub fn fetch(&self, words: &[&str]) -> Command {
        self.person.command("vcontainer").arg("fetch").args(words)
    }

    /// Looks at a layout that was fetched: whole, and the manifest is that which was pushed.
    pub fn check(&self, layout: &str, machine: &str) -> Result<()> {
        self.person
            .command("vcontainer")
            .args(["oci", "verify", layout])
            .output()?;
        let manifest = |layout: &Path| -> Result<Vec<u8>> {
            let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
            let digest = index["manifests"][0]["digest"].as_str().context("no manifest")?;
            Ok(fs::read(layout.join("blobs").join(digest.replace(':', "/")))?)
        };
        let pushed = manifest(&self.person.path(format!("work/{machine}/app-latest-oci")))?;
        let fetched = manifest(&self.person.path("work").join(layout))?;
        ensure!(digest(&pushed) == digest(&fetched), "{layout} is another image");
        Ok(())
    }

    /// Everything in a folder of the person by its path, files and directories.
    pub fn names(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![self.person.path(folder)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let path = entry?.path();
                names.push(path.to_string_lossy().into_owned());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
        Ok(names)
    }
}

/// One clear error: exit status 1, one `error:`, and these words in it.
pub fn is_error(outcome: &Outcome, words: &[&str]) -> Result<()> {
    let said = &outcome.stderr;
    ensure!(
        outcome.status.code() == Some(1) && said.matches("error: ").count() == 1 && outcome.stdout.is_empty(),
        "{}: {} {said}",
        outcome.command,
        outcome.status
    );
    for word in words {
        ensure!(
            said.contains(word),
            "{} does not say {word:?}:\n{said}",
            outcome.command
        );
    }
    ensure!(!said.contains("hunter2"), "a password is told: {said}");
    Ok(())
}
