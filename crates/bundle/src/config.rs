//! The configuration file, `bundle.toml`: the same as entries on the command line, with run options.
//!
//! The format is described in `docs/formats/bundle-toml.md`; the tests read the example there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::grammar::{Policy, Runtime, Source};
use crate::naming;
use crate::request::{ImageSource, Request};
use crate::run_options::RunOptions;

/// A configuration file, parsed. Paths are as the program can open them: relative ones are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    /// The target's architecture, such as `aarch64`.
    pub arch: Option<String>,
    /// Directories in which names are looked up.
    pub images: Vec<PathBuf>,
    /// The containers.
    pub requests: Vec<Request>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, a key that does not exist, a value of the wrong kind. The message shows the line.
    #[error("`{}` is not a valid bundle file", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The parser's message with line and column.
        source: Box<toml::de::Error>,
    },
    /// A container's table says something that cannot be.
    #[error("{container}: {what}")]
    Container {
        /// Which table of which file.
        container: String,
        /// What is wrong and what to do.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    arch: Option<String>,
    #[serde(default)]
    images: Vec<PathBuf>,
    runtime: Option<Runtime>,
    #[serde(default)]
    container: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Container {
    source: String,
    select: Option<String>,
    name: Option<String>,
    runtime: Option<Runtime>,
    policy: Option<Policy>,
    container_name: Option<String>,
    service: Option<PathBuf>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, Scalar>,
    #[serde(default)]
    capabilities: Vec<String>,
    network: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    command: Vec<String>,
}

/// A value of the environment: text, or a number or truth value, which becomes its text.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a value of the environment is a string, a number or true or false"
)]
enum Scalar {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(truth) => truth.to_string(),
        }
    }
}

impl BundleFile {
    /// Parses the text of `file`. `default` is the runtime of containers for which neither their table nor the file
    /// names one.
    ///
    /// # Errors
    /// Text that is not TOML, unknown keys, values that cannot be.
    pub fn parse(text: &str, file: &Path, default: Runtime) -> Result<Self, ConfigError> {
        let parsed: File = toml::from_str(text).map_err(|source| ConfigError::Syntax {
            file: file.to_owned(),
            source: Box::new(source),
        })?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let default = parsed.runtime.unwrap_or(default);
        let requests = parsed
            .container
            .into_iter()
            .enumerate()
            .map(|(index, table)| {
                let origin = format!(
                    "container {} (`{}`) of {}",
                    index + 1,
                    table.source,
                    file.display()
                );
                table
                    .into_request(origin.clone(), directory, default)
                    .map_err(|what| ConfigError::Container {
                        container: origin,
                        what,
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            arch: parsed.arch,
            images: parsed.images.iter().map(|path| directory.join(path)).collect(),
            requests,
        })
    }
}

impl Container {
    fn into_request(self, origin: String, directory: &Path, default: Runtime) -> Result<Request, String> {
        let source = if self.source.starts_with(['.', '/']) {
            if self.name.is_none() {
                return Err(
                    "a source that is a path needs a `name` for the image, such as name = \"myapp:1.0\""
                        .to_owned(),
                );
            }
            ImageSource::Path(directory.join(&self.source))
        } else {
            ImageSource::Named(source_name(&self.source)?)
        };
        if let Some(name) = &self.container_name
            && !naming::is_container_name(name)
        {
            return Err(format!(
                "container-name `{name}` is not a name that engines take: at least two of letters, digits, `_`, `.` \
                 and `-`, a letter or digit first"
            ));
        }
        let run = RunOptions {
            ports: self.ports,
            volumes: self.volumes,
            environment: self
                .environment
                .into_iter()
                .map(|(name, value)| (name, value.into_text()))
                .collect(),
            capabilities: self.capabilities,
            network: self.network,
            args: self.args,
            command: self.command,
        };
        check(&run)?;
        if !run.is_empty() && self.service.is_some() {
            return Err(
                "`service` replaces the generated service, so that ports, volumes and the other run options would be \
                 lost; write them into the service file"
                    .to_owned(),
            );
        }
        if !run.is_empty() && self.policy.is_none() {
            return Err(
                "it has run options but no `policy`, so that nothing would start it; add policy = \"autostart\"".to_owned(),
            );
        }
        Ok(Request {
            origin,
            source,
            select: self.select,
            name: self.name,
            runtime: self.runtime.unwrap_or(default),
            policy: self.policy,
            container: self.container_name,
            service: self.service.map(|path| directory.join(path)),
            run,
        })
    }
}

/// A source that is not a path. A reference here may have a tag that is also a word of the entry grammar, because
/// nothing follows it.
fn source_name(text: &str) -> Result<Source, String> {
    if text.contains('/') {
        return match vcontainer_image::Reference::parse(text) {
            Ok(_) => Ok(Source::Remote(text.to_owned())),
            Err(error) => Err(format!("{error}; a path starts with `./`, `../` or `/`")),
        };
    }
    Source::parse(text).map_err(|error| error.problem.to_string())
}

/// Refuses what no unit file can carry and what an engine would misread as an option.
fn check(run: &RunOptions) -> Result<(), String> {
    let one_line = [
        ("ports", &run.ports),
        ("volumes", &run.volumes),
        ("capabilities", &run.capabilities),
    ];
    for (key, values) in one_line {
        for value in values {
            plain(key, value)?;
        }
    }
    if let Some(network) = &run.network {
        plain("network", network)?;
    }
    for (name, value) in &run.environment {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!(
                "`{name}` is not the name of an environment variable: letters, digits and `_`, no digit first"
            ));
        }
        no_nul("environment", value)?;
    }
    for (key, values) in [("args", &run.args), ("command", &run.command)] {
        for value in values {
            no_nul(key, value)?;
        }
    }
    Ok(())
}

