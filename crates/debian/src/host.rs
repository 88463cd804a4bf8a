//! What this machine's apt knows: where its Debian mirror is, and how it is told to fetch.

use crate::Error;
use crate::process::{APT_CONFIG, APT_GET, complaint};

/// The Debian mirror that this machine's apt uses, if it uses one.
///
/// # Errors
/// apt is missing or broken.
pub fn mirror() -> Result<Option<String>, Error> {
    let output = APT_GET.output(APT_GET.command().args([
        "indextargets",
        // Without its lists apt need not read them: a twentieth of the time.
        "-o",
        "Dir::State::Lists=/nonexistent",
        "--no-release-info",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    if !output.status.success() {
        return Err(Error::Program {
            program: APT_GET.name,
            doing: "listing this machine's package sources".into(),
            said: complaint(&output.stderr),
        });
    }
    Ok(debian_mirror(&String::from_utf8_lossy(&output.stdout)).map(str::to_owned))
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
/// apt is missing or broken.
pub fn fetch_options() -> Result<Vec<String>, Error> {
    let output = APT_CONFIG.output(APT_CONFIG.command().arg("dump"))?;
    if !output.status.success() {
        return Err(Error::Program {
            program: APT_CONFIG.name,
            doing: "reading this machine's apt configuration".into(),
            said: complaint(&output.stderr),
        });
    }
    let dump = String::from_utf8_lossy(&output.stdout);
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
