//! The machine that a root filesystem's programs are for, from the ELF header of one of them (elf(5)).

use std::fmt;
use std::fs::File;
use std::io::Read;

use vcontainer_image::Platform;
use vcontainer_store::{Rootfs, RootfsError};

use super::{TargetError, tree_path};

/// Programs of which a root filesystem with an engine has at least one.
const PROGRAMS: [&str; 8] = [
    "/usr/sbin/dockerd",
    "/usr/bin/dockerd",
    "/usr/bin/podman",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/bin/busybox",
    "/bin/bash",
    "/bin/sh",
];

/// A machine by what ELF knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`
    number: u16,
    /// 64-bit (`EI_CLASS`), which tells riscv64 from riscv32.
    wide: bool,
    /// Big-endian (`EI_DATA`), which tells ppc64 from ppc64le.
    big_endian: bool,
}

/// `e_machine`, 64-bit, big-endian, the OCI architecture, and the name that `--arch` takes.
const KNOWN: [(u16, bool, bool, &str, &str); 9] = [
    (183, true, false, "arm64", "aarch64"),
    (62, true, false, "amd64", "x86_64"),
    (40, false, false, "arm", "armv7l"),
    (3, false, false, "386", "i686"),
    (243, true, false, "riscv64", "riscv64"),
    (21, true, false, "ppc64le", "ppc64le"),
    (22, true, true, "s390x", "s390x"),
    (258, true, false, "loong64", "loongarch64"),
    (8, true, false, "mips64le", "mips64el"),
];

impl Machine {
    /// The machine in the first 20 bytes of a program.
    fn of_header(header: &[u8; 20]) -> Option<Self> {
        let big_endian = match header {
            [0x7f, b'E', b'L', b'F', _, 1, ..] => false,
            [0x7f, b'E', b'L', b'F', _, 2, ..] => true,
            _ => return None,
        };
        let number = [header[18], header[19]];
        Some(Self {
            number: if big_endian {
                u16::from_be_bytes(number)
            } else {
                u16::from_le_bytes(number)
            },
            wide: header[4] == 2,
            big_endian,
        })
    }

    fn known(self) -> Option<(&'static str, &'static str)> {
        KNOWN
            .iter()
            .find(|(number, wide, big, ..)| {
                (*number, *wide, *big) == (self.number, self.wide, self.big_endian)
            })
            .map(|(_, _, _, architecture, name)| (*architecture, *name))
    }

    /// Whether programs of `platform` are programs of this machine. A machine that is not in the list runs nothing.
    #[must_use]
    pub fn runs(self, platform: &Platform) -> bool {
        self.known()
            .is_some_and(|(architecture, _)| architecture == platform.architecture)
    }

    /// The name that stands for this machine alone; `None` where the header does not tell the variant (32-bit ARM).
    #[must_use]
    pub fn arch(self) -> Option<&'static str> {
        self.known()
            .filter(|(architecture, _)| *architecture != "arm")
            .map(|(_, name)| name)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "ELF machine {}", self.number),
        }
    }
}

/// The machine of the first program that is there and is ELF, and that program's path.
pub(super) fn read(rootfs: &Rootfs) -> Result<Option<(Machine, String)>, TargetError> {
    for program in PROGRAMS {
        let path = tree_path(program)?;
        if !rootfs.metadata(&path)?.is_some_and(|metadata| metadata.is_file()) {
            continue;
        }
        let mut header = [0; 20];
        let read = File::open(rootfs.host_path(&rootfs.resolve(&path)?))
            .and_then(|mut file| file.read_exact(&mut header));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => continue,
            Err(source) => {
                return Err(TargetError::Rootfs(RootfsError::Io {
                    action: "read",
                    path,
                    source,
                }));
            }
        }
        if let Some(machine) = Machine::of_header(&header) {
            return Ok(Some((machine, program.to_owned())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_the_machine() {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
        let machine = Machine::of_header(&header).unwrap();
        assert!(machine.runs(&Platform::for_machine("aarch64").unwrap()));
        assert!(!machine.runs(&Platform::for_machine("x86_64").unwrap()));
        assert_eq!(
            (machine.to_string().as_str(), machine.arch()),
            ("aarch64", Some("aarch64"))
        );
        header[18] = 40;
        header[4] = 1;
        let machine = Machine::of_header(&header).unwrap();
        assert!(machine.runs(&Platform::for_machine("armv6l").unwrap()) && machine.arch().is_none());
        header[18] = 0xff;
        assert_eq!(
            Machine::of_header(&header).unwrap().to_string(),
            "ELF machine 255"
        );
        header[0] = b'#';
        assert_eq!(Machine::of_header(&header), None);
    }
}
