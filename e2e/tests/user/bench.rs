//! A folder with images, a target root filesystem, and the tool, which anybody may run there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::layout::{Compression, Descriptor, Image, Layout};
use e2e::process::{Command, Outcome};
use e2e::tarball::{Format, Meta, Tarball};
use e2e::{privilege, tool, tree};
use serde_json::json;
use tempfile::TempDir;

use crate::who::{self, Who};

/// Programs that tell a bundler what the target is: the beginning of an ELF file for arm64.
const PROGRAM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";

/// The folder: images in `deploy`, a root filesystem in `root`, `tmp` for temporary files, `out` for whatever is made.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// A folder without images. The root filesystem is merged-usr, for arm64, with systemd, Docker and Podman 5.4; the
    /// user who runs the tests owns it.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let bench = Self { folder };
        let binary = bench.path("vcontainer");
        if fs::hard_link(tool::binary()?, &binary).is_err() {
            // By another process: a descriptor that is open for writing here would be inherited by what other tests
            // start meanwhile, and the program be "busy".
            Command::new("cp").arg(tool::binary()?).arg(&binary).output()?;
        }
        for name in ["deploy", "tmp", "out"] {
            fs::create_dir(bench.path(name))?;
        }
        for program in [
            "usr/sbin/dockerd",
            "usr/bin/docker",
            "usr/bin/podman",
            "usr/lib/systemd/systemd",
            "usr/lib/systemd/system-generators/podman-system-generator",
        ] {
            bench.write(&format!("root/{program}"), PROGRAM)?;
        }
        for directory in ["etc", "var/lib"] {
            fs::create_dir_all(bench.path(&format!("root/{directory}")))?;
        }
        symlink("usr/lib", bench.path("root/lib"))?;
        bench.write(
            "root/var/lib/dpkg/status",
            "Package: podman\nStatus: install ok installed\nVersion: 5.4.2+ds1-2\n",
        )?;
        bench.settle()?;
        bench.give("tmp")?;
        bench.give("out")?;
        Ok(bench)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the directories that it lies in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }

    /// Gives everything in the root filesystem the same old time.
    pub fn settle(&self) -> Result<()> {
        Command::new("find")
            .arg(self.path("root"))
            .args(["-exec", "touch", "-h", "-d", "@1500000000", "{}", "+"])
            .output()?;
        Ok(())
    }

    /// Gives a path, with everything below it, to the ordinary user.
    pub fn give(&self, name: &str) -> Result<()> {
        if privilege::is_root() {
            Command::new("chown")
                .args(["-hR", &format!("{0}:{0}", who::NUMBER)])
                .arg(self.path(name))
                .output()?;
        }
        Ok(())
    }

    /// Copies the root filesystem `from` as `to`, with everything.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        Command::new("cp")
            .arg("-a")
            .args([self.path(from), self.path(to)])
            .output()?;
        Ok(())
    }

    /// Puts an image into `deploy` as the layout `NAME-latest-oci`.
    pub fn image(&self, name: &str, image: &Image) -> Result<Descriptor> {
        self.image_as(name, image, Compression::Gzip)
    }

    /// The same with layers that are compressed so.
    pub fn image_as(&self, name: &str, image: &Image, compression: Compression) -> Result<Descriptor> {
        let mut layout = Layout::create(self.layout(name))?;
        let descriptor = layout.add(image, compression)?;
        layout.name(&descriptor, Some("latest"))?;
        Ok(descriptor)
    }

    /// Where the layout of an image is.
    pub fn layout(&self, name: &str) -> PathBuf {
        self.path(&format!("deploy/{name}-latest-oci"))
    }

    /// A command line that runs in the folder, with nothing of the tester's environment.
    pub fn command(&self, who: Who, words: &[&str]) -> Command {
        self.command_with(who, &[], words)
    }

    /// The same with environment variables, `NAME=VALUE`.
    pub fn command_with(&self, who: Who, environment: &[&str], words: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("env")
            .args(["-i", "LC_ALL=C", &format!("PATH={path}")])
            .arg(format!("HOME={}", self.path("tmp").display()))
            .arg(format!("TMPDIR={}", self.path("tmp").display()))
            .args(environment)
            .args(who.words(self.folder.path()))
            .args(words)
            .directory(self.folder.path())
    }

    /// `vcontainer bundle --images deploy WORDS`, to its end.
    pub fn bundle(&self, who: Who, words: &[&str]) -> Result<Outcome> {
        self.command(who, &[BUNDLE, words].concat()).outcome()
    }

    /// What `vcontainer inspect` says of `path`.
    pub fn inspect(&self, path: &str) -> Result<serde_json::Value> {
        let said = self
            .command(
                Who::Tester,
                &["./vcontainer", "inspect", "--format", "json", path],
            )
            .output()?;
        Ok(serde_json::from_str(&said)?)
    }

    /// Everything in a root filesystem, with the times of directories.
    pub fn tree(&self, root: &str) -> Result<tree::Tree> {
        tree::read_with_directory_times(&self.path(root))
    }

    /// The bundle of these words fails with one error that says all this, as a tar stream that the ordinary user
    /// writes and as a directory; the root filesystem is as it was, and nothing else is left.
    pub fn refused(&self, words: &[&str], says: &[&str]) -> Result<()> {
        let tar = ["--rootfs", "root", "--tar", "out/x.tar"];
        self.refused_by(Who::Ordinary, &[&tar, words].concat(), says)?;
        self.refused_in_directory(words, says)
    }

    /// The same, only as a directory.
    pub fn refused_in_directory(&self, words: &[&str], says: &[&str]) -> Result<()> {
        self.refused_by(Who::writer(), &[&["--rootfs", "root"], words].concat(), says)
    }

    /// The bundle of these words fails with one error that says all this; the root filesystem is as it was, and
    /// nothing else is left.
    pub fn refused_by(&self, who: Who, words: &[&str], says: &[&str]) -> Result<()> {
        let before = self.tree("root")?;
        let outcome = self.bundle(who, words)?;
        check_refusal(&outcome, says)?;
        let changed = tree::differences(&before, &self.tree("root")?);
        ensure!(
            changed.is_empty(),
            "{} changed:\n{}",
            outcome.command,
            changed.join("\n")
        );
        self.nothing_left()
    }

    /// Nothing is in `tmp` and nothing in `out`.
    pub fn nothing_left(&self) -> Result<()> {
        for name in ["tmp", "out"] {
            let left = names(&self.path(name))?;
            ensure!(left.is_empty(), "left behind in {name}: {left:?}");
        }
        Ok(())
    }
}

