//! Docker on the target: which store the daemon will use, and where it lies.
//!
//! Source: dockerd(8) for daemon.json and options; moby `daemon/image_store_choice.go` (`determineImageStoreChoice`)
//! and `daemon/graphdriver/driver.go` (`scanPriorDrivers`) for how Docker 29 chooses between its two stores.

use std::io;

use serde_json::{Map, Value};
use vcontainer_image::TreePath;

use super::{Target, TargetError, UNIT_DIRECTORIES, Version, tree_path};
use crate::grammar::Runtime;
use crate::systemd_text::{split_words, values};

/// Names of packages that hold dockerd, those that say it plainest first.
pub(super) const PACKAGES: [&str; 6] = [
    "docker.io",
    "docker-ce",
    "moby-engine",
    "docker-moby",
    "docker-engine",
    "docker",
];

const DAEMONS: [&str; 4] = [
    "/usr/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/local/bin/dockerd",
    "/usr/libexec/docker/dockerd",
];
const CLIENTS: [&str; 2] = ["/usr/bin/docker", "/usr/local/bin/docker"];
const CONTAINERDS: [&str; 2] = ["/usr/bin/containerd", "/usr/local/bin/containerd"];

/// Where a Docker without configuration keeps its data.
const DEFAULT_ROOT: &str = "/var/lib/docker";
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// The root of a containerd that runs as a service of its own (containerd-config.toml(5)).
const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// The first version whose fresh installations use the containerd store.
const CONTAINERD_DEFAULT_SINCE: Version = Version::new(29, 0, 0);
/// The first version with the containerd store at all.
const CONTAINERD_SINCE: Version = Version::new(24, 0, 0);

/// Docker's two kinds of image store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Store {
    /// The overlay2 storage driver, which every version from 20.10 honours.
    #[default]
    Overlay2,
    /// containerd's image store.
    Containerd,
}

/// Docker, as it will run on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Its version, when a package database tells.
    pub version: Option<Version>,
    /// The path of its command line.
    pub client: &'static str,
    /// Where the store lies, symlinks resolved.
    pub root: TreePath,
    /// What is uncertain, one sentence each.
    pub warnings: Vec<String>,
}

/// One setting and the file that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting<T> {
    value: T,
    place: String,
    /// As it is written there.
    text: String,
}

/// The settings of the daemon that matter here, from daemon.json and from its command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    root: Option<Setting<String>>,
    driver: Option<Setting<String>>,
    snapshotter: Option<Setting<bool>>,
    remap: Option<Setting<String>>,
    containerd: Option<Setting<String>>,
    config_file: Option<String>,
}

impl Target {
    /// Docker on this target, for a store of this kind.
    ///
    /// # Errors
    /// Docker is not installed, its configuration cannot be read, or it would not see the store.
    pub fn docker(&self, store: Store) -> Result<Docker, TargetError> {
        self.program(Runtime::Docker, &DAEMONS)?;
        let client = self.program(Runtime::Docker, &CLIENTS)?;
        let version = self.packages.version(&PACKAGES);
        let settings = self.docker_settings()?;
        let data_root = settings.root.as_ref().map_or(DEFAULT_ROOT, |root| &root.value);
        let mut warnings = Vec::new();
        if let Some(remap) = &settings.remap {
            return Err(hidden(
                remap,
                "Docker then keeps its images in another directory, with other owners",
                "remove the setting; such stores are not supported",
            ));
        }
        match store {
            Store::Overlay2 => {
                self.check_overlay2(&settings, data_root)?;
                self.check_nothing_is_hidden(&settings, data_root, version)?;
            }
            Store::Containerd => warnings.extend(self.check_containerd(&settings, data_root, version)?),
        }
        let root = match store {
            Store::Overlay2 => data_root.to_owned(),
            Store::Containerd => self.containerd_root(&settings, data_root)?,
        };
        Ok(Docker {
            version,
            client,
            root: self.store_root(&root, "Docker", "data-root")?,
            warnings,
        })
    }

