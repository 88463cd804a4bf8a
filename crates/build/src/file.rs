//! `image.toml`: an image as a file instead of options. `docs/formats/image-toml.md` describes it; a test reads the example
//! there. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, Visitor};

use crate::config::{Healthcheck, Port};
use crate::definition::Definition;
use crate::error::Error;

/// An image, as a file describes it. Relative paths are relative to the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageFile {
    /// The architecture, such as `aarch64`.
    pub arch: Option<String>,
    /// Its variant, such as `v7`.
    pub variant: Option<String>,
    /// The root filesystem.
    pub rootfs: Option<PathBuf>,
    /// The base image: a name, or a path.
    pub base: Option<String>,
    /// The tag of a base image that is given by name.
    pub base_tag: Option<String>,
    /// The layers, lowest first.
    layers: Option<Vec<LayerText>>,
    /// How layers are compressed: gzip, zstd or none.
    pub compression: Option<String>,
    /// How hard.
    pub level: Option<i32>,
    /// Where packages come from.
    pub packages: PackageFile,
    /// The program that always runs.
    pub entrypoint: Option<Words>,
    /// The command, or the entrypoint's arguments.
    pub cmd: Option<Words>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Ports that it listens on.
    ports: Vec<PortText>,
    /// Directories that hold data.
    pub volumes: Vec<String>,
    /// The user that programs run as.
    pub user: Option<String>,
    /// Where programs start.
    pub working_dir: Option<String>,
    /// The signal that tells the program to end.
    pub stop_signal: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How to find out whether it is well.
    healthcheck: Option<HealthcheckText>,
}

/// Where packages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PackageFile {
    /// A release of Debian.
    pub suite: Option<String>,
    /// Directories with `.deb` files.
    pub feeds: Vec<PathBuf>,
}

/// Words of a command: a list, or a text that is split as a shell does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A text.
    Text(String),
    /// A list.
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
                Ok(Words::Text(text.into()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Words, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Words::List)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HealthcheckText {
    test: Words,
    interval: Option<String>,
    timeout: Option<String>,
    start_period: Option<String>,
    retries: Option<u32>,
}

/// A layer: a definition, or a table with the same parts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LayerText {
    Definition(String),
    Table(LayerTable),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerTable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    content: Vec<String>,
}

