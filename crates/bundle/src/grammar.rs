//! The grammar of one entry: `source[:runtime][:policy][:external]`.
//!
//! It covers both forms that users of the Yocto classes know: `BUNDLED_CONTAINERS` (`name[:runtime[:policy]][:external]`,
//! also the legacy `name-latest-oci:runtime`) and `CONTAINER_BUNDLES` (`source[:policy]`, where the source may be a
//! remote reference and the runtime is given elsewhere). Import and service generation both use what is parsed here.
//! The cases are listed in `docs/guide/naming.md`, which the tests read.

use std::fmt;
use std::str::FromStr;

use vcontainer_image::Reference;

/// The engine whose store an image goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker (`dockerd`).
    Docker,
    /// Podman.
    Podman,
}

impl Runtime {
    /// Every runtime, in the order of messages.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// The word in an entry.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The engine's own name, for messages.
    #[must_use]
    pub const fn engine(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether a container starts at boot and when systemd starts it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The recommended word; the same as [`Policy::UnlessStopped`].
    Autostart,
    /// Start at boot, start again whenever it ends.
    Always,
    /// The same to systemd: a unit that `systemctl stop` has stopped stays stopped under `Restart=always` too.
    UnlessStopped,
    /// Start at boot, start again only after a failure.
    OnFailure,
    /// Start at boot, never again.
    No,
}

impl Policy {
    /// Every policy, in the order of messages.
    pub const ALL: [Self; 5] = [
        Self::Autostart,
        Self::Always,
        Self::UnlessStopped,
        Self::OnFailure,
        Self::No,
    ];

    /// The word in an entry.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Autostart => "autostart",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
            Self::No => "no",
        }
    }

    /// What the policy is in a unit.
    #[must_use]
    pub const fn restart(self) -> Restart {
        match self {
            Self::Autostart | Self::Always | Self::UnlessStopped => Restart::Always,
            Self::OnFailure => Restart::OnFailure,
            Self::No => Restart::No,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A value of systemd's `Restart=` (systemd.service(5)). `unless-stopped` is not among them: systemd ignores such a
/// line and never restarts the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// `always`
    Always,
    /// `on-failure`
    OnFailure,
    /// `no`
    No,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::No => "no",
        })
    }
}

/// What an entry names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The name of a container recipe or of a layout directory: looked up in the image directories.
    Local(String),
    /// A reference with its registry, as written: `docker.io/library/redis:7`. Without tag and digest it means the
    /// tag `latest`.
    Remote(String),
}

impl Source {
    /// A source on its own, as `--image NAME=PATH` and the configuration file name it.
    ///
    /// # Errors
    /// A text that is neither a local name nor a remote reference, or that has fields after it.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        let entry = Entry::from_str(text)?;
        if entry.runtime.is_some() || entry.policy.is_some() || entry.external {
            return Err(EntryError::new(text, Problem::OnlyASource));
        }
        Ok(entry.source)
    }

    /// The text: the name, or the reference as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local(text) | Self::Remote(text) => text,
        }
    }

    /// The source as a file name, every `/` and `:` replaced by `_`: the key of `CONTAINER_DIGESTS` and the name of
    /// the folder that the bundle recipe fetches a remote image into.
    #[must_use]
    pub fn key(&self) -> String {
        self.as_str().replace(['/', ':'], "_")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it names.
    pub source: Source,
    /// The engine, when the entry names one.
    pub runtime: Option<Runtime>,
    /// The policy, when the entry has one; without it no service is made.
    pub policy: Option<Policy>,
    /// `external`: the image is no recipe of this build. Only the Yocto classes look at it.
    pub external: bool,
}

/// Why a text is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry `{entry}`: {problem}")]
pub struct EntryError {
    /// The entry as written.
    pub entry: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl EntryError {
    fn new(entry: &str, problem: Problem) -> Self {
        Self {
            entry: entry.to_owned(),
            problem,
        }
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field where a runtime may stand.
    #[error(
        "`{0}` is not a runtime (docker, podman), a policy (autostart, always, unless-stopped, on-failure, no) or \
         `external`; the form is name[:runtime[:policy]][:external]"
    )]
    Field(String),
    /// A field after the runtime.
    #[error("`{0}` is not a policy (autostart, always, unless-stopped, on-failure, no) or `external`")]
    Policy(String),
    /// A tag-like field after a local name.
    #[error(
        "`{0}` is not a runtime (docker, podman) or a policy (autostart, always, unless-stopped, on-failure, no); if \
         it is the tag of a remote image, write the image with its registry, such as docker.io/library/{1}:{0}"
    )]
    LooksLikeTag(String, String),
    /// A second runtime or policy, or a runtime after the policy.
    #[error("`{0}` is one field too many: the form is name[:runtime[:policy]][:external]")]
    Surplus(String),
    /// Two colons with nothing between them, or one at the end.
    #[error("field {0} is empty; leave out the colon as well")]
    EmptyField(usize),
    /// Nothing before the first colon.
    #[error("it has no name; the form is name[:runtime[:policy]][:external]")]
    NoName,
    /// A character that no name has.
    #[error(
        "`{0}` is not a name: only letters, digits and `.`, `_`, `+`, `-` can be in it, a letter or digit first"
    )]
    Name(String),
    /// Not an image reference.
    #[error("`{reference}` is not an image reference: {reason}")]
    Reference {
        /// The text before the fields.
        reference: String,
        /// What the reference parser says.
        reason: String,
    },
    /// A path where a name is expected.
    #[error(
        "`{0}` is a path, and entries take names: give the path by --image NAME={0} and use NAME in the entry"
    )]
    Path(String),
    /// Fields where only the name of an image is meant.
    #[error("only the name of the image belongs here, without runtime, policy or `external`")]
    OnlyASource,
}

