//! `<config dir>/config` of a tool: lines `key=value`, and the older file `<config dir>/arch`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::engine::options;

/// A key, what it is for, and its value when nobody has set it.
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// When it is not set; empty where it depends on the computer.
    pub default: &'static str,
    check: fn(&str) -> Result<()>,
}

/// Every key, in the order in which they are listed.
pub const KEYS: [Key; 9] = [
    Key {
        name: "arch",
        default: "",
        check: |value| options::arch(value).map(|_| ()),
    },
    Key {
        name: "state-dir",
        default: "",
        check: |_| Ok(()),
    },
    Key {
        name: "blob-dir",
        default: "",
        check: |_| Ok(()),
    },
    Key {
        name: "verbose",
        default: "false",
        check: |value| truth(value).map(|_| ()),
    },
    Key {
        name: "idle-timeout",
        default: "60",
        check: |value| options::seconds(value).map(|_| ()),
    },
    Key {
        name: "auto-daemon",
        default: "true",
        check: |value| truth(value).map(|_| ()),
    },
    Key {
        name: "cpus",
        default: "",
        check: |value| options::cpus(value).map(|_| ()),
    },
    Key {
        name: "memory",
        default: "1G",
        check: |value| options::bytes(value).map(|_| ()),
    },
    Key {
        name: "disk",
        default: "64G",
        check: |value| options::bytes(value).map(|_| ()),
    },
];

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn truth(value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" | "" => Ok(false),
        _ => bail!("`{value}` is neither true nor false"),
    }
}

/// The key of this name.
///
/// # Errors
/// There is none.
pub fn key(name: &str) -> Result<&'static Key> {
    KEYS.iter().find(|key| key.name == name).with_context(|| {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        format!(
            "`{name}` is no key of the configuration: use {}",
            names.join(", ")
        )
    })
}

/// What the configuration of a tool says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConfigFile {
    values: BTreeMap<String, String>,
}

impl ConfigFile {
    /// Reads the folder's files; those that are not there say nothing.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no `key=value`, a value that its key cannot have.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("config");
        let text = read(&file)?.unwrap_or_default();
        let mut config = Self::parse(&text)
            .with_context(|| format!("cannot use the configuration `{}`", file.display()))?;
        let legacy = folder.join("arch");
        if !config.values.contains_key("arch")
            && let Some(text) = read(&legacy)?
        {
            let arch: String = text.split_whitespace().collect();
            options::arch(&arch)
                .with_context(|| format!("cannot use the configuration `{}`", legacy.display()))?;
            config.values.insert("arch".to_owned(), arch);
        }
        Ok(config)
    }

    /// Reads the text of a file. Of two lines with one key the later counts.
    fn parse(text: &str) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let of_line = || format!("line {}", number + 1);
            let (name, value) = line
                .split_once('=')
                .with_context(|| format!("line {}: `{line}` is not of the form key=value", number + 1))?;
            let (name, value) = (name.trim(), value.trim());
            // Files of the reference have keys that mean nothing here; one that would change what happens must be told.
            if matches!(name, "timeout") || (name == "registry" && value.is_empty()) {
                continue;
            }
            if name == "registry" {
                bail!(
                    "line {}: `registry` is not possible yet: a later version brings it",
                    number + 1
                );
            }
            (key(name).with_context(of_line)?.check)(value).with_context(of_line)?;
            values.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self { values })
    }

    /// The value of a key that somebody has set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a key, or with `None` makes it as if nobody had, and writes the file.
    ///
    /// # Errors
    /// A key or value that cannot be, a file that cannot be written.
    pub fn set(folder: &Path, name: &str, value: Option<&str>) -> Result<()> {
        if let Some(value) = value {
            (key(name)?.check)(value).with_context(|| format!("`{name}` cannot be set"))?;
            if value.contains('\n') {
                bail!("`{name}` cannot be set to more than one line");
            }
        } else {
            key(name)?;
        }
        let file = folder.join("config");
        let old = read(&file)?.unwrap_or_default();
        let mut text: String = old
            .lines()
            .filter(|line| line.split('=').next().map(str::trim) != Some(name))
            .map(|line| format!("{line}\n"))
            .collect();
        if let Some(value) = value {
            text.push_str(&format!("{name}={value}\n"));
        }
        write(&file, &text)
            .with_context(|| format!("cannot write the configuration `{}`", file.display()))?;
        // The older file would still be read.
        if name == "arch" && value.is_none() {
            match std::fs::remove_file(folder.join("arch")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context("cannot remove the older file `arch` of the configuration");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read(file: &PathBuf) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot read the configuration `{}`", file.display()))
        }
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut new, text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_line_counts() {
        let config =
            ConfigFile::parse("# comment\narch = x86_64\n\narch=aarch64\nidle-timeout=0\ntimeout=300\n")
                .unwrap();
        assert_eq!(config.get("arch"), Some("aarch64"));
        assert_eq!(config.get("idle-timeout"), Some("0"));
        assert_eq!(config.get("timeout"), None);
    }

    #[test]
    fn wrong_lines_are_told_by_number() {
        for (text, part) in [
            ("arch", "line 1: `arch` is not of the form"),
            ("\nfrob=1", "line 2: `frob` is no key"),
            ("arch=sparc", "`sparc` is no architecture"),
            ("verbose=maybe", "neither true nor false"),
            ("registry=x", "not possible yet"),
        ] {
            let error = format!("{:#}", ConfigFile::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_set_is_read_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/config");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config"), "# mine\nverbose=true\n").unwrap();
        std::fs::write(folder.join("arch"), " aarch64 \n").unwrap();
        assert_eq!(ConfigFile::read(&folder).unwrap().get("arch"), Some("aarch64"));
        ConfigFile::set(&folder, "arch", Some("x86_64")).unwrap();
        let config = ConfigFile::read(&folder).unwrap();
        assert_eq!(
            (config.get("arch"), config.get("verbose")),
            (Some("x86_64"), Some("true"))
        );
        ConfigFile::set(&folder, "arch", None).unwrap();
        assert_eq!(ConfigFile::read(&folder).unwrap().get("arch"), None);
        let text = std::fs::read_to_string(folder.join("config")).unwrap();
        assert_eq!(text, "# mine\nverbose=true\n");
        assert!(ConfigFile::set(&folder, "arch", Some("vax")).is_err());
        assert!(ConfigFile::set(&folder, "frob", Some("1")).is_err());
    }

    #[test]
    fn no_folder_says_nothing() {
        let config = ConfigFile::read(Path::new("/nonexistent/vdkr")).unwrap();
        assert_eq!(config, ConfigFile::default());
    }
}
