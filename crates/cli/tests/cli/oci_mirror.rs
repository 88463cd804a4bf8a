//! `vcontainer oci build --suite`: the lists of a mirror, which is made and signed here.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use vcontainer_image::Digest;

use crate::fixture::Bench;

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
        let words = [
            "--passphrase",
            "",
            "--quick-generate-key",
            "mirror",
            "ed25519",
            "sign",
            "never",
        ];
        mirror.gpg(&words);
        mirror.gpg(&["--output", "key.gpg", "--export"]);
        mirror
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

    /// The version that an image gets.
    fn version(&self, words: &[&str]) -> String {
        let mirror = format!("copy:{}", self.bench.path("mirror").display());
        let build = [
            "oci",
            "build",
            "--arch",
            "aarch64",
            "--suite",
            "made",
            "--mirror",
            &mirror,
            "--keyring",
            "key.gpg",
            "--package-cache",
            "apt",
            "--no-layer-cache",
            "--quiet",
            "--layer",
            "tool:packages:tool",
            "app",
        ];
        self.bench.run(&[&build[..], words].concat()).good();
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
    let caches: Vec<_> = fs::read_dir(mirror.bench.path("apt/apt"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(caches.len(), 1, "{caches:?}");
    let marker = caches[0].join("refreshed");
    let minutes = |minutes: u64| SystemTime::now() - Duration::from_secs(60 * minutes);
    set_modified(&marker, minutes(55));
    assert_eq!(mirror.version(&[]), "2", "they are younger than an hour");
    set_modified(&marker, minutes(61));
    assert_eq!(mirror.version(&[]), "3");
    // A clock that was wrong makes them neither young for ever nor old for ever.
    mirror.publish(4);
    set_modified(&marker, SystemTime::now() + Duration::from_secs(86_400));
    assert_eq!(mirror.version(&[]), "4");
    mirror.publish(5);
    assert_eq!(mirror.version(&[]), "4");
}

#[test]
fn a_keyring_that_apt_cannot_be_told_of_is_refused() {
    let bench = Bench::new(&[]);
    bench.write("my keys/key.gpg", b"");
    let ran = bench.run(&[
        "oci",
        "build",
        "--arch",
        "aarch64",
        "--suite",
        "made",
        "--keyring",
        "my keys/key.gpg",
        "--package-cache",
        "apt",
        "--no-layer-cache",
        "--layer",
        "tool:packages:tool",
        "app",
    ]);
    let said = ran.stderr();
    assert!(
        ran.code() == 1 && said.contains("a space or a comma") && said.contains("/my keys/key.gpg`"),
        "{said}"
    );
}
