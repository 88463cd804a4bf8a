//! What the header of a program says (System V ABI, chapter 4 and 5).

use crate::Arch;

/// `PT_INTERP`: the program is started by a loader, which finds its libraries.
const INTERPRETER: u64 = 3;

/// Whether these are the first bytes of an ELF file (20 are enough).
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Whether it is for `arch`: `e_machine` is `EM_AARCH64` or `EM_X86_64`.
pub(crate) fn is_for(bytes: &[u8], arch: Arch) -> bool {
    let machine: [u8; 2] = match arch {
        Arch::Aarch64 => 183u16.to_le_bytes(),
        Arch::X86_64 => 62u16.to_le_bytes(),
    };
    is_elf(bytes) && bytes.get(18..20) == Some(&machine)
}

/// Whether a program of 64 bits, little-endian, names a loader.
pub(crate) fn is_dynamic(bytes: &[u8]) -> bool {
    let (Some(table), Some(size), Some(count)) =
        (number(bytes, 32, 8), number(bytes, 54, 2), number(bytes, 56, 2))
    else {
        return false;
    };
    (0..count).any(|index| {
        let at = usize::try_from(index * size)
            .ok()
            .and_then(|offset| usize::try_from(table).ok()?.checked_add(offset));
        at.and_then(|at| number(bytes, at, 4)) == Some(INTERPRETER)
    })
}

/// The little-endian number of `length` bytes at `at`.
pub(crate) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    let digits = field.iter().rev();
    Some(digits.fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This program, whatever the machine.
    #[test]
    fn a_real_program_is_read() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let own: Arch = std::env::consts::ARCH.parse().unwrap();
        for arch in Arch::ALL {
            assert_eq!(is_for(&bytes, arch), arch == own);
        }
        assert!(is_dynamic(&bytes));
        for end in 0..200 {
            let _ = is_dynamic(&bytes[..end]);
        }
        let mut without = bytes;
        without[56..58].fill(0);
        assert!(!is_dynamic(&without) && !is_for(b"#!/bin/sh", own));
    }
}