/// The beginning of most command lines.
pub const BUNDLE: &[&str] = &[
    "./vcontainer",
    "bundle",
    "--no-sync",
    "--quiet",
    "--images",
    "deploy",
];

/// The run ended with 1 and one error that says all this.
pub fn check_refusal(outcome: &Outcome, says: &[&str]) -> Result<()> {
    let Outcome { command, stderr, .. } = outcome;
    let code = outcome.status.code();
    ensure!(
        code == Some(1),
        "{command} ended with {}:\n{stderr}",
        outcome.status
    );
    ensure!(outcome.stdout.is_empty(), "{command} wrote to standard output");
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    ensure!(errors == 1, "{command} should say one error:\n{stderr}");
    for part in says {
        ensure!(stderr.contains(part), "{command} should say `{part}`:\n{stderr}");
    }
    ensure!(!stderr.contains("panicked"), "{command} panicked:\n{stderr}");
    Ok(())
}

/// An arm64 image of two layers: one that all these have, and one with a file of this content.
pub fn small(content: &str) -> Image {
    let base = layer(&[("etc/base", "base")]);
    image(vec![base, layer(&[("etc/name", content)])])
}

/// An arm64 image of these layers.
pub fn image(layers: Vec<Vec<u8>>) -> Image {
    Image {
        architecture: "arm64".into(),
        layers,
        config: json!({"Cmd": ["/bin/sh"]}),
    }
}

/// A layer of these files, with their directories.
pub fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tarball = Tarball::new(Format::Pax);
    let mut made: Vec<&str> = Vec::new();
    for (name, content) in files {
        if let Some((directory, _)) = name.rsplit_once('/')
            && !made.contains(&directory)
        {
            made.push(directory);
            tarball = tarball.directory(format!("{directory}/"), Meta::mode(0o755));
        }
        tarball = tarball.file(name, Meta::mode(0o644), content);
    }
    tarball.finish(0)
}

/// A layer of one file with bytes that don't compress.
pub fn noise(name: &str, bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let content: Vec<u8> = (0..bytes.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    Tarball::new(Format::Pax)
        .file(name, Meta::mode(0o644), content)
        .finish(0)
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = fs::read_dir(directory)
        .with_context(|| format!("listing {}", directory.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
