//! `vcontainer oci build --suite`: the lists of a mirror, which is made and signed here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use vcontainer_image::Digest;

use crate::fixture::{Bench, Ran};

/// A mirror in `mirror` with one package, and the key that signs it.
struct Mirror {
    bench: Bench,
}

impl Mirror {
    fn new() -> Self {
        let mirror = Self {
            bench: Bench::new(&[]),
        };
        fs::create_dir_all(mirror.bench.path("gnupg")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(mirror.bench.path("gnupg"), mode).unwrap();
        mirror.make_key("mirror");
        mirror.gpg(&["--output", "key.gpg", "--export"]);
        mirror
    }

    fn make_key(&self, name: &str) {
        let words = [
            "--passphrase",
            "",
            "--quick-generate-key",
            name,
            "ed25519",
            "sign",
            "never",
        ];
        self.gpg(&words);
    }

    fn gpg(&self, words: &[&str]) {
        self.done(
            Command::new("gpg")
                .args(["--batch", "--quiet", "--homedir", "gnupg"])
                .args(words),
        );
    }

    fn done(&self, command: &mut Command) -> String {
        let output = command.current_dir(self.bench.path("")).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts a version of the package there, in place of the one before; what that one's lists name stays.
    fn publish(&self, version: u32) {
        let control = format!(
            "Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: d\n"
        );
        self.bench.write("tool/DEBIAN/control", control.as_bytes());
        self.bench
            .write("tool/usr/share/tool", version.to_string().as_bytes());
        fs::create_dir_all(self.bench.path("mirror/pool")).unwrap();
        let name = format!("pool/tool_{version}_all.deb");
        let place = format!("mirror/{name}");
        self.done(Command::new("dpkg-deb").args(["--root-owner-group", "--build", "tool", &place]));
        let digest = |bytes: &[u8]| Digest::of(bytes).hex();
        let package = fs::read(self.bench.path(&place)).unwrap();
        let list = format!(
            "{control}Filename: {name}\nSize: {}\nSHA256: {}\n",
            package.len(),
            digest(&package)
        );
        let path = "main/binary-arm64/Packages";
        self.bench
            .write(&format!("mirror/dists/made/{path}"), list.as_bytes());
        let date = self.done(Command::new("date").args(["--utc", "--rfc-email"]));
        let release = format!(
            "Suite: made\nCodename: made\nComponents: main\nArchitectures: arm64\nDate: {date}SHA256:\n {} {} {path}\n",
            digest(list.as_bytes()),
            list.len()
        );
        self.bench.write("Release", release.as_bytes());
        let signed = "mirror/dists/made/InRelease";
        self.gpg(&["--yes", "--clearsign", "--output", signed, "Release"]);
        // apt takes what has the time that it knows for what it has.
        let time = SystemTime::now() - Duration::from_secs(3600 - u64::from(version));
        set_modified(&self.bench.path(signed), time);
    }

    /// The file whose time says how old the lists are.
    fn marker(&self) -> PathBuf {
        // This machine's own mirror has a cache, too, where it was asked, and no such lists.
        let markers: Vec<_> = fs::read_dir(self.bench.path("apt/apt"))
            .unwrap()
            .map(|entry| entry.unwrap().path().join("refreshed"))
            .filter(|marker| marker.exists())
            .collect();
        assert_eq!(markers.len(), 1, "{markers:?}");
        markers[0].clone()
    }

    /// Makes the lists as old as this.
    fn age(&self, minutes: u64) {
        set_modified(
            &self.marker(),
            SystemTime::now() - Duration::from_secs(60 * minutes),
        );
    }

    fn build(&self, words: &[&str]) -> Ran {
        let mirror = format!("copy:{}", self.bench.path("mirror").display());
        let words = [&["--mirror", &mirror, "--quiet"], words].concat();
        build(&self.bench, "key.gpg", &words)
    }

    /// The version that an image gets.
    fn version(&self, words: &[&str]) -> String {
        self.build(words).good();
        self.built()
    }

    /// The version that the last image has got.
    fn built(&self) -> String {
        self.done(Command::new("sh").args([
            "-euc",
            "for blob in app-latest-oci/blobs/sha256/*; do tar -xOzf \"$blob\" usr/share/tool 2>/dev/null || true; done",
        ]))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // The program that gpg has left running.
        let _ = Command::new("gpgconf")
            .args(["--homedir", "gnupg", "--kill", "all"])
            .current_dir(self.bench.path(""))
            .output();
    }
}

/// Builds an image with the package in a layer.
fn build(bench: &Bench, keyring: &str, words: &[&str]) -> Ran {
    let build = [
        "oci",
        "build",
        "--arch",
        "aarch64",
        "--suite",
        "made",
        "--keyring",
        keyring,
        "--package-cache",
        "apt",
        "--no-layer-cache",
        "--layer",
        "tool:packages:tool",
        "app",
    ];
    bench.run(&[&build[..], words].concat())
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

#[test]
fn lists_are_fetched_again_when_they_are_old_or_somebody_asks() {
    let mirror = Mirror::new();
    mirror.publish(1);
    assert_eq!(mirror.version(&[]), "1");
    mirror.publish(2);
    assert_eq!(mirror.version(&[]), "1", "the lists are young");
    assert_eq!(mirror.version(&["--refresh"]), "2");
    mirror.publish(3);
    mirror.age(55);
    assert_eq!(mirror.version(&[]), "2", "they are younger than an hour");
    mirror.age(61);
    assert_eq!(mirror.version(&[]), "3");
    // A clock that was wrong makes them neither young for ever nor old for ever.
    mirror.publish(4);
    set_modified(&mirror.marker(), SystemTime::now() + Duration::from_secs(86_400));
    assert_eq!(mirror.version(&[]), "4");
    mirror.publish(5);
    assert_eq!(mirror.version(&[]), "4");
}

/// What is known is enough where there is no network, but nothing is believed that is signed by somebody else.
#[test]
fn old_lists_do_when_there_is_no_mirror() {
    let mirror = Mirror::new();
    mirror.publish(1);
    assert_eq!(mirror.version(&[]), "1");
    let (there, away) = (mirror.bench.path("mirror"), mirror.bench.path("away"));
    fs::rename(&there, &away).unwrap();
    let fail = |words: &[&str], expected: &str| {
        let ran = mirror.build(words);
        let said = ran.stderr();
        assert!(ran.code() == 1 && said.contains(expected), "{said}");
    };
    for _ in 0..2 {
        mirror.age(61);
        let ran = mirror.build(&[]);
        let said = ran.stderr();
        assert!(
            said.starts_with("warning: the lists of packages are old ones of copy:")
                && said.lines().count() == 1,
            "{said}"
        );
        ran.good();
        assert_eq!(mirror.built(), "1");
    }
    fail(&["--refresh"], "no mirror serves Debian made");
    // They are as old as they were: the mirror is asked again each time.
    fs::rename(&away, &there).unwrap();
    mirror.publish(2);
    assert_eq!(mirror.version(&[]), "2");

    mirror.publish(3);
    mirror.make_key("other");
    let signed = "mirror/dists/made/InRelease";
    let words = [
        "--yes",
        "--local-user",
        "other",
        "--clearsign",
        "--output",
        signed,
        "Release",
    ];
    mirror.gpg(&words);
    mirror.age(61);
    fail(&[], "no mirror serves Debian made");
}

#[test]
fn a_keyring_that_apt_cannot_be_told_of_is_refused() {
    let bench = Bench::new(&[]);
    bench.write("my keys/key.gpg", b"");
    let ran = build(&bench, "my keys/key.gpg", &[]);
    let said = ran.stderr();
    assert!(
        ran.code() == 1 && said.contains("a space or a comma") && said.contains("/my keys/key.gpg`"),
        "{said}"
    );
}
