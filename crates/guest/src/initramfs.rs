//! Writing the initramfs: a "newc" cpio archive (`Documentation/driver-api/early-userspace/buffer-format.rst` of
//! Linux), gzip-compressed, the same bytes for the same content.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

/// Directory, and the bits of one.
const DIRECTORY: u32 = 0o040_755;
/// Regular file that may be run.
const PROGRAM: u32 = 0o100_755;
/// Regular file.
const FILE: u32 = 0o100_644;

/// Writes the initramfs: `/init`, empty directories for what it mounts, and `/modules/NNN-NAME.ko` in load order.
pub(crate) fn write<'a, W: Write>(
    output: W,
    init: &[u8],
    modules: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> io::Result<W> {
    let gzip = GzBuilder::new().mtime(0).write(output, Compression::best());
    let mut cpio = Cpio {
        inner: gzip,
        inode: 0,
        written: 0,
    };
    for directory in ["dev", "modules", "proc", "rootfs", "run", "sys"] {
        cpio.entry(directory, DIRECTORY, b"")?;
    }
    cpio.entry("init", PROGRAM, init)?;
    for (index, (name, bytes)) in modules.enumerate() {
        cpio.entry(&format!("modules/{index:03}-{name}.ko"), FILE, bytes)?;
    }
    cpio.entry("TRAILER!!!", 0, b"")?;
    cpio.inner.finish()
}

struct Cpio<W> {
    inner: W,
    inode: u32,
    written: usize,
}

impl<W: Write> Cpio<W> {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, time, size, device of the file, device that it is, size of the name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(b"\0")?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.inner.write_all(bytes)
    }

    /// Names and contents end at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(4) - self.written;
        self.put([0; 4].get(..padding).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn example() -> Vec<u8> {
        let modules = [("virtio_blk", &b"first"[..]), ("overlay", b"second!")];
        write(Vec::new(), b"\x7fELF", modules.into_iter()).unwrap()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        assert_eq!(example(), example());
    }

    /// Reads it by the format's own rules.
    #[test]
    fn entries_read_back() {
        let mut cpio = Vec::new();
        flate2::read::GzDecoder::new(&example()[..])
            .read_to_end(&mut cpio)
            .unwrap();
        let field = |at: usize, index: usize| {
            let digits = &cpio[at + 6 + 8 * index..at + 14 + 8 * index];
            usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
        };
        let (mut at, mut entries) = (0, Vec::new());
        loop {
            assert_eq!(&cpio[at..at + 6], b"070701");
            let (mode, size, name_size) = (field(at, 1), field(at, 6), field(at, 11));
            let name = String::from_utf8(cpio[at + 110..at + 109 + name_size].to_vec()).unwrap();
            let content = (at + 110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                break;
            }
            entries.push((name, mode, cpio[content..content + size].to_vec()));
            at = (content + size).next_multiple_of(4);
        }
        let files: Vec<_> = entries.iter().filter(|entry| entry.1 != 0o040_755).collect();
        assert_eq!(*files[0], ("init".into(), 0o100_755, b"\x7fELF".to_vec()));
        assert_eq!(
            *files[1],
            ("modules/000-virtio_blk.ko".into(), 0o100_644, b"first".to_vec())
        );
        assert_eq!(
            *files[2],
            ("modules/001-overlay.ko".into(), 0o100_644, b"second!".to_vec())
        );
        assert!(
            entries
                .iter()
                .any(|entry| entry.0 == "proc" && entry.1 == 0o040_755)
        );
    }
}
