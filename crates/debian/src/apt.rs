//! An apt of our own: its configuration, lists and archives lie in a cache directory, and it thinks of a machine of the
//! wanted architecture on which nothing is installed but what it is told. It finds what packages need, and fetches it.

mod configuration;
mod lists;
mod parse;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::Error;
use crate::digest::{digest, digest_of};
use crate::installed::Installed;
use crate::process::{APT_GET, complaint};
pub use parse::Wanted;
use parse::{package, unescape, wanted};

/// Where packages come from, and what they are for.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// A release of Debian.
    pub release: Option<Release>,
    /// Directories with `.deb` files in them or below.
    pub feeds: Vec<PathBuf>,
    /// Options about fetching, as [`crate::host::fetch_options`] gives them.
    pub options: Vec<String>,
    /// What is fetched is kept here for the next time. Several programs may share it.
    pub cache: PathBuf,
    /// The mirror's lists are fetched again when they are older than this.
    pub max_age: Duration,
}

/// A release of Debian on mirrors.
#[derive(Debug, Clone)]
pub struct Release {
    /// The release, by its code name.
    pub suite: String,
    /// Where to fetch from: the first that serves the release is taken.
    pub mirrors: Vec<Mirror>,
    /// The keys that the release must be signed with.
    pub keyring: PathBuf,
}

/// A mirror of Debian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its address, as in a line of apt's sources.
    pub address: String,
    /// Who named it, for messages: "given by --mirror".
    pub origin: String,
}

/// One package as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, epoch included.
    pub version: String,
    /// Debian's name of its architecture, or `all`.
    pub architecture: String,
    /// The `.deb` file.
    pub file: PathBuf,
}

/// What is needed for some packages: they, and all that they depend on and that is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    asked: Vec<String>,
    installed: Installed,
    wanted: Vec<Wanted>,
}

impl Solution {
    /// Name, version and SHA-256 of each package, sorted by name.
    #[must_use]
    pub fn packages(&self) -> Vec<(String, String, String)> {
        let mut packages: Vec<_> = self
            .wanted
            .iter()
            .filter_map(|wanted| {
                let package = package(&wanted.file_name, PathBuf::new())?;
                Some((package.name, package.version, wanted.sha256.clone()))
            })
            .collect();
        packages.sort();
        packages
    }
}

