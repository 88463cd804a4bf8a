//! The files of the layout: whether each is there, and what its digest says.

use std::io::{self, Read as _};

use vcontainer_image::{Descriptor, Digest, HashingReader, RawFile};

use super::Verifier;
use crate::error::{LayerFault, chain};

impl Verifier<'_> {
    /// The content of a file beside the blobs.
    pub(super) fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        match self.layout.file(name) {
            Ok(Some(file)) => self.read(&file, name),
            Ok(None) => {
                self.wrong(name, "it is missing");
                None
            }
            Err(error) => {
                self.wrong(name, chain(&error));
                None
            }
        }
    }

    pub(super) fn read(&mut self, file: &RawFile, what: &str) -> Option<Vec<u8>> {
        let limit = self.documents.document_bytes;
        if file.size() > limit {
            self.wrong(
                what,
                format!(
                    "it has {} bytes, and no real one has more than {limit}",
                    file.size()
                ),
            );
            return None;
        }
        let mut bytes = Vec::new();
        let read = file.open().and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => Some(bytes),
            Err(error) => {
                self.wrong(what, format!("it cannot be read: {error}"));
                None
            }
        }
    }

    /// The blob of a descriptor, if it is there and is what size and digest say.
    pub(super) fn blob(&mut self, descriptor: &Descriptor, what: &str) -> Option<RawFile> {
        let file = match self.layout.blob(descriptor.digest) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.wrong(what, "it is missing");
                return None;
            }
            Err(error) => {
                self.wrong(what, chain(&error));
                return None;
            }
        };
        let known = self.blobs.get(&descriptor.digest).copied();
        if file.size() != descriptor.size {
            self.blobs.entry(descriptor.digest).or_insert(false);
            let (found, expected) = (file.size(), descriptor.size);
            self.wrong(what, LayerFault::Size { found, expected }.to_string());
            return None;
        }
        if known == Some(true) {
            return Some(file);
        }
        let digest = file.open().and_then(|file| {
            let mut reader = HashingReader::new(file);
            io::copy(&mut reader, &mut io::sink())?;
            Ok(reader.finish().0)
        });
        let fault = match digest {
            Ok(found) if found == descriptor.digest => None,
            Ok(found) => Some(LayerFault::Digest { found }.to_string()),
            Err(error) => Some(format!("it cannot be read: {error}")),
        };
        self.blobs.insert(descriptor.digest, fault.is_none());
        match fault {
            None => Some(file),
            Some(fault) => {
                self.wrong(what, fault);
                None
            }
        }
    }

    /// What is there and nothing refers to.
    pub(super) fn rest(&mut self) {
        let names = match self.layout.blob_names() {
            Ok(names) => names,
            Err(error) => return self.wrong("blobs", chain(&error)),
        };
        for name in names {
            let text = name.escape_ascii().to_string();
            match format!("sha256:{text}").parse::<Digest>() {
                Ok(digest) if self.blobs.contains_key(&digest) => {}
                Ok(digest) => self
                    .found
                    .notes
                    .push(format!("blob {digest}: nothing refers to it")),
                Err(_) => self.found.notes.push(format!("`blobs/sha256/{text}` is no blob")),
            }
        }
    }
}
