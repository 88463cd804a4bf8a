//! A machine that a person uses by their own commands, and what must be true of it whatever was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail, ensure};
use e2e::engine::Saved;
use e2e::layout::{Compression, Image, Layout, digest, docker_archive};
use e2e::person::{self, Person};
use e2e::process::{Command, Outcome};
use e2e::random::Random;
use e2e::tarball::{Format, Meta, Tarball};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;
use serde_json::json;
use vcontainer_guest::{Arch, Engine};

const ARCH: Arch = Arch::Aarch64;

/// A machine with its state in a directory.
pub struct Machine<'a> {
    pub person: &'a Person,
    pub engine: Engine,
    pub state: PathBuf,
}

/// An image in a machine, as it must be there.
#[derive(Clone, Debug)]
pub struct Imported {
    /// As the engine shows it.
    pub name: String,
    pub saved: Saved,
}

/// How an image goes into a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Vimport,
    Load,
}

impl<'a> Machine<'a> {
    /// The state's directory is made, so that it can be watched from the begin.
    pub fn new(person: &'a Person, engine: Engine, name: &str) -> Result<Self> {
        let state = person.directory(&format!("home/{name}"))?;
        Ok(Self {
            person,
            engine,
            state,
        })
    }

    fn with_options(&self, command: Command) -> Command {
        command.args(["-a", ARCH.name(), "--state-dir"]).arg(&self.state)
    }

    /// A command of the tool for this machine.
    pub fn command(&self, words: &[&str]) -> Command {
        self.with_options(self.person.command(self.engine.tool()))
            .args(words)
    }

    /// The same, started, as a process that can be killed by its own number.
    pub fn start(&self, words: &[&str]) -> Result<Child> {
        self.with_options(self.person.unlimited(self.engine.tool()))
            .args(words)
            .std()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {} {}", self.engine.tool(), words.join(" ")))
    }

    /// The supervisor, if one runs.
    pub fn supervisor(&self) -> Result<Option<Pid>> {
        let Ok(text) = fs::read_to_string(self.state.join("daemon.pid")) else {
            return Ok(None);
        };
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let all = self.person.processes()?;
        let runs = all
            .iter()
            .find(|(found, words)| Some(*found) == pid && words.contains("__supervise"));
        Ok(runs.map(|(pid, _)| *pid))
    }

    /// QEMU, if it runs.
    pub fn qemu(&self) -> Result<Option<Pid>> {
        self.qemu_in(&self.state)
    }

    /// The QEMU that has its files in a directory: that of the state, or of a template that is being made.
    pub fn qemu_in(&self, directory: &Path) -> Result<Option<Pid>> {
        // The kernel knows no links; a directory that is gone is nobody's.
        let Ok(directory) = fs::canonicalize(directory) else {
            return Ok(None);
        };
        let runs_there = |pid: &Pid| {
            let found = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
            found.is_ok_and(|found| found == directory)
        };
        let all = self.person.processes()?;
        let found = all
            .iter()
            .find(|(pid, words)| words.contains("qemu-system-") && runs_there(pid));
        Ok(found.map(|(pid, _)| *pid))
    }

    /// The engine's images: their names and IDs. What may be said besides is that the machine had to boot.
    pub fn images(&self) -> Result<BTreeMap<String, String>> {
        let outcome = self.list()?;
        self.only_boots(&outcome.stderr)?;
        parsed(outcome)
    }

    /// The same after an import that may have been killed: Podman says which layers it throws away then.
    pub fn images_after_a_kill(&self) -> Result<BTreeMap<String, String>> {
        let outcome = self.list()?;
        let is_repair =
            |line: &&str| line.contains("msg=\"Found incomplete layer ") && line.ends_with(", deleting it\"");
        let others = outcome.stderr.lines().filter(|line| !is_repair(line));
        self.only_boots(&others.collect::<Vec<_>>().join("\n"))?;
        parsed(outcome)
    }

