//! For tests: archives made entry by entry, a writer into memory, and the reassembly that tar-split streams are for.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use vcontainer_image::{Compression, DiffId, Digest, EntryKind, Meta, Timestamp, TreePath};

use crate::apply::{AppliedLayer, ApplyError, ApplyOptions, LayerBlob, Limits, apply_blob};
use crate::crc64::Crc64;
use crate::lower::LowerView;
use crate::sink::{SinkError, TreeWriter};
use crate::tar_split::TarSplitFile;

/// The path of a test's text.
pub(crate) fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::clean(text.as_ref()).unwrap()
}

/// A ustar archive in the making. Everything belongs to `uid` 1, `gid` 2 and has the time 3.
#[derive(Default, Clone)]
pub(crate) struct Archive(pub Vec<u8>);

impl Archive {
    pub fn entry(&mut self, name: &str, kind: u8, mode: u32, link: &str, content: &[u8]) -> &mut Self {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..116].copy_from_slice(b"0000001\0");
        block[116..124].copy_from_slice(b"0000002\0");
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[136..148].copy_from_slice(b"00000000003\0");
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.entry(name, b'0', 0o644, "", content)
    }

    pub fn directory(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(&format!("{name}/"), b'5', mode, "", b"")
    }

    pub fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, b'2', 0o777, target, b"")
    }

    pub fn hardlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, b'1', 0o644, target, b"")
    }

    /// The whole archive, with its end.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

/// What a [`MemoryTree`] holds under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub kind: EntryKind,
    pub meta: Meta,
    /// Of a file.
    pub content: Vec<u8>,
}

/// A subtree in memory. Panics when it is written to in a way that the contract of [`TreeWriter`] excludes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MemoryTree {
    pub objects: BTreeMap<TreePath, Object>,
}

impl MemoryTree {
    pub fn mode(&self, at: &str) -> u32 {
        self.objects[&path(at)].meta.mode
    }

    /// All names, whiteouts with an exclamation mark.
    pub fn names(&self) -> Vec<String> {
        let is_whiteout = |object: &Object| object.kind == EntryKind::Char { major: 0, minor: 0 };
        let mark = |object| if is_whiteout(object) { "!" } else { "" };
        let name = |path: &TreePath| String::from_utf8_lossy(path.as_bytes()).into_owned();
        self.objects
            .iter()
            .map(|(path, object)| mark(object).to_owned() + &name(path))
            .collect()
    }

    fn put(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        kind: EntryKind,
        content: Vec<u8>,
    ) -> Result<(), SinkError> {
        let parent = path.parent().expect("the root is no object");
        if !parent.is_root() {
            assert_eq!(
                self.objects[&parent].kind,
                EntryKind::Directory,
                "parent of {path}"
            );
        }
        let before = self.objects.insert(
            path.clone(),
            Object {
                kind,
                meta: meta.clone(),
                content,
            },
        );
        assert_eq!(before, None, "{path} is made once");
        Ok(())
    }
}

impl TreeWriter for MemoryTree {
    fn directory(&mut self, path: &TreePath, meta: &Meta) -> Result<(), SinkError> {
        match self.objects.get_mut(path) {
            Some(object) => {
                assert_eq!(object.kind, EntryKind::Directory, "{path}");
                object.meta = meta.clone();
                Ok(())
            }
            None => self.put(path, meta, EntryKind::Directory, Vec::new()),
        }
    }

    fn file(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        size: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), SinkError> {
        let mut bytes = Vec::new();
        let content_error = |source| SinkError::Content {
            path: path.clone(),
            source,
        };
        content
            .take(size)
            .read_to_end(&mut bytes)
            .map_err(content_error)?;
        assert_eq!(bytes.len() as u64, size);
        self.put(path, meta, EntryKind::File { size }, bytes)
    }

    fn symlink(&mut self, path: &TreePath, meta: &Meta, target: &[u8]) -> Result<(), SinkError> {
        self.put(
            path,
            meta,
            EntryKind::Symlink {
                target: target.to_vec(),
            },
            Vec::new(),
        )
    }

    fn hardlink(&mut self, path: &TreePath, existing: &TreePath) -> Result<(), SinkError> {
        let Object { kind, meta, content } = self.objects[existing].clone();
        self.put(path, &meta, kind, content)
    }

    fn node(&mut self, path: &TreePath, meta: &Meta, kind: &EntryKind) -> Result<(), SinkError> {
        self.put(path, meta, kind.clone(), Vec::new())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The time given to what is not dated.
pub(crate) const EPOCH: Timestamp = Timestamp {
    seconds: 1_000_000,
    nanoseconds: 0,
};

pub(crate) fn options(limits: Limits) -> ApplyOptions<'static> {
    ApplyOptions {
        limits,
        epoch: EPOCH,
        scratch: Path::new("/tmp"),
        on_read: &|_| std::ops::ControlFlow::Continue(()),
    }
}

/// A blob with right claims about it.
pub(crate) fn blob(archive: &[u8], compressed: &[u8], compression: Compression) -> LayerBlob<'static> {
    LayerBlob {
        digest: Digest::of(compressed),
        size: compressed.len() as u64,
        diff_id: DiffId(Digest::of(archive)),
        compression,
        reader: Box::new(std::io::Cursor::new(compressed.to_vec())),
    }
}

/// Applies an uncompressed layer.
pub(crate) fn apply_archive(
    archive: &[u8],
    out: &mut MemoryTree,
    lower: Option<&LowerView<'_>>,
) -> Result<AppliedLayer, ApplyError> {
    let blob = blob(archive, archive, Compression::None);
    apply_blob(blob, out, lower, &options(Limits::default()))
}

/// An error with all that is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Rebuilds an archive as an engine does, with the content that `read` gives for a name.
pub(crate) fn reassemble(stream: &mut TarSplitFile, read: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(stream.reader().unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let mut archive = Vec::new();
    for (position, line) in text.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["position"], position);
        let decode = |field: &str| BASE64.decode(line[field].as_str().unwrap()).unwrap();
        if line["type"] == 2 {
            archive.extend(decode("payload"));
        } else if let Some(size) = line["size"].as_u64() {
            let name = line["name"]
                .as_str()
                .map_or_else(|| decode("name_raw"), |name| name.as_bytes().to_vec());
            let content = read(&name);
            assert_eq!(content.len() as u64, size);
            let mut checksum = Crc64::new();
            checksum.update(&content);
            assert_eq!(decode("payload"), checksum.finish().to_be_bytes());
            archive.extend(content);
        }
    }
    archive
}