    /// An overlay2 store is seen by every version, unless a setting or an older store says otherwise. Docker 29 stays
    /// with it because the directory `overlay2` is not empty.
    fn check_overlay2(&self, settings: &Settings, data_root: &str) -> Result<(), TargetError> {
        if let Some(setting) = settings.snapshotter.as_ref().filter(|setting| setting.value) {
            return Err(hidden(
                setting,
                "Docker would not see an overlay2 store",
                "bundle with --docker-store containerd, or remove the setting",
            ));
        }
        match &settings.driver {
            Some(driver) if driver.value == "overlay2" => Ok(()),
            Some(driver) if driver.value == "overlayfs" => Err(hidden(
                driver,
                "Docker would not see an overlay2 store",
                "bundle with --docker-store containerd, or set the driver to `overlay2`",
            )),
            Some(driver) => Err(hidden(
                driver,
                "only stores of the driver overlay2 can be written",
                "set it to `overlay2` or remove the setting",
            )),
            None => {
                for driver in ["btrfs", "zfs", "fuse-overlayfs"] {
                    if self.has_entries(&format!("{data_root}/{driver}"))? {
                        return Err(TargetError::Hidden {
                            place: format!("existing store in `{data_root}`"),
                            setting: format!("images of the driver `{driver}`"),
                            problem: "dockerd does not start on a store of two drivers".to_owned(),
                            remedy: format!(
                                "remove that store, or set \"storage-driver\": \"overlay2\" in {DEFAULT_CONFIG}"
                            ),
                        });
                    }
                }
                Ok(())
            }
        }
    }

    /// To Docker 29 an `overlay2` that is not empty means that it does not look at its containerd store any more.
    fn check_nothing_is_hidden(
        &self,
        settings: &Settings,
        data_root: &str,
        version: Option<Version>,
    ) -> Result<(), TargetError> {
        let chosen = settings.snapshotter.is_some() || settings.driver.is_some();
        if chosen || version.is_some_and(|version| version < CONTAINERD_DEFAULT_SINCE) {
            return Ok(());
        }
        let root = self.containerd_root(settings, data_root)?;
        if !self.has_entries(&format!(
            "{root}/io.containerd.snapshotter.v1.overlayfs/snapshots"
        ))? || self.has_entries(&format!("{data_root}/overlay2"))?
        {
            return Ok(());
        }
        Err(TargetError::Hidden {
            place: format!("existing store in `{root}`"),
            setting: "images in containerd's store".to_owned(),
            problem: "with an overlay2 store beside it Docker would not see them any more".to_owned(),
            remedy: "bundle with --docker-store containerd, or remove that store".to_owned(),
        })
    }

    /// A containerd store is seen by Docker 29 and later unless there is something in `overlay2`, and from 24 when the
    /// feature is switched on.
    fn check_containerd(
        &self,
        settings: &Settings,
        data_root: &str,
        version: Option<Version>,
    ) -> Result<Option<String>, TargetError> {
        let unseen = "Docker would not see a containerd store";
        let switch_on = format!(
            "set \"features\": {{\"containerd-snapshotter\": true}} in the target's {DEFAULT_CONFIG}"
        );
        let refuse = |place: String, setting: String, remedy: String| {
            Err(TargetError::Hidden {
                place,
                setting,
                problem: unseen.to_owned(),
                remedy,
            })
        };
        let overlay2 = "bundle with --docker-store overlay2";
        if let Some(version) = version.filter(|version| *version < CONTAINERD_SINCE) {
            let place = format!("Docker {version}");
            return refuse(
                place,
                "no containerd image store".to_owned(),
                format!("{overlay2}, or install 24.0 or later"),
            );
        }
        match &settings.snapshotter {
            Some(setting) if setting.value => return Ok(None),
            Some(setting) => {
                let remedy = format!("{overlay2}, or set it to true");
                return Err(hidden(setting, unseen, &remedy));
            }
            None => {}
        }
        if let Some(driver) = settings
            .driver
            .as_ref()
            .filter(|driver| driver.value != "overlayfs")
        {
            return Err(hidden(
                driver,
                unseen,
                &format!("{overlay2}, or remove the setting"),
            ));
        }
        if self.has_entries(&format!("{data_root}/overlay2"))? {
            let place = format!("existing store in `{data_root}`");
            return refuse(
                place,
                "images of the driver `overlay2`".to_owned(),
                format!("{overlay2}, or {switch_on}"),
            );
        }
        match version {
            Some(version) if version < CONTAINERD_DEFAULT_SINCE => {
                let place = format!("Docker {version}");
                refuse(
                    place,
                    "the overlay2 store by default".to_owned(),
                    format!("{switch_on}, or {overlay2}"),
                )
            }
            Some(_) => Ok(None),
            None if self.rootfs.is_none() => Ok(None),
            None => Ok(Some(format!(
                "the version of the target's Docker is not known; only Docker 29 and later sees the containerd store \
                 without a setting ({switch_on})"
            ))),
        }
    }

