//! The layer cache between processes: kills at any moment, many at once, and somebody else's package manager that installs
//! into one root filesystem, layer by layer.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::person::Person;
use e2e::process::Command;
use e2e::random::Random;
use rustix::process::{Pid, Signal, kill_process};

/// How often a build is killed.
const KILLS: usize = 12;

/// Layers of files of the build machine, large enough that a build takes a while.
fn builder() -> Result<Person> {
    let person = Person::new()?;
    let mut random = Random::new(4);
    for name in ["one", "two", "three"] {
        let bytes: Vec<u8> = (0..3_000_000)
            .flat_map(|_| (random.number() % 1000).to_le_bytes())
            .collect();
        person.write(&format!("work/{name}"), bytes)?;
    }
    Ok(person)
}

fn words(cache: &str, output: &str) -> Vec<String> {
    let layers = ["one", "two", "three"].map(|name| format!("--layer={name}:host:{name}:/opt/{name}"));
    let mut words: Vec<String> = ["oci", "build", "--arch", "aarch64", "--quiet"]
        .map(str::to_owned)
        .into();
    words.extend([format!("--layer-cache={cache}"), format!("--output={output}")]);
    words.extend(layers);
    words.push("image".into());
    words
}

fn index(person: &Person, output: &str) -> Result<Vec<u8>> {
    let path = person.path(format!("work/{output}/image-latest-oci/index.json"));
    fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

/// Whatever a build was doing when it was killed: what is in the cache is whole, and the image is whole or not there.
pub fn killed_at_any_moment() -> Result<()> {
    let person = builder()?;
    let start = Instant::now();
    let build = |cache: &str, output: &str| person.command("vcontainer").args(words(cache, output)).output();
    build("cache", "expected")?;
    let whole = start.elapsed();
    let expected = index(&person, "expected")?;
    let mut random = Random::new(9);
    for round in 0..KILLS {
        let cache = format!("cache-{round}");
        let mut child = person
            .unlimited("vcontainer")
            .args(words(&cache, "output"))
            .std()
            .spawn()
            .context("starting a build")?;
        let share = random.below(1000) as u32;
        thread::sleep(whole * share / 1000 + Duration::from_millis(1));
        // It may be done.
        let _ = child.kill();
        child.wait()?;
        if person.path(format!("work/{cache}")).exists() {
            person
                .command("vcontainer")
                .args(["oci", "cache", "verify", "--layer-cache", &cache])
                .output()?;
        }
        if person.path("work/output/image-latest-oci").exists() {
            ensure!(
                index(&person, "output")? == expected,
                "half an image after {share}"
            );
        }
        build(&cache, "output")?;
        ensure!(
            index(&person, "output")? == expected,
            "another image after {share}"
        );
        // Nothing of the killed one is left.
        for folder in [cache.as_str(), "output"] {
            let names = names(&person.path(format!("work/{folder}")))?;
            ensure!(
                names.iter().all(|name| !name.starts_with('.')),
                "{names:?} after {share}"
            );
        }
        fs::remove_dir_all(person.path("work/output"))?;
    }
    Ok(())
}

/// Ctrl-C and kill: nothing of the build is left, and the status tells the signal.
pub fn ended_by_a_signal() -> Result<()> {
    let person = builder()?;
    let start = Instant::now();
    person
        .command("vcontainer")
        .args(words("cache", "expected"))
        .output()?;
    let whole = start.elapsed();
    let mut ended = 0;
    for share in [10, 30, 50, 70, 90] {
        let cache = format!("cache-{share}");
        // A group of its own, as a shell's job has.
        let mut child = person
            .unlimited("vcontainer")
            .args(words(&cache, "output"))
            .std()
            .spawn()
            .context("starting a build")?;
        thread::sleep(whole * share / 100);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process without a number")?, Signal::TERM)?;
        let status = child.wait()?;
        // It may have been done, or not have begun to watch.
        let is_told = status.code() == Some(143);
        ended += u32::from(is_told);
        ensure!(is_told || status.success() || status.code().is_none(), "{status}");
        for folder in [cache.as_str(), "output"] {
            let path = person.path(format!("work/{folder}"));
            if is_told && path.exists() {
                let names = names(&path)?;
                ensure!(
                    names.iter().all(|name| !name.starts_with('.')),
                    "{names:?} after {share}"
                );
            }
        }
    }
    ensure!(ended > 0, "no build was ended");
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Twenty builds at once over one cache, into two directories.
pub fn twenty_at_once() -> Result<()> {
    let person = builder()?;
    let outputs = ["left", "right"];
    thread::scope(|scope| {
        let builds: Vec<_> = (0..20)
            .map(|number| {
                let words = words("cache", outputs[number % 2]);
                let person = &person;
                scope.spawn(move || person.command("vcontainer").args(words).output())
            })
            .collect();
        builds
            .into_iter()
            .try_for_each(|build| build.join().ok().context("a builder panicked")?.map(drop))
    })?;
    ensure!(index(&person, "left")? == index(&person, "right")?, "they differ");
    let entries = names(&person.path("work/cache"))?;
    assert_eq!(entries.len(), 3, "{entries:?}");
    person
        .command("vcontainer")
        .args(["oci", "cache", "verify", "--layer-cache", "cache"])
        .output()?;
    Ok(())
}

/// As the Yocto class does it: ask, install what is missing into one root filesystem that grows, save after each layer, and
/// build in the end. `pretender` is fakeroot or pseudo.
pub fn another_package_manager(pretender: &[&str]) -> Result<()> {
    let person = Person::new()?;
    let script = r#"
        layers="--arch aarch64 --machine qemuarm64 --tune cortexa57 --layer-cache cache --quiet --layer"
        layer1=base:packages:base-files+web
        layer2=app:packages:app
        base="--package-version base-files=3.0.14 --package-version web=1 --layer-input base=closure-1"
        versions="$base --package-version app=$1 --layer-input app=closure-$1"
        hits() {
            vcontainer oci cache lookup --format json $layers $layer1 --layer $layer2 $versions | grep -c '"hit": true' || true
        }
        echo "hits: $(hits)"
        mkdir -p root/etc root/var/lib/dpkg root/srv/www root/usr/bin
        echo base > root/etc/issue
        echo one > root/var/lib/dpkg/status
        echo page > root/srv/www/index.html
        chown -R 33:33 root/srv/www
        chmod 2750 root/srv/www
        vcontainer oci cache save $layers $layer1 $base --installed base=root --layer-state base=root/var/lib/dpkg/status
        echo "hits: $(hits)"
        echo two >> root/var/lib/dpkg/status
        echo "app $1" > root/usr/bin/app
        chmod 4755 root/usr/bin/app
        rm -f root/srv/null
        mknod root/srv/null c 1 3
        vcontainer oci cache save $layers $layer1 --layer $layer2 $versions --installed app=root \
            --layer-state app=root/var/lib/dpkg/status
        echo "hits: $(hits)"
        vcontainer oci build $layers $layer1 --layer $layer2 $versions --output deploy-$1 image
        vcontainer oci cache lookup --format json $layers $layer1 --layer $layer2 $versions | sed -n 's/.*"state": "\(.*\)".*/\1/p' |
            while read -r state; do echo "state: $(tr '\n' ' ' < "$state")"; done
    "#;
    let run = |version: &str| {
        let mut words = pretender.to_vec();
        words.extend(["sh", "-euc", script, "sh", version]);
        let mut command = person.command(words[0]).args(&words[1..]);
        if words[0] == "pseudo" {
            // Debian's pseudo keeps its database where these say.
            command = command
                .env("PSEUDO_PREFIX", "/usr")
                .env("PSEUDO_LOCALSTATEDIR", person.path("tmp").display().to_string());
        }
        command.output()
    };
    let said = run("1")?;
    let expected = "hits: 0\nhits: 1\nhits: 2\nstate: one \nstate: one two \n";
    assert_eq!(said, expected);
    let layers = |version: &str| -> Result<Vec<String>> {
        let script = r#"
            for digest in $(skopeo inspect --format '{{range .Layers}}{{.}} {{end}}' oci:"$1"); do
                tar --numeric-owner -tvzf "$1/blobs/sha256/${digest#sha256:}" | awk '{print $1, $2, $NF}'
                echo
            done"#;
        let path = person.path(format!("work/deploy-{version}/image-latest-oci"));
        let list = Command::new("sh")
            .args(["-euc", script, "sh"])
            .arg(path)
            .output()?;
        Ok(list.split("\n\n").map(|layer| layer.trim().to_owned()).collect())
    };
    let found = layers("1")?;
    let base = "drwxr-xr-x 0/0 ./
drwxr-xr-x 0/0 etc/
-rw-r--r-- 0/0 etc/issue
drwxr-xr-x 0/0 srv/
drwxr-s--- 33/33 srv/www/
-rw-r--r-- 33/33 srv/www/index.html
drwxr-xr-x 0/0 usr/
drwxr-xr-x 0/0 usr/bin/
drwxr-xr-x 0/0 var/
drwxr-xr-x 0/0 var/lib/";
    let app = "drwxr-xr-x 0/0 ./
drwxr-xr-x 0/0 srv/
crw-r--r-- 0/0 srv/null
drwxr-xr-x 0/0 usr/
drwxr-xr-x 0/0 usr/bin/
-rwsr-xr-x 0/0 usr/bin/app";
    assert_eq!(&found[..2], [base, app]);
    // Only the app has changed: the base is there.
    let said = run("2")?;
    ensure!(said.starts_with("hits: 1\n"), "{said}");
    Ok(())
}
