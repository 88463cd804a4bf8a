//! An apt of our own: its configuration, lists and archives lie in a cache directory, and it thinks of a machine of the
//! wanted architecture on which nothing is installed. It finds what packages need, and fetches it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::process::{APT_GET, complaint};

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    /// The release, by its code name.
    pub suite: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Where to fetch from: the first that serves the release is taken.
    pub mirrors: Vec<Mirror>,
    /// The keys that the release must be signed with.
    pub keyring: PathBuf,
    /// Options about fetching, as [`crate::host::fetch_options`] gives them.
    pub options: Vec<String>,
    /// What is fetched is kept here for the next time. Several programs may share it.
    pub cache: PathBuf,
    /// Names of the packages. What they depend on comes along; what they only recommend doesn't.
    pub packages: Vec<String>,
    /// Names of packages that are taken to be there: nobody's dependency on them is followed.
    pub assumed: Vec<String>,
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

/// Packages that were fetched. As long as this lives nobody takes them out of the cache.
#[derive(Debug)]
pub struct Fetched {
    /// The packages that were asked for and all that they depend on, sorted by name.
    pub packages: Vec<Package>,
    /// The mirror that they came from.
    pub mirror: Mirror,
    _lock: File,
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
    /// So many packages are needed.
    Needed(usize),
    /// Another package is being fetched.
    Fetching(&'a str),
}

/// Finds `request.packages` and all that they need, and fetches what isn't in the cache. Every list is checked by its
/// signature and every package by its digest.
///
/// # Errors
/// See [`Error`].
pub fn fetch(request: &Request, tell: &mut dyn FnMut(Event<'_>)) -> Result<Fetched, Error> {
    if request.mirrors.is_empty() {
        return Err(Error::NoMirror);
    }
    if !request.keyring.exists() {
        return Err(Error::NoKeyring {
            path: request.keyring.clone(),
        });
    }
    let mut reasons = Vec::new();
    for mirror in &request.mirrors {
        let apt = Apt::open(request, mirror, tell)?;
        tell(Event::Lists(mirror));
        match apt.update()? {
            Ok(()) => return apt.fetch(request, mirror, tell),
            Err(said) => {
                reasons.push(format!("{} ({}): {said}", mirror.address, mirror.origin));
                tell(Event::NotServed(mirror));
            }
        }
    }
    Err(Error::NotServed {
        suite: request.suite.clone(),
        architecture: request.architecture.clone(),
        reasons: reasons.join("; "),
    })
}

/// The private apt for one mirror, release and architecture.
struct Apt {
    directory: PathBuf,
    lock: File,
}

/// A package as apt's list of addresses has it.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    address: String,
    file_name: String,
    sha256: String,
}

impl Apt {
    /// Makes its directory if need be, and keeps others out of it.
    fn open(request: &Request, mirror: &Mirror, tell: &mut dyn FnMut(Event<'_>)) -> Result<Self, Error> {
        let key: String = Sha256::digest(mirror.address.as_bytes())
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{}-{}-{key}", request.suite, request.architecture);
        let directory = request.cache.join("apt").join(name);
        for part in ["etc", "lists/partial", "archives/partial", "none/partial"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).map_err(Error::io("make the directory", &path))?;
        }
        let directory = directory
            .canonicalize()
            .map_err(Error::io("find the directory", request.cache.join("apt")))?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(Error::io("make", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            tell(Event::Waiting);
            flock(&lock, FlockOperation::LockExclusive)
                .map_err(|error| Error::io("lock", &path)(error.into()))?;
        }
        let apt = Self { directory, lock };
        apt.write("etc/sources.list", &sources(request, mirror))?;
        apt.write("apt.conf", &configuration(&apt.directory, request))?;
        apt.write("status", &status(&request.architecture, &request.assumed))?;
        Ok(apt)
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

    /// Fetches the lists. The inner error is why this mirror doesn't serve the release.
    fn update(&self) -> Result<Result<(), String>, Error> {
        let output = APT_GET.output(self.command().args(["-q", "update"]))?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        let said = complaint(&output.stderr);
        let unsigned = [
            "NO_PUBKEY",
            "public key is not available",
            "Missing key",
            "not signed",
        ];
        if unsigned.iter().any(|sign| said.contains(sign)) && !said.contains("does not have a Release file") {
            return Ok(Err(format!(
                "its signature cannot be checked with the keys of debian-archive-keyring (a newer version of that \
                 package may have them): {said}"
            )));
        }
        Ok(Err(said))
    }

    fn fetch(
        self,
        request: &Request,
        mirror: &Mirror,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Fetched, Error> {
        let wanted = self.solve(request)?;
        tell(Event::Needed(wanted.len()));
        // Packages that the mirror has no more would stay for ever.
        let _ = APT_GET.output(self.command().args(["-q", "autoclean"]))?;
        let archives = self.directory.join("archives");
        let mut packages = self.check(&wanted, &archives)?;
        if packages.is_none() {
            self.download(request, tell)?;
            packages = self.check(&wanted, &archives)?;
        }
        let Some(mut packages) = packages else {
            return Err(Error::Program {
                program: APT_GET.name,
                doing: "fetching packages".into(),
                said: "it fetched others than it had said".into(),
            });
        };
        packages.sort_by(|one, two| one.name.cmp(&two.name));
        flock(&self.lock, FlockOperation::LockShared)
            .map_err(|error| Error::io("lock", self.directory.join("lock"))(error.into()))?;
        Ok(Fetched {
            packages,
            mirror: mirror.clone(),
            _lock: self.lock,
        })
    }

    /// What is needed for the packages, whether in the cache or not.
    fn solve(&self, request: &Request) -> Result<Vec<Wanted>, Error> {
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
            "--",
        ]);
        let output = APT_GET.output(command.args(&request.packages))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let detail: Vec<&str> = text
                .lines()
                .skip_while(|line| !line.starts_with("The following packages have unmet"))
                .skip(1)
                .map(str::trim)
                .collect();
            let said = [complaint(&output.stderr), detail.join(" ")]
                .join(" ")
                .trim()
                .to_owned();
            return Err(Error::Unsolvable {
                suite: request.suite.clone(),
                architecture: request.architecture.clone(),
                said,
            });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(wanted).collect())
    }