    /// Where the containerd that this daemon uses keeps its data: a system service, or the daemon's own.
    fn containerd_root(&self, settings: &Settings, data_root: &str) -> Result<String, TargetError> {
        let Some(rootfs) = &self.rootfs else {
            return Ok(CONTAINERD_ROOT.to_owned());
        };
        if settings.containerd.is_none() && super::first_of(rootfs, &CONTAINERDS)?.is_none() {
            return Ok(format!("{data_root}/containerd/daemon"));
        }
        let file = "/etc/containerd/config.toml";
        let Some(text) = self.text(file)? else {
            return Ok(CONTAINERD_ROOT.to_owned());
        };
        let table: toml::Table = text.parse().map_err(|source| malformed(file, source))?;
        Ok(match table.get("root").and_then(toml::Value::as_str) {
            Some(root) if !root.is_empty() => root.to_owned(),
            _ => CONTAINERD_ROOT.to_owned(),
        })
    }

    fn has_entries(&self, directory: &str) -> Result<bool, TargetError> {
        let Some(rootfs) = &self.rootfs else {
            return Ok(false);
        };
        Ok(rootfs
            .list(&tree_path(directory)?)?
            .is_some_and(|names| !names.is_empty()))
    }

    fn docker_settings(&self) -> Result<Settings, TargetError> {
        let mut settings = self.unit_settings()?;
        let file = settings
            .config_file
            .clone()
            .unwrap_or_else(|| DEFAULT_CONFIG.to_owned());
        if let Some(text) = self.text(&file)? {
            settings.add_json(&text, &file)?;
        }
        Ok(settings)
    }

    /// The options on the daemon's command line, with the variables that Debian's unit takes from a file.
    fn unit_settings(&self) -> Result<Settings, TargetError> {
        let mut settings = Settings::default();
        let Some((file, unit)) = self.docker_unit()? else {
            return Ok(settings);
        };
        let Some(command) = values(&unit, "Service", "ExecStart").pop() else {
            return Ok(settings);
        };
        let mut variables = Vec::new();
        for line in values(&unit, "Service", "Environment") {
            variables.extend(split_words(&line));
        }
        for path in values(&unit, "Service", "EnvironmentFile") {
            let text = self.text(path.trim_start_matches('-'))?.unwrap_or_default();
            variables.extend(
                text.lines()
                    .map(str::trim)
                    .filter(|line| !line.starts_with('#'))
                    .map(str::to_owned),
            );
        }
        let expanded = split_words(&command).into_iter().flat_map(|word| {
            let Some(name) = word.strip_prefix('$') else {
                return vec![word];
            };
            let name = name.trim_start_matches('{').trim_end_matches('}');
            let value = variables
                .iter()
                .rev()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            // The whole value may be quoted, and holds several words.
            split_words(&split_words(value.unwrap_or_default()).join(" "))
        });
        settings.add_arguments(expanded.collect(), &file);
        Ok(settings)
    }

    /// The text of docker.service with its drop-ins after it, and the file that it comes from.
    fn docker_unit(&self) -> Result<Option<(String, String)>, TargetError> {
        let Some(rootfs) = &self.rootfs else {
            return Ok(None);
        };
        let mut found = None;
        for directory in UNIT_DIRECTORIES {
            let file = format!("{directory}/docker.service");
            if let Some(text) = self.text(&file)? {
                found = Some((file, text));
                break;
            }
        }
        let Some((file, mut text)) = found else {
            return Ok(None);
        };
        // A drop-in of an earlier directory replaces one of the same name; all apply in the order of their names.
        let mut drop_ins = std::collections::BTreeMap::new();
        for directory in UNIT_DIRECTORIES.iter().rev() {
            let directory = format!("{directory}/docker.service.d");
            for name in rootfs.list(&tree_path(&directory)?)?.unwrap_or_default() {
                let name = String::from_utf8_lossy(&name).into_owned();
                if name.ends_with(".conf") {
                    drop_ins.insert(name.clone(), format!("{directory}/{name}"));
                }
            }
        }
        for path in drop_ins.values() {
            text.push('\n');
            text.push_str(&self.text(path)?.unwrap_or_default());
        }
        Ok(Some((file, text)))
    }
}

