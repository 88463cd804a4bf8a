//! A plain tarball of a root filesystem as an image of one layer.
//!
//! It has neither manifest nor configuration: both are made here, from nothing but the tarball, the platform and the
//! creation time that the caller gives, so that the same input is the same image.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::archive::{is_root_directory, read_or_inflate, tar_or_inflate};
use crate::blob::Blob;
use crate::compression::Compression;
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, HashingReader};
use crate::elf;
use crate::entry::{EntryKind, LayerEntry, TreePath};
use crate::error::{ArchiveError, SourceError};
use crate::layer::{LayerItem, LayerReader};
use crate::manifest::{DocumentError, OCI_CONFIG, OCI_MANIFEST};
use crate::source::{Document, Image, LayerSource, OpenOptions};

const BUFFER: usize = 64 * 1024;

/// Folders whose programs tell what the root filesystem is for. The top counts for images of a single program.
const PROGRAM_FOLDERS: [&[u8]; 6] = [b"", b"bin", b"sbin", b"usr/bin", b"usr/sbin", b"usr/local/bin"];

/// A tarball that has been read through once.
#[derive(Debug)]
pub(crate) struct RootFsTarball {
    path: PathBuf,
    blob: Blob,
    digest: Digest,
    diff_id: DiffId,
    compression: Compression,
    programs: Programs,
}

/// What the programs of the root filesystem are for.
#[derive(Debug, Default)]
struct Programs {
    /// Architecture and the first program of it, in the order they were met.
    seen: Vec<(&'static str, TreePath)>,
}

impl RootFsTarball {
    /// Reads the tarball through, for its digests and to see whether its programs run on the target.
    pub fn read(path: &Path, compression: Compression, options: &OpenOptions) -> Result<Self, SourceError> {
        let io_error = |source| SourceError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        };
        let archive_error = |source| SourceError::Archive {
            path: path.to_owned(),
            source,
        };
        let open = || File::open(path).map_err(io_error);
        let size = open()?.metadata().map_err(io_error)?.len();
        let limit = options.limits.inflated_bytes;
        let stream = compression
            .reader(open()?)
            .map_err(|error| archive_error(ArchiveError::Inflate(error)))?;
        let mut survey = Survey::default();
        let (diff, bytes) = read_through(stream, limit, compression, &mut survey).map_err(archive_error)?;
        if let Some(folder) = survey.layout_in {
            return Err(SourceError::NotAnImage {
                path: path.to_owned(),
                found: format!(
                    "it is an archive of the folder `{folder}`, in which there is an OCI layout: pack what is in the \
                     folder (`tar -C {folder} -cf … .`), or unpack it and give the folder"
                ),
            });
        }
        let (digest, read) = match compression {
            Compression::None => (diff, bytes),
            _ => {
                let mut hashing = HashingReader::new(open()?);
                io::copy(&mut hashing, &mut io::sink()).map_err(io_error)?;
                hashing.finish()
            }
        };
        if read != size {
            return Err(archive_error(ArchiveError::Read(io::Error::other(
                "its size changed while it was read",
            ))));
        }
        Ok(Self {
            path: path.to_owned(),
            blob: Blob::file(path.to_owned(), size),
            digest,
            diff_id: DiffId(diff),
            compression,
            programs: survey.programs,
        })
    }

