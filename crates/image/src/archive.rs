//! Files that are tar archives, plain or compressed: what they hold, and their members by name.
//!
//! An image archive is indexed by offset and read in place. One that is compressed as a whole is first decompressed
//! into a file without a name, because its manifest may come after its layers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use crate::blob::Blob;
use crate::compression::Compression;
use crate::entry::{EntryKind, TreePath};
use crate::error::{ArchiveError, SourceError};
use crate::layer::{LayerError, LayerItem, LayerReader};
use crate::rootfs_tarball::RootFsTarball;
use crate::source::{OpenOptions, SourceLimits};
use crate::tree::Tree;

/// What an archive holds.
pub(crate) enum Content {
    /// Images: an OCI layout or `docker save`.
    Image(Tree),
    /// A root filesystem.
    RootFs(RootFsTarball),
}

/// Where the uncompressed copy of a compressed archive goes unless told otherwise: a place on a disk, by custom.
const DEFAULT_SCRATCH: &str = "/var/tmp";
/// Links from member to member; real archives have one.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 64 * 1024;

/// Directories at the top of a root filesystem (Filesystem Hierarchy Standard). No image archive has one of these.
const ROOT_DIRECTORIES: [&[u8]; 18] = [
    b"bin", b"boot", b"dev", b"etc", b"home", b"lib", b"lib32", b"lib64", b"media", b"mnt", b"opt", b"proc",
    b"root", b"run", b"sbin", b"sys", b"usr", b"var",
];

/// Opens the archive at `path`, a regular file.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Content, SourceError> {
    let archive_error = |source| SourceError::Archive {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|source| SourceError::Io {
        doing: "open image",
        path: path.to_owned(),
        source,
    })?;
    let mut start = Vec::new();
    (&file)
        .take(8)
        .read_to_end(&mut start)
        .map_err(|error| archive_error(ArchiveError::Read(error)))?;
    let compression = Compression::sniff(&start).map_err(|error| archive_error(error.into()))?;
    let kind = classify(&file, compression, options.limits.inflated_bytes).map_err(archive_error)?;
    if kind == Kind::Image {
        let plain = match compression {
            Compression::None => file,
            _ => decompress(&file, compression, options).map_err(archive_error)?,
        };
        let members = Members::index(plain, &options.limits).map_err(archive_error)?;
        if !members.has_root_directory {
            let listed = |name| members.files.contains_key(&name);
            return match [&b"index.json"[..], b"manifest.json"]
                .into_iter()
                .filter_map(|name| TreePath::clean(name).ok())
                .any(listed)
            {
                true => Ok(Content::Image(Tree::archive(path, members))),
                false => Err(SourceError::NotAnImage {
                    path: path.to_owned(),
                    found:
                        "it looks like an image archive, but has neither index.json nor manifest.json: it is \
                            incomplete, or from a Docker older than 1.10"
                            .to_owned(),
                }),
            };
        }
    }
    if kind == Kind::NoTar {
        return Err(SourceError::NotAnImage {
            path: path.to_owned(),
            found: match compression {
                Compression::None => "it is no tar archive",
                Compression::Gzip => "it is gzip-compressed, but there is no tar archive inside",
                Compression::Zstd => "it is zstd-compressed, but there is no tar archive inside",
            }
            .to_owned(),
        });
    }
    Ok(Content::RootFs(RootFsTarball::read(path, compression, options)?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    RootFs,
    NoTar,
}

/// Looks at the members in turn until one tells what the archive holds.
fn classify(file: &File, compression: Compression, limit: u64) -> Result<Kind, ArchiveError> {
    let source = rewound(file)?;
    // A few megabytes of zstd can stand for terabytes of one member that has to be passed over.
    let limit = match compression {
        Compression::None => u64::MAX,
        _ => limit,
    };
    let stream = compression
        .reader(source)
        .map_err(ArchiveError::Inflate)?
        .take(limit.saturating_add(1));
    let mut reader = LayerReader::new(BufReader::with_capacity(BUFFER, stream));
    let mut members = 0;
    loop {
        let item = match reader.next_item() {
            Ok(Some(item)) => item,
            _ if reader.offset() > limit => return Err(ArchiveError::TooLarge(limit)),
            // An empty archive is an empty root filesystem; an empty file is nothing.
            Ok(None) if reader.offset() == 0 => return Ok(Kind::NoTar),
            Ok(None) => return Ok(Kind::RootFs),
            Err(_) if members == 0 && compression == Compression::None => return Ok(Kind::NoTar),
            Err(LayerError::Header { .. }) if members == 0 => return Ok(Kind::NoTar),
            Err(error) => return Err(tar_or_inflate(error, compression)),
        };
        members += 1;
        let LayerItem::Entry(entry) = item else {
            continue;
        };
        let Some(first) = entry.path.components().next() else {
            continue;
        };
        if is_root_directory(first) {
            return Ok(Kind::RootFs);
        }
        if is_image_member(first) {
            return Ok(Kind::Image);
        }
    }
}

/// Whether the first component of a name is one that image archives have.
fn is_image_member(first: &[u8]) -> bool {
    let known = matches!(
        first,
        b"oci-layout" | b"index.json" | b"blobs" | b"manifest.json" | b"repositories"
    );
    // `<id>/layer.tar`, `<id>.json`, `<id>.tar`, `sha256:<id>`.
    let id = first.strip_prefix(b"sha256:").unwrap_or(first);
    let is_id = id.len() >= 64
        && id[..64].iter().all(u8::is_ascii_hexdigit)
        && matches!(&id[64..], b"" | b".json" | b".tar" | b".tar.gz");
    known || is_id
}

/// A broken compressed stream shows as a failed read of the tar stream.
pub(crate) fn tar_or_inflate(error: LayerError, compression: Compression) -> ArchiveError {
    match error {
        LayerError::Read { source, .. } => read_or_inflate(source, compression),
        error => ArchiveError::Tar(error),
    }
}

/// A failed read of a compressed stream is a fault of the stream.
pub(crate) fn read_or_inflate(error: io::Error, compression: Compression) -> ArchiveError {
    match compression {
        Compression::None => ArchiveError::Read(error),
        Compression::Gzip | Compression::Zstd => ArchiveError::Inflate(error),
    }
}

/// Whether the first component of a name belongs to a root filesystem.
pub(crate) fn is_root_directory(first: &[u8]) -> bool {
    ROOT_DIRECTORIES.contains(&first)
}

/// Another handle on `file`, at its start.
fn rewound(file: &File) -> Result<File, ArchiveError> {
    let mut file = file.try_clone().map_err(ArchiveError::Read)?;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
    Ok(file)
}

/// Writes the uncompressed archive into a file without a name in the scratch folder.
fn decompress(file: &File, compression: Compression, options: &OpenOptions) -> Result<File, ArchiveError> {
    let folder = options.scratch.as_deref().unwrap_or(Path::new(DEFAULT_SCRATCH));
    let scratch = |source| ArchiveError::Scratch {
        folder: folder.to_owned(),
        source,
    };
    let mut copy = tempfile::tempfile_in(folder).map_err(scratch)?;
    let mut stream = compression
        .reader(rewound(file)?)
        .map_err(ArchiveError::Inflate)?;
    let mut buffer = vec![0; BUFFER];
    let mut total = 0_u64;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(copy),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Inflate(error)),
        };
        total += count as u64;
        if total > options.limits.inflated_bytes {
            return Err(ArchiveError::TooLarge(options.limits.inflated_bytes));
        }
        copy.write_all(&buffer[..count]).map_err(scratch)?;
    }
}

