//! From a reference to a layout: what is done in which order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{cmp, thread};

use vcontainer_image::{Digest, Platform, Reference};

use crate::cache::Cache;
use crate::download::{Blob, Downloader};
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::layout::Layout;
use crate::place::{Mirror, Place, places};
use crate::registry::{Client, Network, Wanted};
use crate::select::{Chosen, MOST_MANIFEST, Selection, Wanted as Document};

/// How many blobs are received at a time.
const AT_ONCE: usize = 3;

/// What is fetched, and where it goes.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image; its tag is of no account.
    pub reference: Reference,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// For which platform; needed when there are several.
    pub platform: Option<Platform>,
    /// Where blobs are kept.
    pub cache: PathBuf,
    /// Whether the network may not be used.
    pub offline: bool,
    /// Where else it may be found, in this order, before its own registry is asked.
    pub mirrors: Vec<Mirror>,
    /// Where the layout will lie; one that is there is replaced. `None` brings the image into the cache only.
    pub target: Option<PathBuf>,
    /// The tag that the layout gives to the image.
    pub tag: String,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the image is for.
    pub platform: Platform,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// Fetches an image into a layout, or into the cache only. What the cache has is not asked for.
///
/// # Errors
/// Nothing has been changed at the place of the layout then.
pub fn fetch(request: &Request, network: &Network, observer: &dyn Observer) -> Result<Fetched, Error> {
    let cache = Cache::new(&request.cache);
    let client = Client::new(network, observer);
    let places = places(&request.reference, &request.mirrors);
    let job = Job {
        request,
        cache: &cache,
        observer,
        downloader: Downloader {
            client: &client,
            cache: &cache,
            places: &places,
            observer,
        },
    };
    job.run()
}

/// The digest that a tag stands for now, computed from what its registry sends.
///
/// # Errors
/// The registry doesn't tell.
pub fn resolve(reference: &Reference, network: &Network, observer: &dyn Observer) -> Result<Digest, Error> {
    let client = Client::new(network, observer);
    let goes_on = || !observer.interrupted();
    let tag = reference.tag_or_latest();
    let what = format!("the manifest of tag `{tag}`");
    client.try_places(&what, &[Place::of(reference)], &goes_on, |place| {
        let get = || client.get(place, &Wanted::Manifest(tag))?.read(MOST_MANIFEST);
        (get().map(|bytes| Digest::of(&bytes)), false)
    })
}

struct Job<'a> {
    request: &'a Request,
    cache: &'a Cache,
    observer: &'a dyn Observer,
    downloader: Downloader<'a>,
}

