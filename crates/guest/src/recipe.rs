//! The guest data: what a guest is made of. `guest/README.md` describes it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Engine;
use crate::pattern::Pattern;

/// What tells the agent what to do (`docs/formats/guest-manifest.md`).
const GUEST_CONF: &[u8] = b"etc/vcontainer/guest.conf";

/// What a guest of one engine is made of.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Debian's release.
    pub suite: String,
    /// Packages; `{arch}` in them is Debian's name of the architecture.
    pub packages: Vec<String>,
    /// Packages that are taken to be there.
    pub assumed: Vec<String>,
    /// What is left out of the packages.
    pub prune: Vec<Pattern>,
    /// Modules in the initramfs.
    pub boot_modules: Vec<String>,
    /// Modules in the root filesystem.
    pub modules: Vec<String>,
    /// Those of them that the agent is told to load.
    pub needed_modules: Vec<String>,
    /// Programs that are called: by the path where they are looked for, or by their name.
    pub programs: Vec<String>,
    /// Those of them that busybox cannot stand in for.
    pub not_busybox: Vec<String>,
    /// Programs with many names.
    pub applets: Vec<Applets>,
    /// Links by path, with their targets.
    pub links: BTreeMap<String, String>,
    /// Directories by path, with their modes.
    pub directories: BTreeMap<String, u32>,
    /// Files by path, with the pattern of the files that they are made of.
    pub concatenate: BTreeMap<String, Pattern>,
    /// Files by path, with where they lie here and whether they are programs.
    pub files: BTreeMap<Vec<u8>, DataFile>,
}

/// A program with many names, in its own directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Applets {
    /// The path of the program.
    pub program: String,
    /// The names.
    pub names: Vec<String>,
}

/// A file of the guest data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataFile {
    pub source: PathBuf,
    pub executable: bool,
}

/// Why guest data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A file cannot be read.
    #[error("cannot read the guest data `{}`: it belongs to the installed program, install it again", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("the guest data `{}` is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// A mode is no octal number.
    #[error("the guest data `{}` is malformed: `{mode}` is no mode of a directory", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// The text.
        mode: String,
    },
}

/// One file of the data.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Part {
    suite: Option<String>,
    packages: Vec<String>,
    assumed: Vec<String>,
    prune: Vec<String>,
    boot_modules: Vec<String>,
    modules: Vec<String>,
    programs: Vec<String>,
    not_busybox: Vec<String>,
    applets: Option<Applets>,
    links: BTreeMap<String, String>,
    directories: BTreeMap<String, String>,
    concatenate: BTreeMap<String, String>,
}

impl Recipe {
    /// Reads the data for an engine.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn read(data: &Path, engine: Engine) -> Result<Self, RecipeError> {
        let mut recipe = Self {
            suite: String::new(),
            packages: Vec::new(),
            assumed: Vec::new(),
            prune: Vec::new(),
            boot_modules: Vec::new(),
            modules: Vec::new(),
            needed_modules: Vec::new(),
            programs: Vec::new(),
            not_busybox: Vec::new(),
            applets: Vec::new(),
            links: BTreeMap::new(),
            directories: BTreeMap::new(),
            concatenate: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for name in ["common", engine.name()] {
            recipe.add(&data.join(format!("{name}.toml")))?;
            recipe.add_files(&data.join("files").join(name), b"")?;
        }
        recipe.add_guest_conf()?;
        Ok(recipe)
    }

    /// What the agent is told to load and to start.
    fn add_guest_conf(&mut self) -> Result<(), RecipeError> {
        let Some(conf) = self.files.get(GUEST_CONF) else {
            return Ok(());
        };
        let text = fs::read_to_string(&conf.source).map_err(|source| RecipeError::Read {
            path: conf.source.clone(),
            source,
        })?;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("module"), Some(name)) => self.needed_modules.push(name.to_owned()),
                (Some("service"), Some(program)) => {
                    self.programs.push(program.trim_start_matches('/').to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> Result<(), RecipeError> {
        let text = fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: path.to_owned(),
            source,
        })?;
        let part: Part = toml::from_str(&text).map_err(|source| RecipeError::Malformed {
            path: path.to_owned(),
            source: source.into(),
        })?;
        if let Some(suite) = part.suite {
            self.suite = suite;
        }
        self.packages.extend(part.packages);
        self.assumed.extend(part.assumed);
        self.prune
            .extend(part.prune.iter().map(|text| Pattern::new(text)));
        self.boot_modules.extend(part.boot_modules);
        self.modules.extend(part.modules);
        self.programs.extend(part.programs);
        self.not_busybox.extend(part.not_busybox);
        self.applets.extend(part.applets);
        self.links.extend(part.links);
        self.concatenate.extend(
            part.concatenate
                .into_iter()
                .map(|(to, from)| (to, Pattern::new(&from))),
        );
        for (directory, mode) in part.directories {
            let Ok(bits) = u32::from_str_radix(&mode, 8) else {
                return Err(RecipeError::Mode {
                    path: path.to_owned(),
                    mode,
                });
            };
            self.directories.insert(directory, bits);
        }
        Ok(())
    }

    fn add_files(&mut self, directory: &Path, below: &[u8]) -> Result<(), RecipeError> {
        let failed = |source| RecipeError::Read {
            path: directory.to_owned(),
            source,
        };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let mut path = below.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let metadata = entry.path().metadata().map_err(failed)?;
            if metadata.is_dir() {
                self.add_files(&entry.path(), &path)?;
            } else {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                self.files.insert(
                    path,
                    DataFile {
                        source: entry.path(),
                        executable,
                    },
                );
            }
        }
        Ok(())
    }

    /// Whether a path of a package is wanted.
    pub fn keeps(&self, path: &[u8]) -> bool {
        !self.prune.iter().any(|pattern| pattern.covers(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of this repository.
    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest")
    }

    #[test]
    fn the_data_of_both_engines_is_read() {
        for engine in Engine::ALL {
            let recipe = Recipe::read(&data(), engine).unwrap();
            assert!(recipe.packages.iter().any(|name| name.starts_with(engine.name())));
            assert!(recipe.packages.contains(&"skopeo".to_owned()));
            assert!(!recipe.keeps(b"usr/share/doc/skopeo/copyright") && recipe.keeps(b"usr/bin/skopeo"));
            assert!(
                recipe
                    .needed_modules
                    .iter()
                    .all(|name| recipe.modules.contains(name))
            );
            assert!(recipe.programs.contains(&engine.name().to_owned()));
            assert_eq!(
                recipe.programs.contains(&"usr/sbin/dockerd".to_owned()),
                engine == Engine::Docker
            );
            let conf = &recipe.files[GUEST_CONF];
            let text = fs::read_to_string(&conf.source).unwrap();
            assert!(text.lines().any(|line| line == format!("engine {engine}")));
            assert!(recipe.files.contains_key(&b"etc/passwd"[..]));
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_told() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("common.toml"), "package = []\n").unwrap();
        let error = Recipe::read(directory.path(), Engine::Docker).unwrap_err();
        assert!(matches!(error, RecipeError::Malformed { .. }), "{error}");
        let none = Recipe::read(&directory.path().join("none"), Engine::Docker).unwrap_err();
        assert!(matches!(none, RecipeError::Read { .. }), "{none}");
    }
}
