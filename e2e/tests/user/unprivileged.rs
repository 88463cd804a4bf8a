//! No root: an ordinary user without capabilities and without user namespaces writes a tar stream, and what others
//! unpack from it is what root writes as a directory.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::process::Command;
use e2e::tree::{self, Tree};
use e2e::trials::Trials;
use e2e::{privilege, probe};

use crate::bench::Bench;
use crate::who::{self, Who};

pub fn add(trials: &mut Trials) {
    let root = || {
        if privilege::is_root() {
            Ok(())
        } else {
            Err("needs root")
        }
    };
    trials.anywhere("unprivileged::the_ordinary_user_is_ordinary", ordinary);
    trials.anywhere("unprivileged::help_plan_and_inspect", looks_only);
    trials.anywhere("unprivileged::gnu_tar_lists_the_stream", listed);
    for store in Store::ALL {
        let name = |what: &str| format!("unprivileged::{what}_{}", store.name());
        trials.when(root(), &name("gnu_tar_unpacks"), move || unpacked(store));
        trials.when(
            root().and(program("mksquashfs", "needs mksquashfs")),
            &name("mksquashfs_reads"),
            move || squashed(store),
        );
    }
}

/// Whether a program is there; else why a test is skipped.
pub fn program(name: &str, reason: &'static str) -> Result<(), &'static str> {
    if Command::exists(name) {
        Ok(())
    } else {
        Err(reason)
    }
}

/// Which stores a test writes.
#[derive(Clone, Copy)]
pub enum Store {
    /// Docker's overlay2 and Podman's overlay, with services.
    Engines,
    /// containerd's.
    Containerd,
}

impl Store {
    pub const ALL: [Self; 2] = [Self::Engines, Self::Containerd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Engines => "docker_and_podman",
            Self::Containerd => "containerd",
        }
    }

    /// The words that bundle into it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Engines => &[
                "probe:docker:autostart",
                "derived:docker",
                "probe:podman:autostart",
            ],
            Self::Containerd => &["--docker-store", "containerd", "probe:docker:autostart"],
        }
    }

    /// What lies in it, as directories of the root filesystem.
    fn places(self) -> &'static [&'static str] {
        match self {
            Self::Engines => &[
                "var/lib/docker",
                "var/lib/containers",
                "etc/containers",
                "usr/lib/systemd/system",
            ],
            Self::Containerd => &["var/lib/docker", "var/lib/containerd", "usr/lib/systemd/system"],
        }
    }
}

/// A bench with the images.
pub fn probes() -> Result<Bench> {
    let bench = Bench::new()?;
    let image = probe::image("arm64", b"no program");
    bench.image("probe", &image)?;
    bench.image("derived", &probe::derived(&image))?;
    Ok(bench)
}

/// What the store's directories hold, as this root filesystem has them.
fn contents(store: Store, root: &Path) -> Result<Tree> {
    let mut all = Tree::new();
    for place in store.places().iter().filter(|place| root.join(place).is_dir()) {
        let tree = tree::read_with_directory_times(&root.join(place))?;
        all.extend(tree.into_iter().map(|(path, entry)| {
            let mut entry = entry;
            if let Some(first) = entry.kind.strip_prefix("hard link to ") {
                entry.kind = format!("hard link to {place}/{first}");
            }
            (format!("{place}/{path}"), entry)
        }));
    }
    ensure!(all.len() > 20, "only {} entries in {}", all.len(), root.display());
    Ok(all)
}

/// Without fractions of seconds, which some formats cannot hold.
pub fn coarse(mut tree: Tree) -> Tree {
    for entry in tree.values_mut() {
        entry.mtime = entry.mtime.map(|(seconds, _)| (seconds, 0));
    }
    tree
}