fn plain(key: &str, value: &str) -> Result<(), String> {
    let wrong = value.trim() != value || value.chars().any(char::is_control) || value.ends_with('\\');
    if value.is_empty() || value.starts_with('-') || wrong {
        return Err(format!(
            "`{value}` in `{key}` is not a value that the engines take"
        ));
    }
    Ok(())
}

fn no_nul(key: &str, value: &str) -> Result<(), String> {
    match value.contains('\0') {
        true => Err(format!(
            "a value in `{key}` has a NUL character, which no argument can hold"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/formats/bundle-toml.md");

    fn parse(text: &str) -> Result<BundleFile, String> {
        BundleFile::parse(text, Path::new("conf/bundle.toml"), Runtime::Docker).map_err(|error| {
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message.push_str(&format!(": {source}"));
            }
            message
        })
    }

    #[test]
    fn the_example_of_the_page_is_what_it_says() {
        let example = PAGE
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let file = parse(example).unwrap();
        assert_eq!(file.arch.as_deref(), Some("aarch64"));
        assert_eq!(file.images, [Path::new("conf/deploy")]);
        let [app, database, redis] = &file.requests[..] else {
            panic!("{file:?}")
        };
        assert_eq!(app.source, ImageSource::Path("conf/./out/myapp.tar.zst".into()));
        assert_eq!(
            (app.runtime, app.policy),
            (Runtime::Docker, Some(Policy::Autostart))
        );
        assert_eq!(app.run.environment["LOG_LEVEL"], "debug");
        assert_eq!(app.run.environment["WORKERS"], "4");
        assert_eq!(app.run.command, ["serve", "--all"]);
        assert_eq!(database.runtime, Runtime::Podman);
        assert_eq!(
            database.service.as_deref(),
            Some(Path::new("conf/mydb.container"))
        );
        assert_eq!(
            redis.source,
            ImageSource::Named(Source::Remote("docker.io/library/redis:7".to_owned()))
        );
        assert_eq!(redis.policy, None);
    }

    #[test]
    fn every_key_of_a_container_is_on_the_page() {
        let error = parse("[[container]]\nsource = \"x\"\nnonsense = 1\n").unwrap_err();
        let keys: Vec<&str> = error
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|key| !key.contains(' '))
            .collect();
        assert!(keys.len() > 14, "{error}");
        for key in keys
            .iter()
            .filter(|key| !matches!(**key, "nonsense" | "conf/bundle.toml"))
        {
            assert!(PAGE.contains(&format!("| `{key}` |")), "the page lacks {key}");
        }
    }

    #[test]
    fn wrong_files_say_where_and_what() {
        let table = "[[container]]\nsource = \"myapp\"\n";
        for (text, says) in [
            ("[[container]\n", "line 1"),
            ("[[containers]]\n", "unknown field `containers`"),
            ("[[container]]\nname = \"x\"\n", "missing field `source`"),
            (
                &format!("{table}policy = \"unles-stopped\"\n"),
                "expected one of `autostart`",
            ),
            (
                &format!("{table}runtime = \"lxc\"\n"),
                "expected `docker` or `podman`",
            ),
            (&format!("{table}ports = \"80:80\"\n"), "line 3"),
            (
                &format!("{table}ports = [\"80:80\"]\n"),
                "add policy = \"autostart\"",
            ),
            (
                &format!("{table}policy=\"no\"\nports = [\"-x\"]\n"),
                "`-x` in `ports`",
            ),
            (
                &format!("{table}policy=\"no\"\nvolumes = [\"a\\nb\"]\n"),
                "in `volumes`",
            ),
            (
                &format!("{table}policy=\"no\"\nenvironment = {{ \"A B\" = \"\" }}\n"),
                "`A B` is not the name",
            ),
            (
                &format!("{table}policy=\"no\"\nservice=\"x\"\nargs=[\"-x\"]\n"),
                "write them into the service file",
            ),
            (&format!("{table}container-name = \"x\"\n"), "container-name `x`"),
            ("[[container]]\nsource = \"./x.tar\"\n", "needs a `name`"),
            (
                "[[container]]\nsource = \"myapp:docker\"\n",
                "only the name of the image",
            ),
            (
                "[[container]]\nsource = \"Docker.io/X/y\"\n",
                "a path starts with",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text:?} gives `{error}`, not `{says}`");
            assert!(error.contains("conf/bundle.toml"), "{error}");
        }
    }
}