impl Settings {
    /// Adds the options of a command line of dockerd.
    fn add_arguments(&mut self, words: Vec<String>, file: &str) {
        let mut words = words.into_iter().skip(1);
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let wanted = [
                "--data-root",
                "--graph",
                "-g",
                "--storage-driver",
                "-s",
                "--userns-remap",
                "--containerd",
                "--feature",
                "--config-file",
            ];
            if !wanted.contains(&name.as_str()) {
                continue;
            }
            let Some(value) = value.or_else(|| words.next()) else {
                continue;
            };
            let setting = Setting {
                text: format!("`{name} {value}`"),
                place: format!("`{file}`"),
                value,
            };
            match name.as_str() {
                "--storage-driver" | "-s" => self.driver = Some(setting),
                "--userns-remap" => self.remap = Some(setting),
                "--containerd" => self.containerd = Some(setting),
                "--config-file" => self.config_file = Some(setting.value),
                "--feature" => {
                    let (feature, value) = setting.value.split_once('=').unwrap_or((&setting.value, "true"));
                    if feature == "containerd-snapshotter" {
                        self.snapshotter = Some(Setting {
                            value: value == "true",
                            place: setting.place,
                            text: setting.text,
                        });
                    }
                }
                _ => self.root = Some(setting),
            }
        }
    }

    /// Adds what daemon.json says. dockerd refuses to start when a setting is in both places.
    fn add_json(&mut self, text: &str, file: &str) -> Result<(), TargetError> {
        // An empty file is as good as none to dockerd.
        if text.trim().is_empty() {
            return Ok(());
        }
        let json: Map<String, Value> =
            serde_json::from_str(text).map_err(|source| malformed(file, source))?;
        let place = format!("`{file}`");
        let string = |key: &str| match json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(value)) if value.is_empty() => Ok(None),
            Some(Value::String(value)) => Ok(Some(Setting {
                value: value.clone(),
                place: place.clone(),
                text: format!("`\"{key}\": \"{value}\"`"),
            })),
            Some(other) => Err(mistyped(file, key, other, "a string")),
        };
        let or = |now: Option<Setting<String>>, then: Option<Setting<String>>| now.or(then);
        self.root = or(self.root.take(), or(string("data-root")?, string("graph")?));
        self.driver = or(self.driver.take(), string("storage-driver")?);
        self.remap = or(self.remap.take(), string("userns-remap")?);
        self.containerd = or(self.containerd.take(), string("containerd")?);
        let feature = json
            .get("features")
            .and_then(|features| features.get("containerd-snapshotter"));
        match feature {
            None | Some(Value::Null) => {}
            Some(Value::Bool(value)) => {
                self.snapshotter = Some(Setting {
                    value: *value,
                    place,
                    text: format!("`\"containerd-snapshotter\": {value}` in `features`"),
                });
            }
            Some(other) => return Err(mistyped(file, "containerd-snapshotter", other, "true or false")),
        }
        Ok(())
    }
}

/// A value that dockerd would not start with.
fn mistyped(file: &str, key: &str, value: &Value, right: &str) -> TargetError {
    let text = format!("`{key}` is {value} and must be {right}");
    malformed(file, io::Error::new(io::ErrorKind::InvalidData, text))
}

fn hidden<T>(setting: &Setting<T>, problem: &str, remedy: &str) -> TargetError {
    TargetError::Hidden {
        place: setting.place.clone(),
        setting: setting.text.clone(),
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    }
}

pub(super) fn malformed(file: &str, source: impl std::error::Error + Send + Sync + 'static) -> TargetError {
    TargetError::Malformed {
        file: file.to_owned(),
        source: Box::new(source),
    }
}
