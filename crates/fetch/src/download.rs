//! Blobs from registries into the cache.

use std::io::{ErrorKind, Read as _};
use std::thread;
use std::time::Duration;

use vcontainer_image::Digest;

use crate::cache::{Cache, Partial};
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::fault::Fault;
use crate::http::Answer;
use crate::place::Place;
use crate::registry::{Client, Wanted};

/// How much must have come for a failure to count as the first one again, in bytes.
const FURTHER: u64 = 1 << 20;

/// A blob to be had.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// What it is, for messages.
    pub what: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Whoever downloads.
pub(crate) struct Downloader<'a> {
    pub client: &'a Client<'a>,
    pub cache: &'a Cache,
    pub places: &'a [Place],
    pub observer: &'a dyn Observer,
}

impl Downloader<'_> {
    /// A document as its registry has it, and keeps it.
    pub fn document(&self, what: &str, digest: Digest, is_blob: bool, limit: u64) -> Result<Vec<u8>, Error> {
        let name = digest.to_string();
        let goes_on = || !self.observer.interrupted();
        let bytes = self.client.try_places(what, self.places, &goes_on, |place| {
            let wanted = match is_blob {
                true => Wanted::Blob(digest, 0),
                false => Wanted::Manifest(&name),
            };
            let get = || {
                let answer = self.client.get(place, &wanted)?;
                let server = answer.server.clone();
                let bytes = answer.read(limit)?;
                match Digest::of(&bytes) {
                    found if found == digest => Ok(bytes),
                    found => Err(Fault::WrongBytes {
                        server,
                        wanted: digest,
                        found,
                    }),
                }
            };
            (get(), false)
        })?;
        self.cache.write(&bytes)?;
        Ok(bytes)
    }

    /// Brings a blob into the cache, unless it is there.
    pub fn blob(&self, blob: &Blob, goes_on: &dyn Fn() -> bool) -> Result<(), Error> {
        let Some(mut partial) = self.begin(blob, goes_on)? else {
            return Ok(());
        };
        partial.resume(blob.size)?;
        if partial.size() > 0 {
            self.observer.event(Event::Resumed {
                digest: blob.digest,
                from: partial.size(),
            });
            self.observer.event(Event::Received(partial.size()));
        }
        let mut most = partial.size();
        self.client
            .try_places(&blob.what, self.places, goes_on, |place| {
                let result = self.receive(blob, place, &mut partial, goes_on);
                let further = partial.size() >= most.saturating_add(FURTHER);
                most = most.max(partial.size());
                (result, further)
            })?;
        self.cache.keep(&partial, blob.digest)?;
        self.observer.event(Event::Done {
            digest: blob.digest,
            size: blob.size,
        });
        Ok(())
    }

    /// Takes the lock on the part of a blob; `None` when somebody has made it meanwhile.
    fn begin(&self, blob: &Blob, goes_on: &dyn Fn() -> bool) -> Result<Option<Partial>, Error> {
        let mut told = false;
        loop {
            if self.cache.has(blob.digest, blob.size)? {
                self.observer.event(Event::Received(blob.size));
                return Ok(None);
            }
            if let Some(partial) = self.cache.partial(blob.digest)? {
                if !self.cache.has(blob.digest, blob.size)? {
                    return Ok(Some(partial));
                }
                partial.remove();
                continue;
            }
            if !goes_on() {
                return Err(Error::GivenUp);
            }
            if !told {
                self.observer.event(Event::Waiting(blob.digest));
                told = true;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks once for what is missing.
    fn receive(
        &self,
        blob: &Blob,
        place: &Place,
        partial: &mut Partial,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Fault> {
        // Even of an empty blob something has to be asked, or nobody says whether it is there.
        if partial.size() < blob.size || blob.size == 0 {
            let answer = self.client.get(place, &Wanted::Blob(blob.digest, partial.size()));
            if let Err(Fault::Status { code: 416, .. }) = &answer {
                self.discard(partial)?;
            }
            let answer = answer?;
            if partial.size() > 0 && !goes_on_at(&answer, partial.size()) {
                // The whole blob instead of the rest of it.
                self.discard(partial)?;
                if answer.code != 200 {
                    return Err(Fault::Connection {
                        server: answer.server,
                        fault: "it sends another part than the one asked for".into(),
                    });
                }
            }
            self.append(blob, answer, partial, goes_on)?;
        }
        let found = partial.digest();
        if found == blob.digest {
            return Ok(());
        }
        self.discard(partial)?;
        Err(Fault::WrongBytes {
            server: place.authority().to_owned(),
            wanted: blob.digest,
            found,
        })
    }

    fn append(
        &self,
        blob: &Blob,
        answer: Answer,
        partial: &mut Partial,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Fault> {
        let server = answer.server.clone();
        let mut reader = answer.into_reader();
        let mut buffer = vec![0; 128 << 10];
        loop {
            if !goes_on() {
                return Err(Error::GivenUp.into());
            }
            let count = match reader.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::of_reading(&error, &server)),
                Ok(0) => break,
                Ok(count) => count,
            };
            if partial.size() + count as u64 > blob.size {
                self.discard(partial)?;
                return Err(Fault::TooLarge {
                    server,
                    limit: blob.size,
                });
            }
            partial.append(buffer.get(..count).unwrap_or_default())?;
            self.observer.event(Event::Received(count as u64));
        }
        match partial.size() == blob.size {
            true => Ok(()),
            false => Err(Fault::Cut {
                server,
                received: partial.size(),
                expected: blob.size,
            }),
        }
    }

    fn discard(&self, partial: &mut Partial) -> Result<(), Error> {
        self.observer.event(Event::Discarded(partial.size()));
        partial.clear()
    }
}

/// Whether an answer begins at this byte. Source: RFC 9110 section 14.4.
fn goes_on_at(answer: &Answer, from: u64) -> bool {
    let range = answer
        .header("content-range")
        .and_then(|range| range.trim().strip_prefix("bytes"));
    let first = range.and_then(|range| range.trim().split('-').next()?.parse::<u64>().ok());
    answer.code == 206 && first == Some(from)
}
