//! `vcontainer bundle --import vm`: the real engine fills the store, and the result is that of our own writer.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::layout::Image;
use e2e::person;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::tree;
use e2e::trials::Trials;
use serde_json::Value;
use vcontainer_guest::Engine;

use crate::images::{self, Images};
use crate::stores;

/// More images than the kernel's command line had room for when they were named there.
const MANY: usize = 20;

pub fn add(trials: &mut Trials) {
    for engine in Engine::ALL {
        trials.anywhere(
            &format!("imported::{engine}_fills_the_store_as_we_do"),
            move || fills(engine),
        );
    }
}

fn fills(engine: Engine) -> Result<()> {
    let images = Images::new(engine)?;
    let small = small(&images)?;
    let mut entries = vec![images.entry("probe"), images.entry("derived")];
    entries.extend(small.keys().map(|name| images.entry(name)));
    images
        .bundle()
        .args(["--tar", "native.tar"])
        .args(&entries)
        .output()?;
    match engine {
        Engine::Docker => {
            let outcome = images
                .bundle()
                .args(["--import", "vm", "--tar", "vm.tar"])
                .args(&entries)
                .outcome()?;
            assert_eq!((outcome.stderr.as_str(), outcome.status.code()), ("", Some(0)));
        }
        Engine::Podman => {
            // Into a directory, by one who pretends to be root.
            let script = r#"set -e; mkdir root
                vcontainer bundle --quiet --arch aarch64 --images images --import vm --rootfs root --no-target-check "$@"
                tar -C root --format=posix --xattrs --xattrs-include='*' --numeric-owner -cf vm.tar ."#;
            let outcome = images
                .person
                .command("fakeroot")
                .args(["sh", "-c", script, "bundle"])
                .args(&entries)
                .outcome()?;
            assert_eq!((outcome.stderr.as_str(), outcome.status.code()), ("", Some(0)));
        }
    }
    images.person.alone()?;
    let (of_engine, of_ours) = (inspect(&images, "vm.tar")?, inspect(&images, "native.tar")?);
    let lines = of_engine.lines().zip(of_ours.lines());
    assert_eq!(lines.clone().find(|(theirs, ours)| theirs != ours), None);
    assert_eq!(of_engine.lines().count(), of_ours.lines().count());
    let ours = stores::layers(&images.person.path("work/native.tar"), engine)?;
    let genuine = stores::layers(&images.person.path("work/vm.tar"), engine)?;
    let mut expected = stores::expected(&images.derived, &genuine)?;
    for image in small.values() {
        expected.extend(stores::expected(image, &genuine)?);
    }
    let chains = |layers: &BTreeMap<Vec<String>, tree::Tree>| layers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(chains(&expected), chains(&ours), "which layers are there");
    assert_eq!(chains(&genuine), chains(&ours), "which layers are there");
    for (chain, tree) in ours {
        let found = stores::without_time_of_root(tree);
        let differences = tree::differences(&expected[&chain], &found);
        assert!(differences.is_empty(), "{chain:?}\n{}", differences.join("\n"));
    }
    Ok(())
}

/// Images that share a base and differ in a file.
fn small(images: &Images) -> Result<BTreeMap<String, Image>> {
    let directory = images.person.path("work/images");
    let base = Tarball::new(Format::Pax)
        .directory("etc/", Meta::mode(0o755))
        .file("etc/base", Meta::mode(0o644), "base\n")
        .finish(0);
    let mut made = BTreeMap::new();
    for number in 1..=MANY {
        let name = format!("small-image-number-{number:02}");
        let own = Tarball::new(Format::Pax)
            .file("etc/number", Meta::mode(0o600).owner(5, 6), format!("{number}\n"))
            .finish(0);
        let image = Image {
            architecture: "arm64".into(),
            layers: vec![base.clone(), own],
            config: serde_json::json!({"Cmd": ["/none"]}),
        };
        images::add(&directory, &name, &image)?;
        made.insert(name, image);
    }
    person::give_all(&directory)?;
    Ok(made)
}

/// What `vcontainer inspect` says of a store in a tar archive, but for what belongs to one import alone.
fn inspect(images: &Images, archive: &str) -> Result<String> {
    let script = r#"set -e
        directory=$(mktemp -d); trap 'rm -rf "$directory"' EXIT
        tar -C "$directory" -xp --numeric-owner --xattrs --xattrs-include='*' --delay-directory-restore \
            --warning=no-unknown-keyword -f "$1"
        vcontainer inspect --format json "$directory""#;
    let outcome = images
        .person
        .command("fakeroot")
        .args(["sh", "-c", script, "inspect", archive])
        .outcome()?;
    assert_eq!((outcome.stderr.as_str(), outcome.status.code()), ("", Some(0)));
    let mut found: Value = serde_json::from_str(&outcome.stdout).context("reading what inspect says")?;
    let store = found[0].as_object_mut().context("inspect found no store")?;
    store.remove("path");
    if images.engine == Engine::Docker {
        // `docker load` knows no digest of a manifest.
        for image in store["images"]
            .as_array_mut()
            .context("inspect found no images")?
        {
            image["digests"] = Value::Null;
        }
    }
    Ok(serde_json::to_string_pretty(&found)?)
}