impl<'de> Deserialize<'de> for LayerText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = LayerText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text name:type:content or a table with these keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LayerText, E> {
                Ok(LayerText::Definition(text.into()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<LayerText, A::Error> {
                LayerTable::deserialize(MapAccessDeserializer::new(table)).map(LayerText::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A port, as number or as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PortText(String);

impl<'de> Deserialize<'de> for PortText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = PortText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port such as 80 or \"53/udp\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortText, E> {
                Ok(PortText(text.into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortText, E> {
                Ok(PortText(number.to_string()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl ImageFile {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// It is no TOML, has a key that there is not, or a layer in it makes no sense.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut file: Self = toml::from_str(text)
            .map_err(|error| Error::definition(format!("`{}`", path.display()), error.to_string()))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        if let Some(rootfs) = &mut file.rootfs {
            *rootfs = directory.join(&*rootfs);
        }
        for feed in &mut file.packages.feeds {
            *feed = directory.join(&*feed);
        }
        if file.layers.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::definition(
                format!("`{}`", path.display()),
                "`layers` is empty: leave it out for one layer with the whole root filesystem",
            ));
        }
        Ok(file)
    }

    /// The layers, lowest first; `path` is that of the file.
    ///
    /// # Errors
    /// One makes no sense.
    pub fn layers(&self, path: &Path) -> Result<Vec<Definition>, Error> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let read = |layer: &LayerText| match layer {
            LayerText::Definition(text) => text.parse(),
            LayerText::Table(table) => Definition::new(&table.name, &table.kind, &table.content),
        };
        self.layers
            .iter()
            .flatten()
            .map(|layer| Ok(read(layer)?.relative_to(directory)))
            .collect()
    }

    /// The ports.
    ///
    /// # Errors
    /// One is none.
    pub fn ports(&self) -> Result<Vec<Port>, Error> {
        let read = |port: &PortText| port.0.parse();
        let ports = self.ports.iter().map(read).collect::<Result<_, String>>();
        ports.map_err(|fault| Error::definition("`ports`", fault))
    }

    /// How to find out whether it is well.
    ///
    /// # Errors
    /// A time in it is none.
    pub fn healthcheck(&self) -> Result<Option<Healthcheck>, Error> {
        let Some(text) = &self.healthcheck else {
            return Ok(None);
        };
        let time = |text: &Option<String>| {
            text.as_deref().map_or(Ok(0), |text| {
                duration(text).map_err(|fault| Error::definition("`healthcheck`", fault))
            })
        };
        if let Words::List(words) = &text.test {
            let is_right = match words.first().map(String::as_str) {
                Some("NONE") => words.len() == 1,
                Some("CMD-SHELL") => words.len() == 2,
                Some("CMD") => words.len() > 1,
                _ => false,
            };
            if !is_right {
                return Err(Error::definition(
                    "`healthcheck`",
                    "`test` is a text, or a list that begins with CMD or CMD-SHELL, or [\"NONE\"]",
                ));
            }
        }
        Ok(Some(Healthcheck {
            test: match &text.test {
                Words::Text(command) => vec!["CMD-SHELL".into(), command.clone()],
                Words::List(words) => words.clone(),
            },
            interval: time(&text.interval)?,
            timeout: time(&text.timeout)?,
            start_period: time(&text.start_period)?,
            retries: text.retries.unwrap_or(0),
        }))
    }
}

/// Nanoseconds of a text such as `1m30s`, `500ms` or `10s`.
///
/// # Errors
/// It is none.
pub fn duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time: write 500ms, 30s, 5m or 1h");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(end);
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let one = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        let part = u32::try_from(number)
            .ok()
            .and_then(|number| one.checked_mul(number));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    // What engines take: 64 bits with a sign.
    let nanoseconds = i64::try_from(total.as_nanos()).map_err(|_| wrong())?;
    match nanoseconds {
        0 => Err(wrong()),
        nanoseconds => Ok(nanoseconds.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_read() {
        let page = include_str!("../../../docs/formats/image-toml.md");
        let example = page.split("```toml").nth(1).unwrap().split("```").next().unwrap();
        let path = Path::new("/somewhere/image.toml");
        let file = ImageFile::parse(example, path).unwrap();
        assert_eq!(file.rootfs.as_deref(), Some(Path::new("/somewhere/rootfs")));
        let layers = file.layers(path).unwrap();
        assert!(
            layers
                .iter()
                .any(|layer| layer.to_string().contains("libstdc++6"))
        );
        assert!(!file.ports().unwrap().is_empty());
        assert_eq!(file.healthcheck().unwrap().unwrap().interval, 30_000_000_000);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let path = Path::new("image.toml");
        for (text, fault) in [
            ("layer = []", "unknown field `layer`"),
            ("layers = []", "`layers` is empty"),
            ("[healthcheck]\ntest = 1", "a text or a list of texts"),
            (
                "layers = [{name = 'a', type = 'files', content = ['/a'], more = 1}]",
                "unknown field `more`",
            ),
            ("ports = [1.5]", "a port such as 80"),
        ] {
            let error = ImageFile::parse(text, path).unwrap_err().to_string();
            assert!(
                error.starts_with("`image.toml`: ") && error.contains(fault),
                "{error}"
            );
        }
        let wrong = ImageFile::parse(
            "ports = ['x']\nlayers = ['a:b']\n[healthcheck]\ntest = 'x'\ninterval = '1'",
            path,
        );
        let wrong = wrong.unwrap();
        for test in ["['wget']", "[]", "['NONE', 'x']"] {
            let file =
                ImageFile::parse(&format!("ports = [70000]\n[healthcheck]\ntest = {test}"), path).unwrap();
            assert!(file.healthcheck().is_err() && file.ports().is_err(), "{test}");
        }
        assert!(wrong.ports().is_err() && wrong.layers(path).is_err() && wrong.healthcheck().is_err());
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(duration("500ms"), Ok(500_000_000));
        for wrong in ["", "5", "s", "5x", "0s", "99999999999h", "4000000000h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
