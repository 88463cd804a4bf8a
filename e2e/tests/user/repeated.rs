//! The same again, more on top, many at once, and one image in all the forms that images come in.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail, ensure};
use e2e::layout::{self, Compression, Layout};
use e2e::process::Command;
use e2e::trials::Trials;
use serde_json::Value;

use crate::alter;
use crate::bench::{Bench, image, layer, names, noise, small};
use crate::unprivileged::{Store, probes, same};
use crate::who::Who;

pub fn add(trials: &mut Trials) {
    for store in Store::ALL {
        let name = |what: &str| format!("repeated::{what}_{}", store.name());
        trials.anywhere(&name("the_same_stream"), move || same_stream(store));
        trials.anywhere(&name("the_same_directory"), move || same_directory(store));
        trials.anywhere(&name("one_after_the_other_and_both_at_once"), move || {
            additive(store)
        });
    }
    trials.anywhere("repeated::fifty_images", fifty);
    trials.anywhere("repeated::one_image_in_every_form", forms);
    trials.anywhere("repeated::names_and_paths", naming);
}

/// Surroundings that must make no difference: environment, umask, options.
const SURROUNDINGS: &[(&[&str], &str, &[&str])] = &[
    (&["TZ=UTC"], "022", &["--jobs=1"]),
    (
        &["TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "LANG=de_DE.UTF-8"],
        "077",
        &["--jobs=4"],
    ),
    (
        &["TZ=America/New_York", "COLUMNS=20", "VCONTAINER_JOBS=2"],
        "000",
        &[],
    ),
];

/// A script that bundles with this umask; its arguments are those of the bundle.
fn script(umask: &str) -> String {
    format!("umask {umask} && exec ./vcontainer bundle --no-sync --quiet --images deploy \"$@\"")
}

fn same_stream(store: Store) -> Result<()> {
    let mut streams: Vec<(String, Vec<u8>)> = Vec::new();
    for (environment, umask, options) in SURROUNDINGS {
        let bench = probes()?;
        let script = script(umask);
        for who in [Who::Ordinary, Who::Tester] {
            for name in ["x.tar", "x.tar.zst"] {
                let tar = format!("out/{who:?}-{name}");
                let output = ["--rootfs", "root", "--tar", &tar];
                let words = [&["sh", "-c", &script, "sh"], &output, *options, store.words()].concat();
                bench.command_with(who, environment, &words).output()?;
                streams.push((name.into(), fs::read(bench.path(&tar))?));
            }
        }
        // The order of what is asked for makes no difference either.
        let mut reversed = store.words().to_vec();
        if let Store::Engines = store {
            reversed.reverse();
        }
        let output = ["--rootfs=root", "--tar=out/reversed.tar"];
        bench
            .bundle(Who::Ordinary, &[&output, &reversed[..]].concat())?
            .success()?;
        streams.push(("x.tar".into(), fs::read(bench.path("out/reversed.tar"))?));
    }
    for name in ["x.tar", "x.tar.zst"] {
        let mut of_form = streams
            .iter()
            .filter(|(form, _)| form == name)
            .map(|(_, bytes)| bytes);
        let first = of_form.next().context("no stream")?;
        ensure!(first.len() > 10_000);
        ensure!(of_form.all(|bytes| bytes == first), "streams {name} differ");
    }
    Ok(())
}

/// Bundles twice into `root` and packs what is there after each, in one session: outside of it owners, modes and
/// devices that were only pretended look different. The umask comes in front.
const TWICE: &str =
    "pack() { tar --create --sort=name --format=posix --pax-option=delete=atime,delete=ctime,\
exthdr.name=%d/PaxHeaders/%f --xattrs --xattrs-include='*' --directory root --file \"$1\" .; }
bundle() { ./vcontainer bundle --no-sync --quiet --images deploy --rootfs root \"$@\"; }
chown -hR 0:0 root && bundle \"$@\" && pack out/once.tar && bundle \"$@\" && pack out/twice.tar";

fn same_directory(store: Store) -> Result<()> {
    let mut first: Option<String> = None;
    for (environment, umask, options) in SURROUNDINGS {
        let bench = probes()?;
        bench.give("root")?;
        let script = format!("umask {umask}\n{TWICE}");
        let words = [&["sh", "-c", &script, "sh"], *options, store.words()].concat();
        bench.command_with(Who::writer(), environment, &words).output()?;
        for name in ["once", "twice"] {
            let tar = fs::read(bench.path(&format!("out/{name}.tar")))?;
            let digest = layout::digest(&tar);
            let list = bench
                .command(
                    Who::Tester,
                    &["tar", "--list", "-vv", "--full-time", "--numeric-owner", "--file"],
                )
                .arg(format!("out/{name}.tar"))
                .output()?;
            let found = format!("{digest}\n{list}");
            match &first {
                None => first = Some(found),
                Some(first) if *first == found => {}
                Some(first) => {
                    let other: Vec<&str> = first.lines().collect();
                    let lines = found.lines().filter(|line| !other.contains(line)).take(20);
                    let lines: Vec<&str> = lines.collect();
                    bail!(
                        "{name}, {environment:?}, umask {umask}: another tree:\n{}",
                        lines.join("\n")
                    );
                }
            }
        }
    }
    Ok(())
}

/// What `inspect` lists, without paths.
fn listing(bench: &Bench, root: &str) -> Result<Value> {
    let mut said = bench.inspect(root)?;
    for store in said.as_array_mut().context("no list")? {
        store["path"] = Value::Null;
    }
    Ok(said)
}

/// Inode and time of every file below the layers' directories.
fn inodes(bench: &Bench, root: &str) -> Result<BTreeMap<String, (u64, i64, i64)>> {
    let tree = e2e::tree::read(&bench.path(root))?;
    let files = tree.iter().filter(|(path, entry)| {
        let of_layer = path.contains("/diff/") || path.contains("/fs/") || path.contains("/blobs/");
        of_layer && entry.kind.starts_with("file")
    });
    files
        .map(|(path, _)| {
            let metadata = fs::symlink_metadata(bench.path(root).join(path))?;
            Ok((
                path.clone(),
                (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()),
            ))
        })
        .collect()
}

fn additive(store: Store) -> Result<()> {
    let bench = Bench::new()?;
    let base = noise("base", 100_000, 1);
    for name in ["first", "second"] {
        bench.image(name, &image(vec![base.clone(), layer(&[("etc/name", name)])]))?;
    }
    let (options, entries): (&[&str], &[[&str; 2]]) = match store {
        Store::Engines => (
            &[],
            &[
                ["first:docker:always", "first:podman"],
                ["second:docker:always", "second:podman:always"],
            ],
        ),
        Store::Containerd => (
            &["--docker-store=containerd"],
            &[["first:docker:always", ""], ["second:docker", ""]],
        ),
    };
    bench.copy("root", "both")?;
    let bundle = |root: &str, entries: &[&str]| -> Result<()> {
        let words = [&["--rootfs", root], options, entries].concat();
        bench.bundle(Who::writer(), &words)?.success()?;
        Ok(())
    };
    bundle("root", &entries[0])?;
    let before = inodes(&bench, "root")?;
    ensure!(before.len() >= 2, "{before:?}");
    bundle("root", &entries[1])?;
    let after = inodes(&bench, "root")?;
    for (path, inode) in &before {
        ensure!(after.get(path) == Some(inode), "{path} was written anew");
    }
    let new: Vec<&String> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    ensure!(
        !new.iter().any(|path| path.ends_with("/base")),
        "the shared layer was written twice: {new:?}"
    );
    bundle("both", &entries.concat())?;
    assert_eq!(listing(&bench, "root")?, listing(&bench, "both")?);
    let unit = bench.path("root/usr/lib/systemd/system/container-first.service");
    ensure!(unit.is_file(), "the first unit is gone");
    // Not only what is listed: but for containerd's database, whose numbers count the runs, and for times, the bytes.
    if let Store::Engines = store {
        same(
            &e2e::tree::read(&bench.path("both"))?,
            &e2e::tree::read(&bench.path("root"))?,
        )?;
    }
    Ok(())
}

fn fifty() -> Result<()> {
    let bench = Bench::new()?;
    let base = noise("base", 50_000, 1);
    let mut entries = Vec::new();
    for number in 0..50 {
        let name = format!("image-{number}");
        bench.image(&name, &image(vec![base.clone(), layer(&[("etc/name", &name)])]))?;
        entries.push(format!("{name}:docker:always"));
        entries.push(format!("{name}:podman"));
    }
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    bench.copy("root", "fresh")?;
    bench
        .bundle(Who::writer(), &[&["--rootfs=root"], &entries[..]].concat())?
        .success()?;
    for (store, prefix) in [("docker", ""), ("containers/storage", "localhost/")] {
        let said = bench.inspect(&format!("root/var/lib/{store}"))?;
        let images = said[0]["images"].as_array().context("no images")?;
        assert_eq!(images.len(), 50);
        assert_eq!(said[0]["layers"].as_array().map(Vec::len), Some(51));
        for number in 0..50 {
            let name = format!("{prefix}image-{number}:latest");
            let known = images.iter().any(|image| {
                image["names"].as_array().is_some_and(|names| {
                    names
                        .iter()
                        .any(|other| other.as_str().is_some_and(|other| other.ends_with(&name)))
                })
            });
            ensure!(known, "{store} lacks {name}");
        }
    }
    let units = names(&bench.path("root/usr/lib/systemd/system"))?;
    let units: Vec<&String> = units
        .iter()
        .filter(|name| name.starts_with("container-image-"))
        .collect();
    assert_eq!(units.len(), 50);
    // All in one argument, as a value of bitbake is.
    fs::remove_dir_all(bench.path("root"))?;
    bench.copy("fresh", "root")?;
    bench
        .bundle(
            Who::Ordinary,
            &["--rootfs=root", "--tar=out/x.tar", &entries.join(" \n ")],
        )?
        .success()?;
    Ok(())
}

/// The layout of an image as another form of it: documents reformatted, indexes nested, packed.
fn forms() -> Result<()> {
    let bench = Bench::new()?;
    let image = small("forms");
    bench.image("plain", &image)?;
    let other = layout::Image {
        architecture: "amd64".into(),
        ..image.clone()
    };
    // Flat and nested indexes, and one index in another.
    for (name, depth) in [("flat", 0), ("nested", 1), ("deep", 2)] {
        let mut layout = Layout::create(bench.layout(name))?;
        let mut all = vec![
            layout.add(&other, Compression::Gzip)?,
            layout.add(&image, Compression::Gzip)?,
        ];
        for _ in 0..depth {
            all = vec![layout.add_index(&all)?];
        }
        for descriptor in &all {
            layout.name(descriptor, None)?;
        }
    }
    // Documents that are not ours to reformat keep their digests; the layout's own index has none.
    for (name, from) in [("pretty", "plain"), ("pretty-nested", "nested")] {
        Command::new("cp")
            .arg("-a")
            .args([bench.layout(from), bench.layout(name)])
            .output()?;
        let index = alter::index(&bench.layout(name))?;
        fs::write(
            bench.layout(name).join("index.json"),
            serde_json::to_vec_pretty(&index)?,
        )?;
    }
    // And an image whose documents are pretty from the start: another digest, the same layers.
    bench.image("pretty-documents", &image)?;
    let layout = bench.layout("pretty-documents");
    let mut index = alter::index(&layout)?;
    let mut manifest = alter::manifest(&layout)?;
    let config: Value = serde_json::from_slice(&fs::read(alter::blob(&layout, &manifest["config"])?)?)?;
    alter::put(
        &layout,
        &mut manifest["config"],
        &serde_json::to_vec_pretty(&config)?,
    )?;
    alter::put(
        &layout,
        &mut index["manifests"][0],
        &serde_json::to_vec_pretty(&manifest)?,
    )?;
    alter::write_index(&layout, &index)?;
    // Archives.
    let pack = "cd \"$1\" && tar --create --file \"$2.tar\" . && gzip --keep \"$2.tar\" && zstd --quiet --keep \"$2.tar\"";
    let stem = bench.path("deploy/packed");
    Command::new("sh")
        .args(["-c", pack, "sh"])
        .args([bench.layout("plain"), stem])
        .output()?;
    bench.write("deploy/saved.tar", layout::docker_archive(&image, "saved:1"))?;
    let given = |name: &str| format!("--image={}=deploy/{name}", name.replace(['.', '_'], "-"));
    let paths = ["packed.tar", "packed.tar.gz", "packed.tar.zst", "saved.tar"];
    let mut words: Vec<String> = paths.iter().map(|name| given(name)).collect();
    let layouts = [
        "plain",
        "flat",
        "nested",
        "deep",
        "pretty",
        "pretty-nested",
        "pretty-documents",
    ];
    let all = paths
        .iter()
        .map(|name| name.replace(['.', '_'], "-"))
        .chain(layouts.map(String::from));
    let all: Vec<String> = all.collect();
    for name in &all {
        words.push(format!("{name}:docker"));
        words.push(format!("{name}:podman"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    bench
        .bundle(Who::writer(), &[&["--rootfs=root"], &words[..]].concat())?
        .success()?;
    let said = bench.inspect("root/var/lib/docker")?;
    // One image under ten names, and the one with documents of its own; all with the same two layers.
    let images = said[0]["images"].as_array().context("no images")?;
    let mut numbers: Vec<usize> = images
        .iter()
        .filter_map(|image| image["names"].as_array().map(Vec::len))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, all.len() - 1]);
    assert_eq!(said[0]["layers"].as_array().map(Vec::len), Some(2));
    Ok(())
}

fn naming() -> Result<()> {
    let bench = Bench::new()?;
    for name in ["myapp-2", "myapp", "vendor"] {
        bench.image(name, &small(name))?;
    }
    let mut layout = Layout::create(bench.path("my images/it's; a \"name\" $HOME/myapp-1.0-oci"))?;
    let descriptor = layout.add(&small("1.0"), Compression::Gzip)?;
    layout.name(&descriptor, Some("1.0"))?;
    bench.copy("root", "root file system\nof \u{fc}s")?;
    let words = [
        "--rootfs=root file system\nof \u{fc}s",
        "--images=my images/it's; a \"name\" $HOME",
        "--image=localhost:5000/team/tool:7=deploy/vendor-latest-oci",
        "myapp-2:docker:always",
        "myapp-1.0-oci:docker",
        "myapp-1.0-oci:podman",
        "vendor:docker:external",
        "vendor:podman:always:external",
        "localhost:5000/team/tool:7:docker:always",
        "localhost:5000/team/tool:7:podman",
    ];
    bench.bundle(Who::writer(), &words)?.success()?;
    bench.copy("root file system\nof \u{fc}s", "done")?;
    let listed = |store: &str| -> Result<Vec<String>> {
        let said = bench.inspect(&format!("done/var/lib/{store}"))?;
        let images = said[0]["images"].as_array().context("no images")?.iter();
        let names = images.filter_map(|image| image["names"].as_array()).flatten();
        let mut names: Vec<String> = names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    };
    assert_eq!(
        listed("docker")?,
        [
            "localhost:5000/team/tool:7",
            "myapp-2:latest",
            "myapp:1.0",
            "vendor:latest"
        ]
    );
    assert_eq!(
        listed("containers/storage")?,
        [
            "localhost/myapp:1.0",
            "localhost/vendor:latest",
            "localhost:5000/team/tool:7"
        ]
    );
    let unit = |name: &str| fs::read_to_string(bench.path(&format!("done/{name}")));
    assert!(unit("usr/lib/systemd/system/container-myapp-2.service")?.contains("myapp-2:latest"));
    assert!(unit("usr/lib/systemd/system/container-tool.service")?.contains("localhost:5000/team/tool:7"));
    assert!(unit("etc/containers/systemd/vendor.container")?.contains("localhost/vendor"));
    // `external` is no policy.
    ensure!(
        !bench
            .path("done/usr/lib/systemd/system/container-vendor.service")
            .exists()
    );
    Ok(())
}
