//! Layers of real Debian packages for both architectures: the example recipes of the user's document, each mode, the cache,
//! feeds. mmdebstrap and umoci, which know nothing of us, tell what must come out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::person::Person;
use e2e::process::Command;
use e2e::tree::{self, Tree};
use e2e::{apt, privilege};

const SUITE: &str = "trixie";

/// The layers of the document's `app-container-multilayer.bb`.
const MULTI: [&str; 3] = [
    "base:packages:base-files+base-passwd+netbase",
    "shell:packages:busybox",
    "app:packages:curl",
];

/// Somebody who builds for one architecture.
struct Builder {
    person: Person,
    arch: &'static str,
}

/// What a build printed.
struct Printed {
    lines: Vec<String>,
}

impl Printed {
    /// The lines that begin so.
    fn of(&self, start: &str) -> Vec<&str> {
        let lines = self.lines.iter().map(String::as_str);
        lines.filter(|line| line.starts_with(start)).collect()
    }
}

impl Builder {
    fn build(&self, words: &[&str]) -> Result<Printed> {
        let mut command = self
            .person
            .command("vcontainer")
            .args(["oci", "build", "--arch", self.arch, "--output", "deploy"]);
        if let Ok(mirror) = std::env::var("VCONTAINER_MIRROR") {
            command = command.env("VCONTAINER_MIRROR", mirror);
        }
        let outcome = command.args(words).outcome()?;
        ensure!(outcome.status.success(), "{words:?}: {}", outcome.stderr);
        Ok(Printed {
            lines: outcome.stderr.lines().map(str::to_owned).collect(),
        })
    }

    fn layered(&self, layers: &[&str], words: &[&str]) -> Result<Printed> {
        let mut all = Vec::new();
        for layer in layers {
            all.extend(["--layer", layer]);
        }
        all.extend(words);
        self.build(&all)
    }

    fn layout(&self, name: &str) -> String {
        let path = self.person.path(format!("work/deploy/{name}-latest-oci"));
        path.display().to_string()
    }

    /// The digests of the layers, as skopeo reads them.
    fn layers(&self, name: &str) -> Result<Vec<String>> {
        let shown = Command::new("skopeo")
            .args(["inspect", "--format", "{{range .Layers}}{{.}}\n{{end}}"])
            .arg(format!("oci:{}", self.layout(name)))
            .output()?;
        Ok(shown.split_whitespace().map(str::to_owned).collect())
    }

    /// The file system, as umoci makes it.
    fn unpack(&self, name: &str) -> Result<Tree> {
        let target = self.person.path(format!("tmp/unpacked-{name}"));
        Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:latest", self.layout(name)))
            .arg(&target)
            .output()?;
        read(&target.join("rootfs"))
    }
}

fn read(root: &Path) -> Result<Tree> {
    let mut found = tree::read(root)?;
    // Files have whole seconds, and those of all else are the same (docs/guide/images.md, "Times").
    for entry in found.values_mut() {
        let whole = entry.mtime.map(|(seconds, _)| (seconds, 0));
        entry.mtime = whole.filter(|_| entry.kind.starts_with("file"));
    }
    Ok(found)
}

pub fn everything(arch: &'static str, debian: &'static str) -> Result<()> {
    let person = Person::new()?;
    person.directory("work/rootfs/opt/myapp")?;
    person.write("work/rootfs/opt/myapp/main.py", "print('my app')\n")?;
    let builder = Builder { person, arch };
    the_documents_recipes(&builder)?;
    the_documents_log(&builder)?;
    feeds(&builder, debian)?;
    if privilege::is_root() {
        modes_on_a_real_root(&builder, debian)?;
    }
    Ok(())
}