    /// The tarball as an image for the platform of `options`.
    pub fn image(self, options: &OpenOptions) -> Result<Image, SourceError> {
        let origin = self.path.display().to_string();
        let platform = &options.platform;
        if let Some((architecture, program)) = self.programs.foreign_to(platform) {
            return Err(SourceError::RootFsPlatform {
                origin,
                wanted: Box::new(platform.clone()),
                found: (*architecture).to_owned(),
                program: program.to_string(),
            });
        }
        let json_error = |source: serde_json::Error| SourceError::Document {
            origin: origin.clone(),
            what: "configuration made for it".to_owned(),
            source: DocumentError::Json(source),
        };
        let created = options.created.rfc3339();
        let mut config = Map::new();
        config.insert("created".to_owned(), json!(created));
        config.insert("architecture".to_owned(), json!(platform.architecture));
        config.insert("os".to_owned(), json!(platform.os));
        if let Some(variant) = &platform.variant {
            config.insert("variant".to_owned(), json!(variant));
        }
        config.insert("config".to_owned(), json!({}));
        config.insert(
            "rootfs".to_owned(),
            json!({"type": "layers", "diff_ids": [self.diff_id]}),
        );
        config.insert(
            "history".to_owned(),
            json!([{"created": created, "created_by": "vcontainer", "comment": "root filesystem tarball"}]),
        );
        let config = Document::new(OCI_CONFIG, serde_json::to_vec(&config).map_err(json_error)?);
        let media_type = self.compression.oci_media_type();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.bytes.len()},
            "layers": [{"mediaType": media_type, "digest": self.digest, "size": self.blob.size}],
        });
        let manifest = Document::new(OCI_MANIFEST, serde_json::to_vec(&manifest).map_err(json_error)?);
        let config_view = ImageConfig::parse(&config.bytes).map_err(|source| SourceError::Document {
            origin: origin.clone(),
            what: "configuration made for it".to_owned(),
            source,
        })?;
        let layer = LayerSource::new(
            &origin,
            self.blob,
            self.digest,
            media_type,
            self.diff_id,
            self.compression,
        );
        Ok(Image {
            platform: platform.clone(),
            manifest,
            index: None,
            config,
            config_view,
            layers: vec![layer],
            names: Vec::new(),
            tags: Vec::new(),
            origin,
        })
    }
}

/// What was met on the way through a tarball.
#[derive(Default)]
struct Survey {
    programs: Programs,
    has_root_directory: bool,
    /// The only folder of an archive that was packed one level too high.
    layout_in: Option<String>,
}

impl Survey {
    fn note(&mut self, entry: &LayerEntry, content: &mut impl Read) -> io::Result<()> {
        let components: Vec<&[u8]> = entry.path.components().take(3).collect();
        self.has_root_directory |= components.first().is_some_and(|first| is_root_directory(first));
        if self.has_root_directory {
            self.layout_in = None;
        } else if let [folder, b"oci-layout" | b"index.json"] = components.as_slice() {
            self.layout_in = Some(folder.escape_ascii().to_string());
        }
        let in_program_folder = entry
            .path
            .parent()
            .is_some_and(|folder| PROGRAM_FOLDERS.contains(&folder.as_bytes()));
        if in_program_folder && matches!(entry.kind, EntryKind::File { .. }) {
            let mut start = Vec::with_capacity(elf::HEADER_BYTES);
            content.take(elf::HEADER_BYTES as u64).read_to_end(&mut start)?;
            if let Some(architecture) = elf::architecture(&start)
                && !self.programs.seen.iter().any(|(seen, _)| *seen == architecture)
            {
                self.programs.seen.push((architecture, entry.path.clone()));
            }
        }
        Ok(())
    }
}

impl Programs {
    /// The first program that shows that nothing here runs on `platform`; `None` when some program does, or when
    /// nothing tells.
    fn foreign_to(&self, platform: &crate::platform::Platform) -> Option<&(&'static str, TreePath)> {
        let runs = self.seen.iter().any(|(seen, _)| *seen == platform.architecture);
        if runs || !elf::knows(platform) {
            None
        } else {
            self.seen.first()
        }
    }
}

/// Digest and length of the whole uncompressed stream.
fn read_through(
    stream: Box<dyn Read + Send>,
    limit: u64,
    compression: Compression,
    survey: &mut Survey,
) -> Result<(Digest, u64), ArchiveError> {
    let hashing = HashingReader::new(stream.take(limit.saturating_add(1)));
    let mut reader = LayerReader::new(BufReader::with_capacity(BUFFER, hashing));
    let failed = |error: crate::layer::LayerError, offset: u64| match offset > limit {
        true => ArchiveError::TooLarge(limit),
        false => tar_or_inflate(error, compression),
    };
    loop {
        match reader.next_item() {
            Ok(None) => break,
            Ok(Some(LayerItem::GlobalHeader { .. })) => {}
            Ok(Some(LayerItem::Entry(entry))) => survey
                .note(&entry, &mut reader.content())
                .map_err(|error| read_or_inflate(error, compression))?,
            Err(error) => return Err(failed(error, reader.offset())),
        }
    }
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| read_or_inflate(error, compression))?;
    let (digest, bytes) = rest.into_inner().finish();
    if bytes > limit {
        return Err(ArchiveError::TooLarge(limit));
    }
    Ok((digest, bytes))
}
