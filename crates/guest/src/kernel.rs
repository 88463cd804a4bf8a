//! The kernel's image, in the form that QEMU boots (`Documentation/arch/arm64/booting.rst` and
//! `Documentation/arch/x86/boot.rst` of Linux).

use crate::{Arch, elf};

/// Whether these bytes are one.
pub(crate) fn is_bootable(bytes: &[u8], arch: Arch) -> bool {
    let (at, magic) = match arch {
        Arch::Aarch64 => (0x38, b"ARM\x64"),
        Arch::X86_64 => (0x202, b"HdrS"),
    };
    bytes.get(at..at + 4) == Some(magic)
}

/// The kernel's release, as `uname -r` says it, where the image tells.
pub(crate) fn release(bytes: &[u8], arch: Arch) -> Option<String> {
    let text = match arch {
        // Not compressed: the banner is in it.
        Arch::Aarch64 => {
            let banner = b"Linux version ";
            let at = bytes.windows(banner.len()).position(|part| part == banner)?;
            bytes.get(at + banner.len()..)?
        }
        // `kernel_version` is where the text lies, less 512.
        Arch::X86_64 => {
            let at = usize::try_from(elf::number(bytes, 0x20e, 2)?).ok()?;
            bytes.get(at + 0x200..)?
        }
    };
    let word = text.split(|byte| matches!(byte, b' ' | 0)).next()?;
    let word = std::str::from_utf8(word).ok()?;
    (!word.is_empty() && word.len() < 65).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_tell_what_they_are() {
        let mut arm = vec![0; 0x100];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        arm.extend(b"Linux version 6.12.1-yocto (who@where) #1");
        assert!(is_bootable(&arm, Arch::Aarch64) && !is_bootable(&arm, Arch::X86_64));
        assert_eq!(release(&arm, Arch::Aarch64).as_deref(), Some("6.12.1-yocto"));
        let mut pc = vec![0; 0x300];
        pc[0x202..0x206].copy_from_slice(b"HdrS");
        pc[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        pc.extend(b"6.1.0 (who@where)\0");
        assert!(is_bootable(&pc, Arch::X86_64));
        assert_eq!(release(&pc, Arch::X86_64).as_deref(), Some("6.1.0"));
        assert_eq!(release(&pc[..0x300], Arch::X86_64), None);
        assert_eq!(release(b"", Arch::Aarch64), None);
    }
}