/// Fails with what differs.
pub fn same(expected: &Tree, found: &Tree) -> Result<()> {
    let differences = tree::differences(expected, found);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn ordinary() -> Result<()> {
    let bench = Bench::new()?;
    let script = "id -u; id -G; grep -c 'Cap[A-Z][a-z]*:.*[1-9a-f]' /proc/self/status; grep NoNewPrivs /proc/self/status; \
                  unshare --user true || echo no user namespaces; mount -t tmpfs none /mnt || echo no mounts";
    let said = bench.command(Who::Ordinary, &["sh", "-c", script]).output()?;
    let lines: Vec<&str> = said.lines().collect();
    if privilege::is_root() {
        let number = who::NUMBER.to_string();
        assert_eq!(lines[..2], [&number, &number]);
    } else {
        assert_ne!(lines[0], "0");
    }
    assert_eq!(
        lines[2..],
        ["0", "NoNewPrivs:\t1", "no user namespaces", "no mounts"]
    );
    Ok(())
}

fn looks_only() -> Result<()> {
    let bench = probes()?;
    let run = |words: &[&str]| bench.command(Who::Ordinary, words).output();
    assert!(run(&["./vcontainer", "bundle", "--help"])?.contains("Examples:"));
    let before = bench.tree("root")?;
    let entries = Store::Engines.words();
    let plan = [
        "./vcontainer",
        "bundle",
        "--images",
        "deploy",
        "--rootfs",
        "root",
        "--dry-run",
    ];
    let said = run(&[&plan, entries].concat())?;
    for part in [
        "linux/arm64",
        "/var/lib/docker",
        "/var/lib/containers/storage",
        "Services:",
    ] {
        assert!(said.contains(part), "the plan lacks {part}:\n{said}");
    }
    let said = run(&["./vcontainer", "inspect", "deploy/derived-latest-oci"])?;
    assert!(said.contains("linux/arm64"), "{said}");
    same(&before, &bench.tree("root")?)?;
    bench.nothing_left()
}

/// Writes the stream as the ordinary user.
fn stream(bench: &Bench, store: Store, name: &str) -> Result<()> {
    let tar = ["--rootfs", "root", "--tar", name];
    bench
        .bundle(Who::Ordinary, &[&tar, store.words()].concat())?
        .success()?;
    Ok(())
}

/// The root filesystem as root writes it.
fn written(bench: &Bench, store: Store) -> Result<Tree> {
    let directory = ["--rootfs", "root"];
    bench
        .bundle(Who::Tester, &[&directory, store.words()].concat())?
        .success()?;
    contents(store, &bench.path("root"))
}

fn listed() -> Result<()> {
    let bench = probes()?;
    stream(&bench, Store::Engines, "out/x.tar.zst")?;
    let listing = bench
        .command(
            Who::Ordinary,
            &[
                "tar",
                "--list",
                "--verbose",
                "--numeric-owner",
                "--zstd",
                "--file",
                "out/x.tar.zst",
            ],
        )
        .output()?;
    for (mode, owner, name) in [
        ("-rwsr-xr-x", "1/2", "/diff/odd/setuid"),
        ("-rwx--s--x", "70000/70001", "/diff/odd/setgid"),
        ("crw--w----", "0/5", "/diff/odd/char"),
        ("brw-rw----", "0/6", "/diff/odd/block"),
        ("c---------", "0/0", "/diff/gone"),
        ("prw----r--", "0/0", "/diff/odd/fifo"),
        ("drwxrwx--T", "3/4", "/diff/odd/sticky/"),
        (
            "-rw-------",
            "0/0",
            "./var/lib/docker/image/overlay2/repositories.json",
        ),
        ("-rw-r--r--", "0/0", "/system/container-probe.service"),
        ("-rw-r--r--", "0/0", "./etc/containers/systemd/probe.container"),
    ] {
        let found = listing.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&mode) && words.get(1) == Some(&owner) && line.ends_with(name)
        });
        ensure!(found, "no {mode} {owner} {name} in:\n{listing}");
    }
    Ok(())
}

fn unpacked(store: Store) -> Result<()> {
    let bench = probes()?;
    stream(&bench, store, "out/x.tar")?;
    fs::create_dir(bench.path("unpacked"))?;
    Command::new("tar")
        .args([
            "--extract",
            "--delay-directory-restore",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--file",
        ])
        .arg(bench.path("out/x.tar"))
        .arg("--directory")
        .arg(bench.path("unpacked"))
        .output()?;
    let expected = written(&bench, store)?;
    let mut found = contents(store, &bench.path("unpacked"))?;
    keep_only_ours(&expected, &mut found);
    same(&expected, &found)
}

fn squashed(store: Store) -> Result<()> {
    let bench = probes()?;
    stream(&bench, store, "out/x.tar")?;
    let script = "mksquashfs - out/x.squashfs -tar -quiet -no-progress <out/x.tar && \
                  unsquashfs -quiet -no-progress -dest unpacked out/x.squashfs";
    bench.command(Who::Tester, &["sh", "-c", script]).output()?;
    let expected = coarse(written(&bench, store)?);
    let mut found = coarse(contents(store, &bench.path("unpacked"))?);
    keep_only_ours(&expected, &mut found);
    same(&expected, &found)
}

/// A directory that the target has already is not in the stream; whoever unpacks it elsewhere makes one.
fn keep_only_ours(expected: &Tree, found: &mut Tree) {
    for (path, entry) in found.iter_mut() {
        if path.ends_with("systemd/system/.")
            && let Some(other) = expected.get(path)
        {
            *entry = other.clone();
        }
    }
}