/// The members of an uncompressed image archive. Of two with the same name the later one counts, as tar has it.
#[derive(Debug)]
pub(crate) struct Members {
    files: HashMap<TreePath, Member>,
    has_root_directory: bool,
}

#[derive(Debug, Clone)]
enum Member {
    File(Blob),
    /// To another member, as a path from the top of the archive.
    Link(TreePath),
}

impl Members {
    fn index(mut file: File, limits: &SourceLimits) -> Result<Self, ArchiveError> {
        let length = file.metadata().map_err(ArchiveError::Read)?.len();
        file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
        let file = Arc::new(file);
        let mut reader = LayerReader::new(BufReader::with_capacity(BUFFER, &*file));
        let mut files = HashMap::new();
        let mut has_root_directory = false;
        while let Some(item) = reader
            .next_item()
            .map_err(|error| tar_or_inflate(error, Compression::None))?
        {
            let LayerItem::Entry(entry) = item else { continue };
            has_root_directory |= entry.path.components().next().is_some_and(is_root_directory);
            let member = match entry.kind {
                EntryKind::File { size } => {
                    let offset = reader.offset();
                    if length.checked_sub(offset).is_none_or(|rest| rest < size) {
                        return Err(ArchiveError::Truncated(entry.path.to_string()));
                    }
                    reader.seek_over_content().map_err(ArchiveError::Read)?;
                    Member::File(Blob::range(Arc::clone(&file), offset, size))
                }
                EntryKind::Symlink { target } => match link_target(&entry.path, &target) {
                    Some(target) => Member::Link(target),
                    // It leads out of the archive, where nothing of the image can be.
                    None => continue,
                },
                EntryKind::Hardlink { target } => Member::Link(target),
                _ => continue,
            };
            if files.len() >= limits.archive_members {
                return Err(ArchiveError::TooManyMembers(limits.archive_members));
            }
            files.insert(entry.path, member);
        }
        Ok(Self {
            files,
            has_root_directory,
        })
    }

    /// The names of all files and links.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(TreePath::as_bytes)
    }

    /// The file called `name`, through links between members; `None` when there is none.
    pub fn find(&self, name: &TreePath) -> Result<Option<Blob>, ArchiveError> {
        let mut at = name;
        for _ in 0..=MAX_LINKS {
            match self.files.get(at) {
                Some(Member::File(blob)) => return Ok(Some(blob.clone())),
                Some(Member::Link(target)) => at = target,
                None if at == name => return Ok(None),
                None => break,
            }
        }
        Err(ArchiveError::Link(name.to_string()))
    }
}

/// Where a symbolic link points, from the top of the archive; `None` when it leaves it.
fn link_target(link: &TreePath, target: &[u8]) -> Option<TreePath> {
    let mut path = Vec::new();
    if !target.starts_with(b"/") {
        path.extend_from_slice(link.parent()?.as_bytes());
        path.push(b'/');
    }
    path.extend_from_slice(target);
    TreePath::clean(&path).ok()
}
