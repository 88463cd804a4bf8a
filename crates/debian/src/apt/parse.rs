//! What apt prints: addresses, names of files. Pure.

use std::path::PathBuf;

use super::Package;

/// A package as apt's list of addresses has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) address: String,
    pub(super) file_name: String,
    pub(super) sha256: String,
}

/// Reads a line `'ADDRESS' FILE SIZE SHA256:DIGEST`.
pub(super) fn wanted(line: &str) -> Option<Wanted> {
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
pub(super) fn package(file_name: &str, file: PathBuf) -> Option<Package> {
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
pub(super) fn unescape(text: &str) -> String {
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