/// One field after the source.
enum Field {
    Runtime(Runtime),
    Policy(Policy),
    External,
}

fn field(word: &str) -> Option<Field> {
    if word == "external" {
        return Some(Field::External);
    }
    let runtime = Runtime::ALL.into_iter().find(|runtime| runtime.word() == word);
    let policy = Policy::ALL.into_iter().find(|policy| policy.word() == word);
    runtime.map(Field::Runtime).or(policy.map(Field::Policy))
}

impl FromStr for Entry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let wrong = |problem| EntryError::new(text, problem);
        let (source, fields) = split(text).map_err(wrong)?;
        let mut entry = Self {
            source,
            runtime: None,
            policy: None,
            external: false,
        };
        for (index, word) in fields.iter().enumerate() {
            if word.is_empty() {
                return Err(wrong(Problem::EmptyField(index + 2)));
            }
            match field(word) {
                Some(Field::External) if !entry.external => entry.external = true,
                Some(Field::Runtime(runtime)) if entry.runtime.is_none() && entry.policy.is_none() => {
                    entry.runtime = Some(runtime);
                }
                Some(Field::Policy(policy)) if entry.policy.is_none() => entry.policy = Some(policy),
                Some(_) => return Err(wrong(Problem::Surplus((*word).to_owned()))),
                None => return Err(wrong(entry.unknown(word))),
            }
        }
        Ok(entry)
    }
}

impl Entry {
    /// Parses every entry of a list separated by white space, such as the value of `BUNDLED_CONTAINERS`.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, EntryError> {
        text.split_whitespace().map(str::parse).collect()
    }

    fn unknown(&self, word: &str) -> Problem {
        let word = word.to_owned();
        match &self.source {
            _ if self.policy.is_some() => Problem::Surplus(word),
            _ if self.runtime.is_some() => Problem::Policy(word),
            Source::Local(name) if word.starts_with(|c: char| c.is_ascii_digit()) || word == "latest" => {
                Problem::LooksLikeTag(word, name.clone())
            }
            _ => Problem::Field(word),
        }
    }
}

/// Splits an entry into its source and the words after it.
fn split(text: &str) -> Result<(Source, Vec<&str>), Problem> {
    if text.starts_with(['/', '.']) {
        let path = text.split(':').next().unwrap_or(text);
        return Err(Problem::Path(path.to_owned()));
    }
    // Only a reference with its registry has a slash; a port can only stand before it, so the colons after the last
    // slash are those of the tag, of the digest and of the fields.
    let Some(slash) = text.rfind('/') else {
        let mut fields = text.split(':');
        let name = fields.next().unwrap_or_default();
        return Ok((Source::Local(local_name(name)?), fields.collect()));
    };
    let mut rest = text[slash..].split(':');
    let mut end = slash + rest.next().map_or(0, str::len);
    let mut fields: Vec<&str> = rest.collect();
    // `name:tag@sha256:hex` has its digest after the tag, `name@sha256:hex` has no tag at all.
    if !text[..end].contains('@')
        && fields
            .first()
            .is_some_and(|word| field(word).is_none() && !word.is_empty())
    {
        end += 1 + fields.remove(0).len();
    }
    if text[..end].contains('@') && !fields.is_empty() {
        end += 1 + fields.remove(0).len();
    }
    let reference = text[..end].to_owned();
    match Reference::parse(&reference) {
        Ok(_) => Ok((Source::Remote(reference), fields)),
        Err(error) => Err(Problem::Reference {
            reference,
            reason: error.to_string(),
        }),
    }
}

fn local_name(name: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    if name.is_empty() {
        Err(Problem::NoName)
    } else if name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(name.to_owned())
    } else {
        Err(Problem::Name(name.to_owned()))
    }
}
