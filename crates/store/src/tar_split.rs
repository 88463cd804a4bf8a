//! The tar-split stream, from which an engine rebuilds the exact archive of a layer out of its files.
//!
//! Gzip of JSON objects, one a line, in the order of the archive: raw segments (type 2: headers, padding, the end of
//! the archive) and files (type 1: name, size, CRC-64 of the content). Docker and Podman write and read the same form.
//! Source: tar-split `tar/asm/disassemble.go` (`runInputTarStream`), `tar/storage/entry.go` and `packer.go`; the
//! strings are escaped as Go's `encoding/json` does.

use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// How much of a stream is kept in memory before it goes to a file.
const IN_MEMORY: usize = 256 * 1024;

/// The level of engines is 6 (Docker) or 1 (Podman). 2 takes half the time of 6 for a sixth more bytes, which is less
/// than a thousandth of the layer.
const LEVEL: Compression = Compression::new(2);

/// Writes a tar-split stream.
pub(crate) struct TarSplitWriter {
    gzip: GzEncoder<tempfile::SpooledTempFile>,
    position: u64,
    line: Vec<u8>,
}

impl TarSplitWriter {
    /// `scratch` is where the temporary file goes if the stream is a long one.
    pub fn new(scratch: &Path) -> Self {
        let spool = tempfile::spooled_tempfile_in(IN_MEMORY, scratch);
        Self {
            // No time in the header: the same layer gives the same bytes.
            gzip: GzBuilder::new().mtime(0).write(spool, LEVEL),
            position: 0,
            line: Vec::new(),
        }
    }

    /// Adds raw bytes of the archive; nothing if there are none.
    pub fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.line.clear();
        self.line.extend_from_slice(b"{\"type\":2,\"payload\":\"");
        push_base64(&mut self.line, bytes);
        self.line.push(b'"');
        self.finish_line()
    }

    /// Adds an entry: its name as the archive resolves it, and the size and checksum of its content.
    pub fn file(&mut self, name: &[u8], size: u64, checksum: u64) -> io::Result<()> {
        self.line.clear();
        self.line.extend_from_slice(b"{\"type\":1");
        match std::str::from_utf8(name) {
            Ok("") => {}
            Ok(name) => {
                self.line.extend_from_slice(b",\"name\":\"");
                push_escaped(&mut self.line, name);
                self.line.push(b'"');
            }
            Err(_) => {
                self.line.extend_from_slice(b",\"name_raw\":\"");
                push_base64(&mut self.line, name);
                self.line.push(b'"');
            }
        }
        if size > 0 {
            write!(self.line, ",\"size\":{size},\"payload\":\"")?;
            push_base64(&mut self.line, &checksum.to_be_bytes());
            self.line.push(b'"');
        } else {
            self.line.extend_from_slice(b",\"payload\":null");
        }
        self.finish_line()
    }

    fn finish_line(&mut self) -> io::Result<()> {
        writeln!(self.line, ",\"position\":{}}}", self.position)?;
        self.position += 1;
        self.gzip.write_all(&self.line)
    }

    /// Ends the stream.
    pub fn finish(self) -> io::Result<TarSplitFile> {
        let mut file = self.gzip.finish()?;
        let length = file.stream_position()?;
        Ok(TarSplitFile {
            file: BufReader::new(file),
            length,
        })
    }
}

fn push_base64(line: &mut Vec<u8>, bytes: &[u8]) {
    let start = line.len();
    line.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The space is exactly what the encoding takes, so this cannot fail.
    let written = BASE64.encode_slice(bytes, &mut line[start..]);
    debug_assert_eq!(written.ok(), Some(line.len() - start));
}

/// As Go's `encoding/json` writes strings.
fn push_escaped(line: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut encoded = [0; 4];
    for character in text.chars() {
        match character {
            '"' | '\\' => line.extend_from_slice(&[b'\\', character as u8]),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            '\u{8}' => line.extend_from_slice(b"\\b"),
            '\u{c}' => line.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\0'..='\x1f' => {
                let byte = character as u8;
                line.extend_from_slice(b"\\u00");
                line.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            '\u{2028}' => line.extend_from_slice(b"\\u2028"),
            '\u{2029}' => line.extend_from_slice(b"\\u2029"),
            other => line.extend_from_slice(other.encode_utf8(&mut encoded).as_bytes()),
        }
    }
}

/// A finished, gzipped tar-split stream, in memory or in a temporary file that has no name.
#[derive(Debug)]
pub struct TarSplitFile {
    file: BufReader<tempfile::SpooledTempFile>,
    length: u64,
}

impl TarSplitFile {
    /// Its length in bytes, compressed.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes, from the first one.
    ///
    /// # Errors
    /// The temporary file cannot be rewound.
    pub fn reader(&mut self) -> io::Result<&mut dyn BufRead> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::crc64::Crc64;

    fn lines(fill: impl FnOnce(&mut TarSplitWriter)) -> String {
        let mut writer = TarSplitWriter::new(Path::new("/nonexistent"));
        fill(&mut writer);
        let mut file = writer.finish().unwrap();
        let mut bytes = Vec::new();
        file.reader().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, file.length());
        assert_eq!(&bytes[4..8], [0; 4], "the gzip header has no time");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    fn checksum(content: &[u8]) -> u64 {
        let mut checksum = Crc64::new();
        content.chunks(1000).for_each(|part| checksum.update(part));
        checksum.finish()
    }

    #[test]
    fn entries_have_the_form_that_engines_write() {
        let text = lines(|out| {
            out.segment(b"abc").unwrap();
            out.file(b"b", 2, checksum(b"B\n")).unwrap();
            out.segment(b"").unwrap();
            out.file(b"dir/", 0, 0).unwrap();
            out.file(b"z", 300_000, checksum(&vec![b'Z'; 300_000])).unwrap();
            out.file(b"\xff", 0, 0).unwrap();
        });
        assert_eq!(
            text,
            concat!(
                "{\"type\":2,\"payload\":\"YWJj\",\"position\":0}\n",
                "{\"type\":1,\"name\":\"b\",\"size\":2,\"payload\":\"YXDwAAAAAAA=\",\"position\":1}\n",
                "{\"type\":1,\"name\":\"dir/\",\"payload\":null,\"position\":2}\n",
                "{\"type\":1,\"name\":\"z\",\"size\":300000,\"payload\":\"01xnH4tb09k=\",\"position\":3}\n",
                "{\"type\":1,\"name_raw\":\"/w==\",\"payload\":null,\"position\":4}\n",
            )
        );
    }

    #[test]
    fn names_are_escaped_as_in_go() {
        let text = lines(|out| {
            out.file(
                "a\"\\<>&\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}\u{2028}\u{2029}ü€".as_bytes(),
                0,
                0,
            )
            .unwrap();
        });
        assert_eq!(
            text,
            concat!(
                r#"{"type":1,"name":"a\"\\\u003c\u003e\u0026\n\r\t\b\f\u0001\u001f"#,
                "\u{7f}",
                r#"\u2028\u2029ü€","payload":null,"position":0}"#,
                "\n"
            )
        );
    }
}
