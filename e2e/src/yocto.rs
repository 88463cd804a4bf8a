//! What the tests of the Yocto layer run with: Python with their packages, and BitBake from PyPI, kept in the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

use crate::process::Command;
use crate::{cache, tool};

/// What the tests need besides Python itself.
const PACKAGES: &[&str] = &[
    "kas==5.5",
    "oelint-adv==9.11.2",
    "pytest==9.2.0",
    "pytest-xdist==3.8.0",
];

/// The variable with the directory in which slow tests leave the images that they have built, for engines to judge.
pub const IMAGES: &str = "VCONTAINER_YOCTO_IMAGES";

const DEBIAN_PYTHON: &str = "/usr/bin/python3";

fn home() -> Result<PathBuf> {
    let home = cache::directory()?.join("yocto");
    fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    Ok(home)
}

/// The Python of an environment of our own, which is made first if it has to be.
///
/// # Errors
/// Python or a registry is missing.
pub fn python() -> Result<PathBuf> {
    let home = home()?;
    let lock = home.join("python.lock");
    let lock_file = fs::File::create(&lock).with_context(|| format!("making {}", lock.display()))?;
    rustix::fs::flock(&lock_file, FlockOperation::LockExclusive)
        .with_context(|| format!("locking {}", lock.display()))?;
    let environment = home.join("python");
    let python = environment.join("bin/python");
    let stamp = environment.join("packages");
    // Debian's own first: another one may lie in a home that a test's ordinary user cannot enter.
    let base = [DEBIAN_PYTHON, "python3"]
        .into_iter()
        .find(|name| Command::exists(name))
        .context("there is no python3")?;
    let wanted = format!("{base}\n{}", PACKAGES.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    Command::new(base)
        .args(["-m", "venv", "--clear"])
        .arg(&environment)
        .run()?;
    Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .run()?;
    fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(python)
}

/// Has a command of [`python`] run in the layer, with the tool and with BitBake from the cache.
///
/// # Errors
/// The tool doesn't compile.
pub fn in_layer(command: Command) -> Result<Command> {
    let home = home()?;
    Ok(command
        .directory(cache::checkout().join("meta-vcontainer"))
        .env("PYTHONPATH", "tests")
        .env("PYTHONPYCACHEPREFIX", home.join("pycache"))
        .env("VCONTAINER_BITBAKE", home.join("bitbake"))
        .env("VCONTAINER", tool::binary()?))
}

/// Installs BitBake if it has to be: who may not write into the cache can use it afterwards.
///
/// # Errors
/// As [`python`].
pub fn bitbake() -> Result<()> {
    let install = "from harness import setup; setup.bitbake()";
    in_layer(Command::new(python()?).args(["-c", install]))?
        .output()
        .map(drop)
}