/// The layer counts of the document's recipes, and no package manager in any.
fn the_documents_recipes(builder: &Builder) -> Result<()> {
    let suite = ["--suite", SUITE, "--quiet"];
    builder.layered(&MULTI, &[&suite[..], &["multi"]].concat())?;
    assert_eq!(builder.layers("multi")?.len(), 3);
    let python = "python3+python3-pip";
    let layers = [
        MULTI[0],
        &format!("python:packages:{python}"),
        "app:directories:/opt/myapp",
    ];
    builder.layered(&layers, &[&suite[..], &["--rootfs", "rootfs", "three"]].concat())?;
    let three = builder.layers("three")?;
    assert_eq!(three.len(), 3);
    assert_eq!(three[0], builder.layers("multi")?[0], "the same base");
    builder.layered(&MULTI[..2], &[&suite[..], &["container-base"]].concat())?;
    let layers = [&format!("deps:packages:{python}"), "app:directories:/opt/myapp"];
    let words = ["--base", "container-base", "--rootfs", "rootfs", "two"];
    builder.layered(&layers, &[&suite[..], &words].concat())?;
    let (base, two) = (builder.layers("container-base")?, builder.layers("two")?);
    assert_eq!((&two[..2], two.len()), (&base[..], 4));
    for name in ["multi", "three", "two"] {
        let list = Command::new("sh")
            .args([
                "-euc",
                "for blob in \"$1\"/blobs/sha256/*; do tar -tzf \"$blob\" 2>/dev/null || true; done",
                "sh",
            ])
            .arg(builder.layout(name))
            .output()?;
        ensure!(list.contains("usr/bin/"), "{list}");
        for state in ["var/lib/dpkg", "var/lib/apt", "var/cache/apt"] {
            ensure!(!list.contains(state), "{state} in {name}");
        }
        // Nothing comes twice but directories on the way to something new.
        let mut names: Vec<&str> = list.lines().filter(|name| !name.ends_with('/')).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{name}");
    }
    Ok(())
}

/// First everything is missed, then everything hit; when the app changes, its packages alone are asked for.
fn the_documents_log(builder: &Builder) -> Result<()> {
    let cache = ["--suite", SUITE, "--layer-cache", "cache"];
    let first = builder.layered(&MULTI, &[&cache[..], &["logged"]].concat())?;
    let misses = first.of("OCI Cache MISS: ");
    assert_eq!(misses.len(), 3, "{:?}", first.lines);
    ensure!(
        misses[0].starts_with("OCI Cache MISS: Layer 'base' (base:base-files="),
        "{misses:?}"
    );
    assert_eq!(first.of("OCI Cache: Saving layer '").len(), 3);
    let expected = "OCI: Pre-installed packages for 3 layers (cache: 0 hits, 3 misses)";
    assert_eq!(first.of("OCI: "), [expected]);
    let manifest = fs::read(Path::new(&builder.layout("logged")).join("index.json"))?;
    assert_eq!(builder.layers("logged")?, builder.layers("multi")?);

    let second = builder.layered(&MULTI, &[&cache[..], &["logged"]].concat())?;
    let hits = second.of("OCI Cache HIT: ");
    assert_eq!(hits.len(), 3);
    let expected = "OCI: Pre-installed packages for 3 layers (cache: 3 hits, 0 misses)";
    assert_eq!(second.of("OCI: "), [expected]);
    let key = hits[0]
        .strip_prefix("OCI Cache HIT: Layer 'base' (")
        .and_then(|rest| rest.strip_suffix(')'));
    let key = key.with_context(|| format!("{hits:?}"))?;
    let marker = builder
        .person
        .path(format!("work/cache/{key}-base/.oci-layer-cache"));
    ensure!(marker.is_file(), "{}", marker.display());
    let again = fs::read(Path::new(&builder.layout("logged")).join("index.json"))?;
    ensure!(manifest == again, "another image out of the cache");

    let layers = [MULTI[0], MULTI[1], "app:packages:wget"];
    let third = builder.layered(&layers, &[&cache[..], &["changed"]].concat())?;
    assert_eq!(third.of("OCI Cache HIT: ").len(), 2);
    let misses = third.of("OCI Cache MISS: ");
    ensure!(
        misses.len() == 1 && misses[0].contains("(app:wget="),
        "{misses:?}"
    );
    let needed: Vec<_> = third
        .lines
        .iter()
        .filter(|line| line.ends_with(" needed"))
        .collect();
    assert_eq!(needed.len(), 1, "{:?}", third.lines);
    Ok(())
}

