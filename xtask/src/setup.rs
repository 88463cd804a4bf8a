//! `cargo xtask setup`: the system packages that tests and demo need. Asks for root only when one is missing.

use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use e2e::debian::Suite;
use e2e::{privilege, process::Command};

/// A Debian package, and what it is for.
const PACKAGES: &[(&str, &str)] = &[
    ("attr", "reads extended attributes in tests"),
    ("ca-certificates", "lets apt reach a mirror over https"),
    (
        "debian-archive-keyring",
        "verifies the packages of the Debian root filesystems",
    ),
    ("docker-registry", "what is fetched and pulled from in tests"),
    ("faketime", "tells a build another time in a test"),
    ("fakeroot", "lets an ordinary user write owners and devices"),
    ("gcc", "links the tests and compiles the zstd library"),
    ("libc6-dev", "links the tests and compiles the zstd library"),
    ("gnupg", "signs the mirror of a test"),
    ("groff-base", "reads the man pages in a test"),
    ("libarchive-tools", "reads tar streams back in tests (bsdtar)"),
    ("mmdebstrap", "makes the Debian root filesystems"),
    ("openssl", "makes the certificates of registries in tests"),
    ("pigz", "unpacks images in comparisons of speed"),
    ("python3", "runs BitBake in the tests of the Yocto layer"),
    (
        "python3-venv",
        "keeps what these tests need apart from the machine's Python",
    ),
    ("qemu-system-arm", "runs the machines of aarch64"),
    ("qemu-system-x86", "runs the machines of x86_64"),
    ("qemu-utils", "makes the disks of the machines"),
    ("skopeo", "puts images into the registry"),
    ("squashfs-tools", "reads tar streams back in tests (mksquashfs)"),
    ("squashfs-tools-ng", "reads tar streams back in tests (tar2sqfs)"),
    ("umoci", "makes the images of the demo"),
    ("wget", "fetches from mirrors in tests of the Yocto layer"),
    ("zstd", "packs and unpacks test archives"),
];

/// What links the agent for the other architecture.
const CROSS: &[(&str, &str)] = if cfg!(target_arch = "aarch64") {
    &[
        ("gcc-x86-64-linux-gnu", "links the agent for x86_64 guests"),
        ("libc6-dev-amd64-cross", "links the agent for x86_64 guests"),
    ]
} else {
    &[
        ("gcc-aarch64-linux-gnu", "links the agent for aarch64 guests"),
        ("libc6-dev-arm64-cross", "links the agent for aarch64 guests"),
    ]
};

/// Packages that not every Debian release has: without them, the tests that need them are skipped by name.
const WHERE_KNOWN: &[(&str, &str)] = &[(
    "pseudo",
    "Yocto's fakeroot (Debian 12 has it): directory output and the Yocto layer are tested under it",
)];

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let more = WHERE_KNOWN.iter().filter(|(name, _)| known(name));
    let missing: Vec<&(&str, &str)> = needed()
        .chain(more)
        .filter(|(name, _)| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("These system packages are missing:");
    for (name, purpose) in &missing {
        println!("  {name:<24} {purpose}");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if !Command::exists("apt-get") {
        bail!(
            "this machine has no apt-get: install the packages above (or their like) by hand, then try again"
        );
    }
    let root = privilege::is_root();
    if !root && !Command::exists("sudo") {
        bail!(
            "run `apt-get install {}` as root, then try again",
            names.join(" ")
        );
    }
    if !root {
        println!("Installing them with sudo, which may ask for your password; nothing else here needs it.");
    }
    let apt = |arguments: &[&str]| {
        let command = if root {
            Command::new("apt-get")
        } else {
            Command::new("sudo").arg("apt-get")
        };
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments)
            .run()
    };
    apt(&["update", "-qq"])?;
    // A fresh machine has no lists of packages before that.
    let mut names = names;
    for (name, purpose) in WHERE_KNOWN {
        if known(name) && !installed(name) && !names.contains(name) {
            println!("  {name:<24} {purpose}");
            names.push(name);
        }
    }
    let install =
        |names: &[&str]| apt(&[&["install", "-y", "-qq", "--no-install-recommends"], names].concat());
    install(&names)?;
    // A package from elsewhere (a backport, say) may have had to go for one of these.
    let gone: Vec<&str> = needed()
        .map(|(name, _)| *name)
        .filter(|name| !installed(name))
        .collect();
    if gone.is_empty() { Ok(()) } else { install(&gone) }
}

/// Packages without which something here doesn't work.
fn needed() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    PACKAGES.iter().chain(CROSS)
}

/// Makes the Debian root filesystems with engines that aren't in the cache yet, all at once. Where engines cannot run
/// nothing is made: their tests are skipped by name.
///
/// # Errors
/// A release cannot be installed. Debian unstable alone is no error: its tests are then skipped by name.
pub(crate) fn engines() -> Result<()> {
    if privilege::can_run_engines().is_err() {
        return Ok(());
    }
    let made = thread::scope(|scope| {
        let builds: Vec<_> = Suite::WITH_ENGINES
            .into_iter()
            .map(|suite| scope.spawn(move || make(suite)))
            .collect();
        builds.into_iter().map(|build| build.join()).collect::<Vec<_>>()
    });
    for result in made {
        match result {
            Ok(result) => result?,
            Err(_) => bail!("making a Debian root filesystem panicked"),
        }
    }
    Ok(())
}

fn make(suite: Suite) -> Result<()> {
    let start = Instant::now();
    if suite.is_made()? {
        return Ok(());
    }
    println!("making the Debian root filesystem {}", suite.name());
    if let Err(error) = suite.path() {
        if !suite.may_be_missing() {
            return Err(error);
        }
        println!(
            "Debian {} cannot be installed today, its tests will be skipped: {error:#}",
            suite.name()
        );
        return Ok(());
    }
    println!(
        "made the Debian root filesystem {} in {:.0} s",
        suite.name(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Whether apt could install it.
fn known(package: &str) -> bool {
    Command::new("apt-cache")
        .args(["policy", package])
        .output()
        .is_ok_and(|policy| {
            policy
                .lines()
                .any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
        })
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|status| status.trim() == "installed")
}
