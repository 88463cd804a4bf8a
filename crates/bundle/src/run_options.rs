//! How a container is started: what follows `docker run` or `podman run`, apart from name and image.

use std::collections::BTreeMap;

/// The options of one container. Everything is passed to the engine as a word of its own, never through a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Published ports as the engines write them: `8080:80`, `127.0.0.1:53:53/udp`.
    pub ports: Vec<String>,
    /// Mounted volumes as the engines write them: `/data/db:/var/lib/db:rw`.
    pub volumes: Vec<String>,
    /// Environment variables, sorted by name so that the unit is the same on every run.
    pub environment: BTreeMap<String, String>,
    /// Capabilities to add: `NET_ADMIN`.
    pub capabilities: Vec<String>,
    /// The network: `host`, `none`, a network's name.
    pub network: Option<String>,
    /// More arguments for the engine, before the image.
    pub args: Vec<String>,
    /// The command in the container, after the image; empty means the image's own.
    pub command: Vec<String>,
}

impl RunOptions {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The words between `run` and the image, as both engines' command lines take them.
    #[must_use]
    pub fn engine_arguments(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
        for port in &self.ports {
            add("--publish", port);
        }
        for volume in &self.volumes {
            add("--volume", volume);
        }
        for (name, value) in &self.environment {
            add("--env", &format!("{name}={value}"));
        }
        for capability in &self.capabilities {
            add("--cap-add", capability);
        }
        if let Some(network) = &self.network {
            add("--network", network);
        }
        words.extend(self.args.iter().cloned());
        words
    }
}