/// Packages out of a directory give the same layers as those that a mirror has.
fn feeds(builder: &Builder, debian: &str) -> Result<()> {
    let feed = builder.person.directory("work/feed/pool")?;
    let caches = builder.person.path("home/.cache/vcontainer/apt");
    let mut copied = 0;
    for cache in fs::read_dir(&caches).with_context(|| format!("listing {}", caches.display()))? {
        for file in fs::read_dir(cache?.path().join("archives"))? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                let name = file.file_name().context("a file without a name")?;
                fs::copy(&file, feed.join(name))?;
                copied += 1;
            }
        }
    }
    ensure!(copied > 10, "{copied} packages for {debian}");
    let words = ["--feed", "feed", "--no-layer-cache", "--quiet", "fed"];
    builder.layered(&MULTI, &words)?;
    assert_eq!(builder.layers("fed")?, builder.layers("multi")?);
    Ok(())
}

/// One layer, base and one more, and many, of the same packages as mmdebstrap unpacks.
fn modes_on_a_real_root(builder: &Builder, debian: &str) -> Result<()> {
    let root = builder.person.path("tmp/root");
    Command::new("mmdebstrap")
        .args([
            "--quiet",
            "--mode=root",
            "--variant=extract",
            "--format=directory",
        ])
        .arg(format!("--architectures={debian}"))
        .args(
            apt::fetch_options()?
                .iter()
                .map(|option| format!("--aptopt={option}")),
        )
        .arg("--include=base-files,base-passwd,netbase,busybox,curl")
        .args([SUITE.as_ref(), root.as_os_str()])
        .arg(apt::mirror()?)
        .output()?;
    let expected = read(&root)?;
    let found = builder.unpack("multi")?;
    // What mmdebstrap makes besides unpacking packages.
    let own = [
        "dev/",
        "etc/apt",
        "etc/dpkg/dpkg.cfg.d",
        "etc/fstab",
        "etc/hostname",
        "etc/resolv.conf",
        "var/cache/apt",
        "var/lib/apt",
        "var/lib/dpkg",
        "var/log/apt",
    ];
    let differences: Vec<String> = tree::differences(&expected, &found)
        .into_iter()
        .filter(|line| !own.iter().any(|own| line.contains(own)))
        .collect();
    ensure!(differences.is_empty(), "{differences:#?}");

    // As root: who else could read all of it?
    let build = |words: &[&str]| {
        e2e::tool::vcontainer(&["oci", "build", "--arch", builder.arch, "--quiet", "--rootfs"])?
            .arg(&root)
            .arg("--output")
            .arg(builder.person.path("work/deploy"))
            .args(words)
            .output()
    };
    build(&["single"])?;
    build(&["--base", "container-base", "one-more"])?;
    for (name, layers) in [("single", 1), ("one-more", 3)] {
        assert_eq!(builder.layers(name)?.len(), layers);
        let differences = tree::differences(&expected, &builder.unpack(name)?);
        ensure!(differences.is_empty(), "{name}: {differences:#?}");
    }
    // What the base has did not come again.
    let size = |name: &str, layer: usize| -> Result<u64> {
        let layers = builder.layers(name)?;
        let digest = layers[layer].trim_start_matches("sha256:");
        Ok(fs::metadata(Path::new(&builder.layout(name)).join("blobs/sha256").join(digest))?.len())
    };
    let (whole, added, base) = (
        size("single", 0)?,
        size("one-more", 2)?,
        size("container-base", 0)?,
    );
    ensure!(
        added + base / 2 < whole,
        "{added} of {whole} bytes, and {base} below"
    );
    Ok(())
}