    /// The packages as files, if all are there. A file with a wrong digest is removed.
    fn check(&self, wanted: &[Wanted], archives: &Path) -> Result<Option<Vec<Package>>, Error> {
        let mut packages = Vec::new();
        let mut complete = true;
        for one in wanted {
            // A mirror on this machine is read in place.
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

    fn download(&self, request: &Request, tell: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        let mut command = self.command();
        command.args([
            "-q",
            "install",
            "--download-only",
            "--yes",
            "--no-install-recommends",
            "--",
        ]);
        let mut child = command
            .args(&request.packages)
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

fn sources(request: &Request, mirror: &Mirror) -> String {
    format!(
        "deb [signed-by={}] {} {} main\n",
        request.keyring.display(),
        mirror.address,
        request.suite
    )
}

/// Everything that could lead out of the directory is set, and nothing of the machine's own configuration is read.
fn configuration(directory: &Path, request: &Request) -> String {
    let directory = directory.display();
    format!(
        "Dir::Etc \"{directory}/etc\";\n\
         Dir::Etc::Main \"{directory}/etc/none\";\n\
         Dir::Etc::Parts \"{directory}/etc/none.d\";\n\
         Dir::Etc::SourceList \"{directory}/etc/sources.list\";\n\
         Dir::Etc::SourceParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Preferences \"{directory}/etc/none\";\n\
         Dir::Etc::PreferencesParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Trusted \"{directory}/etc/none\";\n\
         Dir::Etc::TrustedParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Netrc \"/etc/apt/auth.conf\";\n\
         Dir::Etc::NetrcParts \"/etc/apt/auth.conf.d\";\n\
         Dir::State \"{directory}\";\n\
         Dir::State::Lists \"{directory}/lists\";\n\
         Dir::State::Status \"{directory}/status\";\n\
         Dir::Cache \"{directory}\";\n\
         Dir::Cache::Archives \"{directory}/archives\";\n\
         Dir::Log \"{directory}\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures \"{architecture}\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Get::Assume-Yes \"true\";\n\
         Acquire::ForceHash \"sha256\";\n\
         Acquire::Languages \"none\";\n\
         {options}\n",
        architecture = request.architecture,
        options = request.options.join("\n"),
    )
}

/// dpkg's status file of a machine on which only the assumed packages are installed, in a version newer than any.
fn status(architecture: &str, assumed: &[String]) -> String {
    assumed
        .iter()
        .map(|name| {
            format!(
                "Package: {name}\nStatus: install ok installed\nVersion: 99:9\nArchitecture: {architecture}\n\
                 Multi-Arch: foreign\nMaintainer: nobody <nobody@localhost>\nDescription: taken to be there\n\n"
            )
        })
        .collect()
}

/// Reads a line `'ADDRESS' FILE SIZE SHA256:DIGEST`.
fn wanted(line: &str) -> Option<Wanted> {
    let (address, rest) = line.strip_prefix('\'')?.split_once('\'')?;
    let mut words = rest.split_whitespace();
    let (file_name, _size, digest) = (words.next()?, words.next()?, words.next()?);
    if file_name.contains('/') {
        return None;
    }
    Some(Wanted {
        address: address.to_owned(),
        file_name: file_name.to_owned(),
        sha256: digest.strip_prefix("SHA256:")?.to_owned(),
    })
}

/// Reads a name `NAME_VERSION_ARCHITECTURE.deb`, in which `%3a` stands for a colon.
fn package(file_name: &str, file: PathBuf) -> Option<Package> {
    let mut parts = file_name.strip_suffix(".deb")?.splitn(3, '_');
    let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Package {
        name: name.to_owned(),
        version: unescape(version),
        architecture: architecture.to_owned(),
        file,
    })
}

/// Undoes the percent-encoding that apt uses in addresses and file names.
fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => sha.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_addresses_is_read() {
        let line = "'http://mirror.example/pool/p/procps/procps_4.0.4-9%2bb1_arm64.deb' procps_2%3a4.0.4-9+b1_arm64.deb \
                    871348 SHA256:00ff";
        let read = wanted(line).unwrap();
        assert_eq!(
            (read.file_name.as_str(), read.sha256.as_str()),
            ("procps_2%3a4.0.4-9+b1_arm64.deb", "00ff")
        );
        let package = package(&read.file_name, "f".into()).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("procps", "2:4.0.4-9+b1")
        );
        assert_eq!(package.architecture, "arm64");
        // A weaker digest, and what apt tells besides.
        assert_eq!(
            wanted("'http://mirror.example/x.deb' x_1_all.deb 3 MD5Sum:00"),
            None
        );
        assert_eq!(wanted("Reading package lists..."), None);
        assert_eq!(
            wanted("'http://mirror.example/x.deb' ../x_1_all.deb 3 SHA256:00"),
            None
        );
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("a%3ab%2Bc"), "a:b+c");
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(unescape("%zz%3"), "%zz%3");
    }
}