impl Job<'_> {
    fn run(&self) -> Result<Fetched, Error> {
        let reference = self
            .request
            .reference
            .with_digest(self.request.digest)
            .to_string();
        let mut get = |wanted: &Document<'_>| self.document(wanted);
        let chosen = Selection::new(&reference, self.request.platform.as_ref(), &mut get)
            .choose(self.request.digest)?;
        let blobs = self.blobs(&reference, &chosen)?;
        self.download(&chosen, &blobs)?;
        if let Some(target) = &self.request.target {
            self.observer.event(Event::Writing);
            let mut layout = Layout::new(target)?;
            for blob in &blobs {
                self.add(&mut layout, blob)?;
            }
            layout.finish(&chosen, &self.request.tag)?;
        }
        Ok(Fetched {
            platform: chosen.platform,
            manifest: chosen.manifest.digest,
            layers: chosen.layers.len(),
            bytes: blobs.iter().map(|blob| blob.size).sum(),
        })
    }

    /// The layers, each once.
    fn blobs(&self, reference: &str, chosen: &Chosen) -> Result<Vec<Blob>, Error> {
        let mut sizes = BTreeMap::new();
        let mut blobs = Vec::new();
        for (number, layer) in chosen.layers.iter().enumerate() {
            match sizes.insert(layer.digest, layer.size) {
                None => blobs.push(Blob {
                    what: format!("layer {} ({})", number + 1, layer.digest),
                    digest: layer.digest,
                    size: layer.size,
                }),
                Some(size) if size == layer.size => {}
                Some(_) => {
                    return Err(Error::Image {
                        reference: reference.to_owned(),
                        fault: format!("its manifest gives two sizes for {}", layer.digest),
                    });
                }
            }
        }
        let total = blobs
            .iter()
            .try_fold(0_u64, |sum, blob| sum.checked_add(blob.size));
        match total {
            Some(_) => Ok(blobs),
            None => Err(Error::Image {
                reference: reference.to_owned(),
                fault: "its layers are larger than any disk".into(),
            }),
        }
    }

    /// A document from the cache, else from a registry.
    fn document(&self, wanted: &Document<'_>) -> Result<Vec<u8>, Error> {
        let Document {
            what,
            digest,
            is_blob,
            limit,
        } = *wanted;
        let what = &format!("{what} {digest}");
        match self.cache.read(digest, limit)? {
            Some(Ok(bytes)) => return Ok(bytes),
            Some(Err(_)) => self.damaged(what, digest)?,
            None => self.may_fetch(what)?,
        }
        self.downloader.document(what, digest, is_blob, limit)
    }

    /// Brings all blobs into the cache, several at a time. After the first failure no other is begun.
    fn download(&self, chosen: &Chosen, blobs: &[Blob]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for blob in blobs {
            if !self.cache.has(blob.digest, blob.size)? {
                self.may_fetch(&blob.what)?;
                missing.push(blob);
            }
        }
        let bytes = |blobs: &mut dyn Iterator<Item = &Blob>| blobs.map(|blob| blob.size).sum::<u64>();
        let total = bytes(&mut blobs.iter());
        self.observer.event(Event::Chosen {
            platform: &chosen.platform,
            manifest: chosen.manifest.digest,
            blobs: blobs.len(),
            bytes: total,
            cached: total - bytes(&mut missing.iter().copied()),
        });
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let goes_on = || !failed.load(Ordering::Relaxed) && !self.observer.interrupted();
        let error: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            while let Some(blob) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !goes_on() {
                    return;
                }
                if let Err(found) = self.downloader.blob(blob, &goes_on) {
                    // Those that are given up because of it come later.
                    if !failed.swap(true, Ordering::Relaxed)
                        && let Ok(mut error) = error.lock()
                    {
                        *error = Some(found);
                    }
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..cmp::min(AT_ONCE, missing.len()) {
                scope.spawn(work);
            }
        });
        match error.into_inner() {
            Ok(Some(error)) => Err(error),
            _ if self.observer.interrupted() => Err(Error::GivenUp),
            _ => Ok(()),
        }
    }

    /// Copies a blob from the cache into the layout, and fetches it again if it is damaged.
    fn add(&self, layout: &mut Layout<'_>, blob: &Blob) -> Result<(), Error> {
        if layout.add(self.cache, blob, self.observer)?.is_ok() {
            return Ok(());
        }
        self.damaged(&blob.what, blob.digest)?;
        let goes_on = || !self.observer.interrupted();
        self.downloader.blob(blob, &goes_on)?;
        layout
            .add(self.cache, blob, self.observer)?
            .map_err(|_| Error::Unstable {
                what: blob.what.clone(),
                digest: blob.digest,
                cache: self.request.cache.clone(),
            })
    }

    /// Makes room for what will be fetched in place of something damaged.
    fn damaged(&self, what: &str, digest: Digest) -> Result<(), Error> {
        if self.request.offline {
            return Err(Error::OfflineDamaged {
                what: what.to_owned(),
                cache: self.request.cache.clone(),
            });
        }
        self.observer.event(Event::Damaged { what, digest });
        self.cache.remove(digest)
    }

    fn may_fetch(&self, what: &str) -> Result<(), Error> {
        match self.request.offline {
            false => Ok(()),
            true => Err(Error::Offline {
                what: what.to_owned(),
                cache: self.request.cache.clone(),
            }),
        }
    }
}
