//! Which CAs a registry's certificate may be from.
//!
//! Sources: containers-certs.d(5) and Docker's "Verify repository client with certificates": `*.crt` in a directory named by
//! the registry.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::error::{Error, OnPath as _};

/// Where distributions keep the CAs that a machine trusts; the first that is there counts.
const BUNDLES: &[&str] = &[
    // Debian, Ubuntu, Arch, Alpine
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // openSUSE
    "/etc/ssl/ca-bundle.pem",
    // Alpine, OpenBSD
    "/etc/ssl/cert.pem",
];

/// The CAs that are trusted.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Files of CAs that the user has named: for every registry.
    pub given: Vec<PathBuf>,
    /// The file of CAs that counts for this machine (`SSL_CERT_FILE`); otherwise that of its distribution.
    pub machine: Option<PathBuf>,
    /// Directories such as `/etc/containers/certs.d`, which hold one for each registry.
    pub directories: Vec<PathBuf>,
}

impl Trust {
    /// The CAs for a server, in DER form.
    ///
    /// # Errors
    /// A file that was named cannot be used.
    pub(crate) fn roots(&self, registry: &str) -> Result<Vec<Certificate<'static>>, Error> {
        let mut roots = Vec::new();
        match &self.machine {
            Some(file) => roots.extend(read(file)?),
            None => {
                let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists());
                roots.extend(bundle.and_then(|path| read(path).ok()).unwrap_or_default());
            }
        }
        for file in &self.given {
            roots.extend(read(file)?);
        }
        for directory in &self.directories {
            for file in certificates_in(&directory.join(registry))? {
                roots.extend(read(&file)?);
            }
        }
        Ok(roots)
    }
}

/// The files `*.crt` of a directory, sorted; none when it isn't there.
fn certificates_in(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        // An ordinary user may not look into every directory of the machine.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        entries => entries.at("listing", directory)?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.at("listing", directory)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let text = fs::read(path).at("reading", path)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(Error::Certificate {
            path: path.to_owned(),
        }),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_for_their_registry() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::create_dir_all(path("certs.d/r.example:5000")).unwrap();
        fs::write(path("certs.d/r.example:5000/ca.crt"), pem.repeat(2)).unwrap();
        fs::write(path("certs.d/r.example:5000/client.cert"), "no").unwrap();
        fs::write(path("machine"), pem).unwrap();
        let trust = Trust {
            given: Vec::new(),
            machine: Some(path("machine")),
            directories: vec![path("certs.d"), path("missing")],
        };
        assert_eq!(trust.roots("r.example:5000").unwrap().len(), 3);
        assert_eq!(trust.roots("r.example").unwrap().len(), 1);
        fs::write(path("not"), "no PEM").unwrap();
        let trust = Trust {
            given: vec![path("not")],
            ..trust
        };
        assert!(matches!(trust.roots("r.example"), Err(Error::Certificate { .. })));
    }
}
