//! What is asked for, whether it was an entry on the command line or a table of a configuration file.

use std::path::PathBuf;

use crate::grammar::{Entry, Policy, Runtime, Source};
use crate::run_options::RunOptions;

/// Where the image of a request is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageSource {
    /// By its name: in the image directories, or where `--image NAME=PATH` says.
    Named(Source),
    /// At this path of the build host.
    Path(PathBuf),
}

/// One image for one engine, and perhaps a service that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to call the request in messages: "entry `myapp:docker`", "`[[container]]` 2 of bundle.toml".
    pub origin: String,
    /// Where the image is.
    pub source: ImageSource,
    /// Which image of a source that holds several, by its name or tag there.
    pub select: Option<String>,
    /// The image's name and tag in the store, when not derived from the source.
    pub name: Option<String>,
    /// The engine.
    pub runtime: Runtime,
    /// The policy; `None` for an image that nothing starts.
    pub policy: Option<Policy>,
    /// The container's name, when not derived from the image's name.
    pub container: Option<String>,
    /// A service file that replaces the generated one.
    pub service: Option<PathBuf>,
    /// How the container is started.
    pub run: RunOptions,
}

impl Request {
    /// The request that an entry of the command line makes. `default` is the runtime of entries that name none.
    #[must_use]
    pub fn from_entry(text: &str, entry: Entry, default: Runtime) -> Self {
        Self {
            origin: format!("entry `{text}`"),
            source: ImageSource::Named(entry.source),
            select: None,
            name: None,
            runtime: entry.runtime.unwrap_or(default),
            policy: entry.policy,
            container: None,
            service: None,
            run: RunOptions::default(),
        }
    }
}
