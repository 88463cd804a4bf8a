//! What this machine's apt knows: where its Debian mirror is, and how it is told to fetch.

use anyhow::{Context, Result, bail};

use crate::process::Command;

/// The Debian mirror to take packages from: `VCONTAINER_MIRROR`, else the one that this machine's apt uses.
///
/// # Errors
/// Neither names one, as on a machine that isn't Debian.
pub fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("VCONTAINER_MIRROR")
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    let targets = Command::new("apt-get")
        .args([
            "indextargets",
            "--no-release-info",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        ])
        .arg("Created-By: Packages")
        .output()
        .context("asking apt for its package sources")?;
    match debian_mirror(&targets) {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!("this machine's apt has no Debian mirror: set VCONTAINER_MIRROR to the address of one"),
    }
}

/// Finds the first line `ADDRESS RELEASE main` of a plain Debian release (no updates, security, backports).
fn debian_mirror(targets: &str) -> Option<&str> {
    const RELEASES: &[&str] = &[
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "sid",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (address, release, component) = (words.next()?, words.next()?, words.next()?);
        (RELEASES.contains(&release) && component == "main").then_some(address)
    })
}

/// Options of this machine's apt about fetching (proxies, validity of dates, retries), for an apt that works
/// elsewhere, in the syntax of apt.conf.
///
/// # Errors
/// `apt-config` cannot be run.
pub fn fetch_options() -> Result<Vec<String>> {
    let dump = Command::new("apt-config")
        .arg("dump")
        .output()
        .context("asking apt for its configuration")?;
    Ok(dump
        .lines()
        .filter(|line| is_fetch_option(line))
        .map(str::to_owned)
        .collect())
}

fn is_fetch_option(line: &str) -> bool {
    const KEYS: &[&str] = &[
        "Acquire::Check-",
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::Retries",
        "Acquire::ForceIP",
    ];
    KEYS.iter().any(|key| line.starts_with(key)) && !line.ends_with(" \"\";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_release_is_taken() {
        let targets = "http://other.example/node nodistro main\n\
             http://mirror.example/debian-security/ bookworm-security main\n\
             http://mirror.example/debian/ bookworm main\n";
        assert_eq!(debian_mirror(targets), Some("http://mirror.example/debian/"));
        assert_eq!(debian_mirror("http://mirror.example/ubuntu/ noble main\n"), None);
    }

    #[test]
    fn options_about_fetching_only() {
        assert!(is_fetch_option("Acquire::Check-Valid-Until \"false\";"));
        assert!(is_fetch_option("Acquire::http::Proxy \"http://proxy.example\";"));
        assert!(!is_fetch_option("Acquire::http::Proxy \"\";"));
        assert!(!is_fetch_option("APT::Install-Recommends \"1\";"));
    }
}
