//! Writing an archive.

use std::io::{self, Write};

use super::{BLOCK, Entry, EntryKind};

/// Writes an archive whose entries all have the same time.
pub struct Writer<W> {
    inner: W,
    time: u64,
    /// Content of the current file that is still to come, and its padding.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Starts an archive; `time` in seconds since 1970.
    pub fn new(inner: W, time: u64) -> Self {
        Self {
            inner,
            time,
            left: 0,
            padding: 0,
        }
    }

    /// Begins an entry. Content of a file follows through [`Writer::content`].
    ///
    /// # Errors
    /// The stream fails; the file before has not got all its content.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_content()?;
        let mut path = entry.path.clone();
        if path.is_empty() {
            path.push(b'.');
        }
        let (flag, size, link, device) = match &entry.kind {
            EntryKind::File(size) => (b'0', *size, &[][..], (0, 0)),
            EntryKind::HardLink(target) => (b'1', 0, &target[..], (0, 0)),
            EntryKind::Symlink(target) => (b'2', 0, &target[..], (0, 0)),
            EntryKind::Character(major, minor) => (b'3', 0, &[][..], (*major, *minor)),
            EntryKind::Block(major, minor) => (b'4', 0, &[][..], (*major, *minor)),
            EntryKind::Directory => {
                path.push(b'/');
                (b'5', 0, &[][..], (0, 0))
            }
            EntryKind::Fifo => (b'6', 0, &[][..], (0, 0)),
        };
        for (flag, text) in [(b'K', link), (b'L', &path[..])] {
            if text.len() > 100 {
                let mut data = [text, b"\0"].concat();
                let size = data.len() as u64;
                data.resize(data.len().next_multiple_of(BLOCK), 0);
                self.header(flag, b"././@LongLink", 0o644, (0, 0), size, b"", (0, 0))?;
                self.inner.write_all(&data)?;
            }
        }
        self.header(
            flag,
            &path,
            entry.mode,
            (entry.uid, entry.gid),
            size,
            link,
            device,
        )?;
        self.left = size;
        self.padding = usize::try_from(size % BLOCK as u64).map_or(0, |over| (BLOCK - over) % BLOCK);
        Ok(())
    }

    /// Writes the next bytes of the current file.
    ///
    /// # Errors
    /// The stream fails; there are more bytes than the entry said.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("a file has more content than its entry says"))?;
        self.inner.write_all(bytes)
    }

    /// Ends the archive and gives the stream back.
    ///
    /// # Errors
    /// The stream fails; the last file has not got all its content.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_content()?;
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn end_content(&mut self) -> io::Result<()> {
        if self.left != 0 {
            return Err(io::Error::other("a file has less content than its entry says"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.inner
            .write_all([0; BLOCK].get(..padding).unwrap_or_default())
    }

    #[allow(clippy::too_many_arguments)]
    fn header(
        &mut self,
        flag: u8,
        path: &[u8],
        mode: u32,
        owner: (u32, u32),
        size: u64,
        link: &[u8],
        device: (u32, u32),
    ) -> io::Result<()> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8], room: usize| {
            let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            if let Some(field) = header.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        };
        put(0, path, 100);
        put(100, &octal(mode.into(), 8)?, 8);
        put(108, &octal(owner.0.into(), 8)?, 8);
        put(116, &octal(owner.1.into(), 8)?, 8);
        put(124, &octal(size, 12)?, 12);
        put(136, &octal(self.time, 12)?, 12);
        put(148, b"        ", 8);
        put(156, &[flag], 1);
        put(157, link, 100);
        // GNU's magic: the long names are GNU's.
        put(257, b"ustar  \0", 8);
        put(329, &octal(device.0.into(), 8)?, 8);
        put(337, &octal(device.1.into(), 8)?, 8);
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        if let Some(field) = header.get_mut(148..156) {
            field.copy_from_slice(sum.as_bytes());
        }
        self.inner.write_all(&header)
    }
}

/// A number of a header with the NUL behind it.
fn octal(number: u64, room: usize) -> io::Result<Vec<u8>> {
    let text = format!("{number:0width$o}\0", width = room - 1);
    if text.len() > room {
        return Err(io::Error::other(format!(
            "{number} is too large for a tar header"
        )));
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tar::{Reader, TarError};

    fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 7);
        for (entry, content) in entries {
            writer.entry(entry).unwrap();
            writer.content(content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let (mut content, mut buffer) = (Vec::new(), [0; 7]);
            loop {
                match reader.content(&mut buffer).map_err(TarError::Read)? {
                    0 => break,
                    read => content.extend_from_slice(&buffer[..read]),
                }
            }
            entries.push((entry, content));
        }
        Ok(entries)
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::collection::vec(1u8.., 1..40), 1..6).prop_map(|parts| {
            let parts: Vec<Vec<u8>> = parts
                .into_iter()
                .map(|part| {
                    part.into_iter()
                        .map(|byte| if matches!(byte, b'/' | b'.') { b'x' } else { byte })
                        .collect()
                })
                .collect();
            parts.join(&b'/')
        })
    }

    fn item() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let kind = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..1100)
                .prop_map(|content| (EntryKind::File(content.len() as u64), content)),
            name().prop_map(|target| (EntryKind::Symlink(target), Vec::new())),
            name().prop_map(|target| (EntryKind::HardLink(target), Vec::new())),
            Just((EntryKind::Directory, Vec::new())),
            Just((EntryKind::Character(5, 1), Vec::new())),
            Just((EntryKind::Fifo, Vec::new())),
        ];
        (name(), 0u32..0o10000, 0u32..70000, 0u32..70000, kind).prop_map(
            |(path, mode, uid, gid, (kind, content))| {
                (
                    Entry {
                        path,
                        mode,
                        uid,
                        gid,
                        mtime: 7,
                        kind,
                    },
                    content,
                )
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(entries in proptest::collection::vec(item(), 0..8)) {
            prop_assert_eq!(read(&archive(&entries)).unwrap(), entries);
        }

        #[test]
        fn damage_is_an_error_or_harmless(entries in proptest::collection::vec(item(), 1..4), at in any::<usize>(), byte in any::<u8>(), end in any::<usize>()) {
            let mut bytes = archive(&entries);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
            // A cut before the end-of-archive marker is always seen.
            let end = end % (bytes.len() - 2 * BLOCK);
            bytes = archive(&entries);
            prop_assert!(read(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn gnu_tar_agrees() {
        let long = [b"d/".repeat(80), b"f".to_vec()].concat();
        let entry = |path: &[u8], kind| Entry {
            path: path.to_vec(),
            mode: 0o755,
            uid: 3,
            gid: 4,
            mtime: 7,
            kind,
        };
        let bytes = archive(&[
            (entry(&long, EntryKind::File(3)), b"abc".to_vec()),
            (entry(b"link", EntryKind::Symlink(long.clone())), Vec::new()),
        ]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        std::fs::write(&file, bytes).unwrap();
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&file)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.contains("-rwxr-xr-x 3/4") && listed.contains("lrwxr-xr-x 3/4"),
            "{listed}"
        );
        assert!(
            listed.contains(&format!("link -> {}f", "d/".repeat(80))),
            "{listed}"
        );
    }
}
