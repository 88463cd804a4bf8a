//! What is installed already, as dpkg's status file says it: apt finds what is missing beside it.

use std::fmt::Write as _;
use std::io::Read as _;

use crate::Error;
use crate::apt::Package;
use crate::process::DPKG_DEB;
use crate::tar::{EntryKind, Reader, TarError};

/// Programs that dpkg would run. We never do.
const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// The longest control file that is read, in bytes: a hundred times the longest of Debian.
const MAX_CONTROL: u64 = 4 << 20;

/// Packages that apt takes for installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed(String);

/// What a package says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its fields, as in a status file, without those about the installation.
    pub fields: String,
    /// The maintainer scripts that it has.
    pub scripts: Vec<&'static str>,
    /// Absolute paths of its configuration files, which are never put in place of changed ones (deb-conffiles(5)).
    pub configuration: Vec<String>,
}

impl Installed {
    /// From a status file's text, as [`Installed::as_str`] gives it.
    #[must_use]
    pub fn new(status: String) -> Self {
        Self(status)
    }

    /// These packages are taken to be there, in a version newer than any.
    #[must_use]
    pub fn assumed(architecture: &str, names: &[String]) -> Self {
        let mut status = String::new();
        for name in names {
            // Writing to a string does not fail.
            let _ = write!(
                status,
                "Package: {name}\nStatus: install ok installed\nVersion: 99:9\nArchitecture: {architecture}\n\
                 Multi-Arch: foreign\nMaintainer: nobody <nobody@localhost>\nDescription: taken to be there\n\n"
            );
        }
        Self(status)
    }

    /// One more package is installed.
    pub fn add(&mut self, control: &Control) {
        let _ = write!(
            self.0,
            "{}\nStatus: install ok installed\n\n",
            control.fields.trim_end()
        );
    }

    /// All that these others are, too.
    pub fn extend(&mut self, others: &Self) {
        self.0.push_str(&others.0);
    }

    /// The text of the status file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads what a package says of itself.
///
/// # Errors
/// It is damaged.
pub fn control(package: &Package) -> Result<Control, Error> {
    let read = DPKG_DEB.stream(
        DPKG_DEB.command().arg("--ctrl-tarfile").arg(&package.file),
        || format!("reading {}", package.file.display()),
        |stdout| read_control(Reader::new(stdout)),
    )?;
    let failed = |source| Error::Unpack {
        path: package.file.clone(),
        source,
    };
    read.map_err(failed)?
        .ok_or_else(|| failed(TarError::Damaged("it has no control file")))
}

fn read_control(mut reader: Reader<impl std::io::Read>) -> Result<Option<Control>, TarError> {
    let mut fields = None;
    let mut scripts = Vec::new();
    let mut configuration = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if !matches!(entry.kind, EntryKind::File(_)) {
            continue;
        }
        if entry.path == b"conffiles" {
            let text = text(&mut reader)?;
            // A word before the path tells what becomes of files that are gone.
            let paths = text.lines().filter_map(|line| line.split_whitespace().last());
            configuration.extend(paths.map(str::to_owned));
        }
        if entry.path == b"control" {
            let text = text(&mut reader)?;
            // A blank line would begin the fields of another package.
            fields = text.split("\n\n").next().map(str::to_owned);
        }
        scripts.extend(SCRIPTS.into_iter().find(|name| entry.path == name.as_bytes()));
    }
    scripts.sort_unstable();
    Ok(fields.map(|fields| Control {
        fields,
        scripts,
        configuration,
    }))
}

/// The content of the current entry, as far as it is read.
fn text(reader: &mut Reader<impl std::io::Read>) -> Result<String, TarError> {
    let mut bytes = Vec::new();
    Content(reader)
        .take(MAX_CONTROL)
        .read_to_end(&mut bytes)
        .map_err(TarError::Read)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Content<'a, R>(&'a mut Reader<R>);

impl<R: std::io::Read> std::io::Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.content(buffer)
    }
}
