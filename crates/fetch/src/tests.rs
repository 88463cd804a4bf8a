//! The whole way, against a registry that fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use vcontainer_image::{Digest, OpenOptions, Platform, Reference, list_layout};

use crate::credentials::AuthFiles;
use crate::retry::Retries;
use crate::{Error, Event, Fetched, Network, Observer, Request, Timeouts, fetch};

mod cached;
mod faults;
mod image;
mod logins;
mod places;
mod server;

use image::Image;
use server::{Reply, Seen, Server};

/// Remembers what it is told.
#[derive(Default)]
struct Notes {
    told: Mutex<Vec<String>>,
    /// Ends the work when the layout is begun.
    ends_it: bool,
}

impl Observer for Notes {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Received(_)) {
            self.told.lock().unwrap().push(format!("{event:?}"));
        }
    }

    fn interrupted(&self) -> bool {
        self.ends_it && self.told.lock().unwrap().iter().any(|note| note == "Writing")
    }
}

/// A folder for cache and layout, and how a test fetches into it.
struct Bench {
    folder: TempDir,
    image: Arc<Image>,
    network: Network,
    notes: Notes,
    change: fn(&mut Request),
}

impl Bench {
    fn new() -> Self {
        let network = Network {
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                stall: Duration::from_millis(400),
            },
            retries: Retries {
                tries: 3,
                pause: Duration::from_millis(10),
            },
            ..Network::default()
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            image: Arc::new(Image::new()),
            network,
            notes: Notes::default(),
            change: |_| {},
        }
    }

    /// A registry with the image, where `fault` may answer in its place.
    fn serve(&self, fault: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static) -> Server {
        let image = Arc::clone(&self.image);
        Server::start(move |seen, before| fault(seen, before).unwrap_or_else(|| image.reply(seen)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, server: &Server) -> Request {
        let reference: Reference = format!("{}/team/app:1", server.authority()).parse().unwrap();
        let mut request = Request {
            reference,
            digest: self.image.index(),
            platform: Some(Platform::for_machine("aarch64").unwrap()),
            cache: self.path("cache"),
            offline: false,
            mirrors: Vec::new(),
            target: Some(self.path("out/app-1-oci")),
            tag: "1".into(),
        };
        (self.change)(&mut request);
        request
    }

    /// Fetches from a server without TLS, and looks at what comes of it.
    fn fetch(&mut self, server: &Server) -> Result<Fetched, Error> {
        self.network.plain_http = BTreeSet::from([server.authority()]);
        let request = self.request(server);
        let result = fetch(&request, &self.network, &self.notes);
        let target = request.target.clone().unwrap();
        match &result {
            Ok(fetched) => self.check(&request, &target, fetched),
            Err(_) => assert!(!target.exists(), "nothing half-written"),
        }
        let left = std::fs::read_dir(self.path("out")).into_iter().flatten().count();
        assert_eq!(left, usize::from(target.exists()), "nothing but the layout");
        result
    }

    fn check(&self, request: &Request, target: &Path, fetched: &Fetched) {
        let options = OpenOptions::new(fetched.platform.clone());
        let images = list_layout(target, &options).unwrap();
        let [image] = &images[..] else {
            panic!("{images:?}")
        };
        assert_eq!(image.manifest.digest, fetched.manifest);
        assert_eq!(image.tags, ["1"]);
        assert_eq!(self.image.blobs[&fetched.manifest], image.manifest.bytes);
        let index = image.index.as_ref().unwrap();
        assert_eq!(index.digest, request.digest, "whose other image is not there");
        let blobs = target.join("blobs/sha256");
        for entry in std::fs::read_dir(blobs).unwrap() {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            assert_eq!(Digest::of(&bytes).hex(), entry.file_name().to_str().unwrap());
        }
        let kept = std::fs::read_dir(request.cache.join("blobs/sha256")).unwrap();
        for entry in kept {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains('.'), "{name} is left");
        }
    }

    /// A file of credentials, which counts alone.
    fn credentials(&mut self, json: &str) {
        let path = self.path("auth.json");
        std::fs::write(&path, json).unwrap();
        self.network.credentials = AuthFiles {
            given: Some(path),
            usual: Vec::new(),
        };
    }

    fn notes(&self, part: &str) -> usize {
        let notes = self.notes.told.lock().unwrap();
        notes.iter().filter(|note| note.contains(part)).count()
    }
}

/// An error and its causes in one text, and that it holds no secret.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    assert!(!text.contains("hunter2"), "{text}");
    text
}
