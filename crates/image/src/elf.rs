//! Which processor a program is for, from the first bytes of an ELF file.
//!
//! Source: System V ABI, "ELF Header": `e_ident` (class at 4, byte order at 5), `e_machine` at 18; machine numbers from
//! the ABI's registry.

use crate::platform::Platform;

/// Bytes of a file that are enough.
pub(crate) const HEADER_BYTES: usize = 20;

/// The architecture, by its OCI name, of the program that starts with `header`; `None` for what is no ELF program or
/// library, or for a processor that has no OCI name here.
pub(crate) fn architecture(header: &[u8]) -> Option<&'static str> {
    const EXECUTABLE: u16 = 2;
    const SHARED: u16 = 3;
    let header: &[u8; HEADER_BYTES] = header.first_chunk()?;
    if header[..4] != *b"\x7fELF" {
        return None;
    }
    let is_64 = header[4] == 2;
    let little = header[5] == 1;
    let half = |at: usize| {
        let bytes = [header[at], header[at + 1]];
        if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        }
    };
    if !matches!(half(16), EXECUTABLE | SHARED) {
        return None;
    }
    match (half(18), is_64, little) {
        (3, false, true) => Some("386"),
        (8, true, true) => Some("mips64le"),
        (8, false, true) => Some("mipsle"),
        (21, true, true) => Some("ppc64le"),
        (22, true, false) => Some("s390x"),
        (40, false, true) => Some("arm"),
        (62, true, true) => Some("amd64"),
        (183, true, true) => Some("arm64"),
        (243, true, true) => Some("riscv64"),
        (258, true, true) => Some("loong64"),
        _ => None,
    }
}

/// Whether this tool can tell programs of `platform` by their header at all.
pub(crate) fn knows(platform: &Platform) -> bool {
    matches!(
        platform.architecture.as_str(),
        "386"
            | "mips64le"
            | "mipsle"
            | "ppc64le"
            | "s390x"
            | "arm"
            | "amd64"
            | "arm64"
            | "riscv64"
            | "loong64"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_their_processor() {
        let header = |class, order, kind: [u8; 2], machine: [u8; 2]| {
            let mut bytes = b"\x7fELF\0\0\x01\0\0\0\0\0\0\0\0\0".to_vec();
            (bytes[4], bytes[5]) = (class, order);
            bytes.extend(kind);
            bytes.extend(machine);
            bytes
        };
        assert_eq!(architecture(&header(2, 1, [3, 0], [183, 0])), Some("arm64"));
        assert_eq!(architecture(&header(2, 1, [2, 0], [62, 0])), Some("amd64"));
        assert_eq!(architecture(&header(2, 2, [0, 2], [0, 22])), Some("s390x"));
        // An object file (a kernel module, firmware) is no program.
        assert_eq!(architecture(&header(2, 1, [1, 0], [183, 0])), None);
        assert_eq!(architecture(b"#!/bin/sh\nexec something long\n"), None);
        assert_eq!(architecture(b"\x7fELF"), None);
    }
}