    fn list(&self) -> Result<Outcome> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        self.command(&["images", "--no-trunc", "--format", format])
            .outcome()
    }

    /// Whether nothing was said but, perhaps, that what was suspended cannot go on.
    pub fn only_boots(&self, said: &str) -> Result<()> {
        let begin = format!("[{}] the suspended machine cannot go on (", self.engine.tool());
        for line in said.lines() {
            ensure!(
                line.starts_with(&begin) && line.ends_with("): it boots anew"),
                "it says:\n{said}"
            );
        }
        Ok(())
    }

    /// Suspends the machine. Then nothing of it runs, nobody holds its lock, its files are those of a suspended machine
    /// and no others, and all is on the host's disk.
    pub fn stop(&self) -> Result<()> {
        self.command(&["vmemres", "stop"]).output()?;
        self.person.alone()?;
        let lock = File::open(self.state.join("lock")).context("opening the lock")?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context("the lock is held by nobody")?;
        drop(lock);
        let disk = format!("{}-state.img", self.engine);
        let expected: BTreeSet<&str> = [
            "console.log",
            "devices",
            "lock",
            "memory",
            "pair.json",
            "qemu.log",
            "state.json",
            &disk,
        ]
        .into();
        let found = names(&self.state)?;
        ensure!(
            found.iter().map(String::as_str).eq(expected.iter().copied()),
            "a suspended machine has the files {found:?}"
        );
        let pair: serde_json::Value = serde_json::from_slice(&fs::read(self.state.join("pair.json"))?)?;
        ensure!(pair["synced"] == json!(true), "{pair}");
        Ok(())
    }

    /// Makes the image of this number: the words of the command that imports it, and what will be there then.
    pub fn image(&self, number: usize, bytes: usize, way: Way) -> Result<(Vec<String>, Imported)> {
        let image = noise(number, bytes);
        let name = format!("image-{number}:latest");
        let words = match way {
            Way::Vimport => {
                let path = self.person.path(format!("work/image-{number}"));
                let mut layout = Layout::create(&path)?;
                let descriptor = layout.add(&image, Compression::Gzip)?;
                layout.name(&descriptor, Some("latest"))?;
                person::give_all(&path)?;
                vec!["vimport".into(), text(&path)?, name.clone()]
            }
            Way::Load => {
                let archive = docker_archive(&image, &name);
                let path = self.person.write(&format!("work/image-{number}.tar"), archive)?;
                vec!["load".into(), "-i".into(), text(&path)?]
            }
        };
        let shown = match self.engine {
            Engine::Docker => name,
            Engine::Podman => format!("localhost/{name}"),
        };
        let saved = Saved {
            config: digest(&image.configuration()),
            layers: image.diff_ids(),
        };
        Ok((words, Imported { name: shown, saved }))
    }

    /// Whether these images are there: names and IDs.
    pub fn has(&self, expected: &[Imported]) -> Result<()> {
        let found = self.images()?;
        for image in expected {
            ensure!(
                found.get(&image.name) == Some(&image.saved.config),
                "{image:?} should be there, and there are {found:?}"
            );
        }
        Ok(())
    }

    /// Whether these images can be had back, and are what they were: their configurations and layers.
    pub fn intact(&self, expected: &[Imported]) -> Result<()> {
        if expected.is_empty() {
            return Ok(());
        }
        let archive = self.person.path(format!("work/{}-saved.tar", self.engine));
        let path = text(&archive)?;
        let mut words = vec!["save", "-o", &path];
        if self.engine == Engine::Podman {
            words.push("--multi-image-archive");
        }
        words.extend(expected.iter().map(|image| image.name.as_str()));
        self.command(&words).output()?;
        let mut found = BTreeMap::new();
        for (names, saved) in Saved::read(&archive)? {
            found.extend(names.into_iter().map(|name| (name, saved.clone())));
        }
        fs::remove_file(&archive)?;
        for image in expected {
            if found.get(&image.name) != Some(&image.saved) {
                bail!("{image:?} came back as {:?}", found.get(&image.name));
            }
        }
        Ok(())
    }
}

/// A command's end and words.
pub fn finish(child: Child, what: &str) -> Result<Outcome> {
    let output = child.wait_with_output().context("waiting for a command")?;
    Ok(Outcome {
        command: what.into(),
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Result<BTreeSet<String>> {
    fs::read_dir(directory)
        .with_context(|| format!("listing {}", directory.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// An image with nothing to run, of bytes that don't compress.
fn noise(number: usize, bytes: usize) -> Image {
    let mut content = vec![0; bytes];
    Random::new(number as u64).fill(&mut content);
    let layer = Tarball::new(Format::Pax).file("noise", Meta::mode(0o644), content);
    Image {
        architecture: ARCH.debian().into(),
        layers: vec![layer.finish(0)],
        config: json!({"Cmd": ["/none"], "Labels": {"number": number.to_string()}}),
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .context("a path of the tests is no text")
}

/// Lines of names and IDs.
fn parsed(outcome: Outcome) -> Result<BTreeMap<String, String>> {
    let text = outcome.success()?;
    text.lines()
        .map(|line| {
            let (name, id) = line.split_once(' ').context("no image and ID")?;
            Ok((name.to_owned(), id.to_owned()))
        })
        .collect()
}