/// Packages that were fetched. As long as this lives nobody takes them out of the cache.
#[derive(Debug)]
pub struct Fetched<'a> {
    /// The packages, sorted by name.
    pub packages: Vec<Package>,
    _apt: &'a Apt,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another program is fetching into the same cache: its end is waited for.
    Waiting,
    /// The lists of packages are being fetched from this mirror.
    Lists(&'a Mirror),
    /// A mirror that doesn't serve the release; the next one is tried.
    NotServed(&'a Mirror),
    /// No mirror can be reached, and lists that are older than wanted are taken. The text is why.
    OldLists(&'a Mirror, &'a str),
    /// So many packages are needed.
    Needed(usize),
    /// Another package is being fetched.
    Fetching(&'a str),
}

/// The private apt for one mirror, release and architecture.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
    lock: File,
    /// Where packages come from, for messages.
    origin: String,
    architecture: String,
    /// Tells one state of the lists from another.
    stamp: String,
}

impl Apt {
    /// Opens the apt for these sources, with lists that are not too old. Every list is checked by its signature. When no
    /// mirror can be reached, lists that were fetched before are taken, as apt does, unless `max_age` is zero.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(sources: &Sources, tell: &mut dyn FnMut(Event<'_>)) -> Result<Self, Error> {
        let Some(release) = &sources.release else {
            let mut apt = Self::in_cache(sources, None, tell)?;
            apt.refresh(sources, None, tell)?
                .map_err(|failure| Error::Program {
                    program: APT_GET.name,
                    doing: format!("reading the index of {}", apt.origin),
                    said: failure.said,
                })?;
            return Ok(apt);
        };
        if release.mirrors.is_empty() {
            return Err(Error::NoMirror);
        }
        if !release.keyring.exists() {
            return Err(Error::NoKeyring {
                path: release.keyring.clone(),
            });
        }
        // apt takes another path for a fingerprint.
        let keyring =
            std::path::absolute(&release.keyring).map_err(Error::io("find the file", &release.keyring))?;
        if keyring.to_string_lossy().contains([' ', '\t', '\n', ',']) {
            return Err(Error::KeyringPath { path: keyring });
        }
        let release = &Release {
            keyring,
            ..release.clone()
        };
        let mut reasons = Vec::new();
        let mut old = None;
        for mirror in &release.mirrors {
            let mut apt = Self::in_cache(sources, Some((release, mirror)), tell)?;
            match apt.refresh(sources, Some((release, mirror)), tell)? {
                Ok(()) => return Ok(apt),
                Err(failure) => {
                    reasons.push(format!(
                        "{} ({}): {}",
                        mirror.address, mirror.origin, failure.said
                    ));
                    tell(Event::NotServed(mirror));
                    if failure.leaves_lists && !sources.max_age.is_zero() {
                        old = old.or(Some((apt, mirror)));
                    }
                }
            }
        }
        if let Some((mut apt, mirror)) = old {
            tell(Event::OldLists(mirror, &reasons.join("; ")));
            apt.take_lists()?;
            return Ok(apt);
        }
        Err(Error::NotServed {
            suite: release.suite.clone(),
            architecture: sources.architecture.clone(),
            reasons: reasons.join("; "),
        })
    }

    /// Makes its directory if need be, and keeps others out of it.
    fn in_cache(
        sources: &Sources,
        from: Option<(&Release, &Mirror)>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, Error> {
        let feeds: Vec<String> = sources
            .feeds
            .iter()
            .map(|feed| feed.to_string_lossy().into_owned())
            .collect();
        let address = from.map_or("", |(_, mirror)| mirror.address.as_str());
        let key = match feeds.is_empty() {
            true => digest_of([address]),
            false => digest_of(std::iter::once(address).chain(feeds.iter().map(String::as_str))),
        };
        let suite = from.map_or("feed", |(release, _)| release.suite.as_str());
        let name = format!(
            "{suite}-{}-{}",
            sources.architecture,
            key.get(..12).unwrap_or(&key)
        );
        let directory = sources.cache.join("apt").join(name);
        for part in [
            "etc",
            "lists/partial",
            "archives/partial",
            "none/partial",
            "solved",
        ] {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(Error::io("make the directory", &path))?;
        }
        let directory = directory
            .canonicalize()
            .map_err(Error::io("find the directory", sources.cache.join("apt")))?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(Error::io("make", &path))?;
        let debian = from.map(|(release, _)| format!("Debian {}", release.suite));
        let feeds = feeds.iter().map(|feed| format!("the feed `{feed}`"));
        let apt = Self {
            directory,
            lock,
            origin: debian.into_iter().chain(feeds).collect::<Vec<_>>().join(" and "),
            architecture: sources.architecture.clone(),
            stamp: String::new(),
        };
        apt.keep_others_out(tell)?;
        Ok(apt)
    }

    fn keep_others_out(&self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            tell(Event::Waiting);
            self.lock(FlockOperation::LockExclusive)?;
        }
        Ok(())
    }

    fn lock(&self, operation: FlockOperation) -> Result<(), Error> {
        flock(&self.lock, operation)
            .map_err(|error| Error::io("lock", self.directory.join("lock"))(error.into()))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    fn command(&self) -> Command {
        let mut command = APT_GET.command();
        command.env("APT_CONFIG", self.directory.join("apt.conf"));
        command
    }

    /// Finds what is needed for some packages when others are installed, whether in the cache or not. What packages only
    /// recommend doesn't come along.
    ///
    /// # Errors
    /// A package is not known, or they cannot be installed together.
    pub fn solve(
        &mut self,
        packages: &[String],
        installed: &Installed,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Solution, Error> {
        self.keep_others_out(tell)?;
        let asked = packages.join("\n");
        let question = digest_of([asked.as_str(), installed.as_str()]);
        let memo = format!("solved/{}-{question}", self.stamp);
        let text = match fs::read_to_string(self.directory.join(&memo)) {
            Ok(text) => text,
            Err(_) => {
                let text = self.ask(packages, installed)?;
                // Whole or not at all: it is believed when it is read again.
                let new = self.directory.join("solved/new");
                fs::write(&new, &text)
                    .and_then(|()| fs::rename(&new, self.directory.join(&memo)))
                    .map_err(Error::io("write", &new))?;
                text
            }
        };
        Ok(Solution {
            asked: packages.to_vec(),
            installed: installed.clone(),
            wanted: text.lines().filter_map(wanted).collect(),
        })
    }

    fn ask(&self, packages: &[String], installed: &Installed) -> Result<String, Error> {
        self.write("status", installed.as_str())?;
        // apt doesn't list what its archives have: it gets others, which are empty.
        let none = format!("Dir::Cache::archives={}", self.directory.join("none").display());
        let mut command = self.command();
        command.args([
            "-q",
            "-o",
            &none,
            "install",
            "--print-uris",
            "--yes",
            "--no-install-recommends",
            // What is below a layer cannot be taken away.
            "--no-remove",
            "--",
        ]);
        let output = APT_GET.output(command.args(packages))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(text.into_owned());
        }
        let is_reason = |line: &&str| {
            line.starts_with("The following packages have unmet") || line.contains(" is a virtual package")
        };
        let detail: Vec<&str> = text
            .lines()
            .skip_while(|line| !is_reason(line))
            .filter(|line| !line.starts_with("The following packages have unmet"))
            .map(str::trim)
            .collect();
        let said = [complaint(&output.stderr), detail.join(" ")]
            .join(" ")
            .trim()
            .to_owned();
        Err(Error::Unsolvable {
            origin: self.origin.clone(),
            architecture: self.architecture.clone(),
            said,
        })
    }

    /// Fetches what isn't in the cache. Every package is checked by its digest.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn fetch(
        &mut self,
        solution: &Solution,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Fetched<'_>, Error> {
        self.keep_others_out(tell)?;
        tell(Event::Needed(solution.wanted.len()));
        // Packages that the mirror has no more would stay for ever.
        let _ = APT_GET.output(self.command().args(["-q", "autoclean"]))?;
        let archives = self.directory.join("archives");
        let mut packages = check(&solution.wanted, &archives)?;
        if packages.is_none() {
            self.download(solution, tell)?;
            packages = check(&solution.wanted, &archives)?;
        }
        let Some(mut packages) = packages else {
            return Err(Error::Program {
                program: APT_GET.name,
                doing: "fetching packages".into(),
                said: "it fetched others than it had said".into(),
            });
        };
        packages.sort_by(|one, two| one.name.cmp(&two.name));
        self.lock(FlockOperation::LockShared)?;
        Ok(Fetched { packages, _apt: self })
    }

    fn download(&self, solution: &Solution, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        self.write("status", solution.installed.as_str())?;
        let mut command = self.command();
        command.args([
            "-q",
            "install",
            "--download-only",
            "--yes",
            "--no-install-recommends",
            // What is below a layer cannot be taken away.
            "--no-remove",
            "--",
        ]);
        let mut child = command
            .args(&solution.asked)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| APT_GET.not_started(error))?;
        // What apt complains about is short: the pipe holds it until it has ended.
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                // Get:3 ADDRESS RELEASE ARCHITECTURE NAME ARCHITECTURE VERSION [SIZE]
                let line = String::from_utf8_lossy(&line);
                if line.starts_with("Get:")
                    && let Some(name) = line.split_whitespace().nth(4)
                {
                    tell(Event::Fetching(name));
                }
            }
        }
        let output = child
            .wait_with_output()
            .map_err(|error| APT_GET.not_started(error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Program {
            program: APT_GET.name,
            doing: "fetching packages".into(),
            said: complaint(&output.stderr),
        })
    }
}

/// The packages as files, if all are there. A file with a wrong digest is removed.
fn check(wanted: &[Wanted], archives: &Path) -> Result<Option<Vec<Package>>, Error> {
    let mut packages = Vec::new();
    let mut complete = true;
    for one in wanted {
        // A mirror on this machine, or a feed, is read in place.
        let local = one
            .address
            .strip_prefix("file:")
            .map(|path| PathBuf::from(unescape(path)));
        let is_local = local.is_some();
        let file = local.unwrap_or_else(|| archives.join(&one.file_name));
        if !file.exists() {
            complete = false;
            continue;
        }
        if digest(&file).map_err(Error::io("read", &file))? != one.sha256 {
            if is_local {
                return Err(Error::Damaged { path: file });
            }
            fs::remove_file(&file).map_err(Error::io("remove the damaged package", &file))?;
            complete = false;
            continue;
        }
        packages.extend(package(&one.file_name, file));
    }
    Ok((complete && packages.len() == wanted.len()).then_some(packages))
}
