//! Generated images: what our stores show is what the engine's own import of the same images shows.
//!
//! `VCONTAINER_SEED` is the seed of the first image, each further one has the next; `VCONTAINER_IMAGES` says how many
//! (a long run: 100).

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::generated::Generated;
use e2e::layout::{Compression, Layout, digest, docker_archive};
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::tool::Target;
use e2e::tree::{self, Tree};
use e2e::trials::Trials;
use tempfile::TempDir;

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(
        suite,
        "docker_sees_generated_trees_as_its_own_imports",
        move || docker(suite),
    );
    trials.engine(
        suite,
        "podman_sees_generated_trees_as_its_own_imports",
        move || podman(suite),
    );
}

/// The images, and layouts of them in a directory.
struct Images {
    list: Vec<Generated>,
    directory: TempDir,
}

impl Images {
    fn new() -> Result<Self> {
        let (seed, count) = (number("VCONTAINER_SEED", 1)?, number("VCONTAINER_IMAGES", 12)?);
        println!("VCONTAINER_SEED={seed} VCONTAINER_IMAGES={count}");
        let list: Vec<Generated> = (0..count)
            .map(|number| Generated::new(seed.wrapping_add(number)))
            .collect();
        let directory = scratch_directory()?;
        for generated in &list {
            let mut layout = Layout::create(directory.path().join(name(generated)))?;
            let descriptor = layout.add(&generated.image, Compression::Gzip)?;
            layout.name(&descriptor, Some("latest"))?;
        }
        Ok(Self { list, directory })
    }

    fn bundled(&self, suite: Suite, engine: &str) -> Result<Target> {
        let target = Target::new(suite)?;
        let directory = self.directory.path().to_string_lossy();
        let entries: Vec<String> = self
            .list
            .iter()
            .map(|generated| format!("{}:{engine}", name(generated)))
            .collect();
        let mut words = vec!["--arch", "x86_64", "--images", &directory];
        words.extend(entries.iter().map(String::as_str));
        target.bundle(&words)?;
        Ok(target)
    }

    /// All that differ are told, each with what it is made of.
    fn compare(&self, ours: &impl Engine, genuine: &impl Engine) -> Result<()> {
        let mut differing = Vec::new();
        for generated in &self.list {
            let expected = without_deviations(generated, look(genuine, generated)?);
            let differences = tree::differences(&expected, &look(ours, generated)?);
            if !differences.is_empty() {
                differing.push(format!(
                    "VCONTAINER_SEED={} VCONTAINER_IMAGES=1\n{}\n{}",
                    generated.seed,
                    differences.join("\n"),
                    generated.story
                ));
            }
        }
        ensure!(
            differing.is_empty(),
            "{} of {} images differ:\n{}",
            differing.len(),
            self.list.len(),
            differing.join("\n")
        );
        Ok(())
    }
}

fn docker(suite: Suite) -> Result<()> {
    let images = Images::new()?;
    let target = images.bundled(suite, "docker")?;
    let machine = target.machine().start()?;
    let docker = Docker::start(&machine, Store::Overlay2)?;
    let store = scratch_directory()?;
    let genuine_machine = Builder::new(suite)
        .bind(store.path(), "/var/lib/docker")
        .start()?;
    let genuine = Docker::start(&genuine_machine, Store::Overlay2)?;
    for generated in &images.list {
        let archive = docker_archive(&generated.image, &format!("{}:latest", name(generated)));
        fs::write(genuine_machine.shared().join("image.tar"), archive)?;
        genuine
            .cli(&["load", "-i", "/shared/image.tar"])
            .with_context(|| format!("Docker does not take:\n{}", generated.story))?;
    }
    images.compare(&docker, &genuine)
}

fn podman(suite: Suite) -> Result<()> {
    let images = Images::new()?;
    let target = images.bundled(suite, "podman")?;
    let machine = target.machine().start()?;
    let podman = Podman::new(&machine)?;
    let store = scratch_directory()?;
    let genuine_machine = Builder::new(suite)
        .bind(store.path(), "/var/lib/containers/storage")
        .bind(images.directory.path(), "/images")
        .start()?;
    let genuine = Podman::new(&genuine_machine)?;
    for generated in &images.list {
        let source = format!("oci:/images/{}:latest", name(generated));
        genuine
            .cli(&["pull", "--quiet", &source])
            .with_context(|| format!("Podman does not take:\n{}", generated.story))?;
    }
    images.compare(&podman, &genuine)
}

fn name(generated: &Generated) -> String {
    format!("seed{}", generated.seed)
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is {text:?}, which is no number")),
        Err(_) => Ok(default),
    }
}

/// What the engine shows of the image, directory times included: only the root has the time of its making.
fn look(engine: &impl Engine, generated: &Generated) -> Result<Tree> {
    let config = digest(&generated.image.configuration());
    let id = config.trim_start_matches("sha256:");
    let mut tree = engine.look_at_merged(id, tree::read_with_directory_times)?;
    if let Some(root) = tree.get_mut(".") {
        root.mtime = None;
    }
    Ok(tree)
}

/// The tree that our store should show: docs/formats/stores.md, "Differences that are on purpose".
fn without_deviations(generated: &Generated, mut genuine: Tree) -> Tree {
    genuine.retain(|_, entry| entry.kind != "ghost");
    generated.describe_implied(&mut genuine);
    genuine
}
