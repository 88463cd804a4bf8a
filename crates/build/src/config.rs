//! The configuration of the image that is built: its own settings over those of the base.
//!
//! Source: OCI image-spec `config.md`; Docker Image Specification v1.2 (`Healthcheck`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use vcontainer_image::{DiffId, Platform, Timestamp};

use crate::error::Error;

/// How containers of the image are run, and what is told about it. What is `None` or empty is left as the base has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The program that always runs. Setting it drops the base's command, which was meant for the base's program.
    pub entrypoint: Option<Vec<String>>,
    /// The command, or with an entrypoint its arguments: replaced by what the user gives.
    pub cmd: Option<Vec<String>>,
    /// Environment, in order; a name that the base has keeps its place.
    pub env: Vec<(String, String)>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// User and group, as `user[:group]` by name or number.
    pub user: Option<String>,
    /// Where programs start.
    pub working_dir: Option<String>,
    /// What tells the program to end, such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Ports that it listens on.
    pub ports: BTreeSet<Port>,
    /// Directories that hold data.
    pub volumes: BTreeSet<String>,
    /// How to find out whether it is well.
    pub healthcheck: Option<Healthcheck>,
    /// Who made it.
    pub author: Option<String>,
}

/// A port with its protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    number: u16,
    protocol: &'static str,
}

impl std::str::FromStr for Port {
    type Err = String;

    /// `80`, `80/tcp`, `53/udp`, `1/sctp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let known = ["tcp", "udp", "sctp"]
            .into_iter()
            .find(|known| *known == protocol);
        match (number.parse(), known) {
            (Ok(number), Some(protocol)) if number > 0 => Ok(Self { number, protocol }),
            _ => Err(format!(
                "`{text}` is no port: write 80, 80/tcp, 80/udp or 80/sctp"
            )),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol)
    }
}

/// A command that is run in the container from time to time. Times are nanoseconds; 0 leaves the engine's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healthcheck {
    /// `CMD` or `CMD-SHELL` and the words, or `NONE`.
    pub test: Vec<String>,
    /// Between two runs.
    pub interval: u64,
    /// How long one may take.
    pub timeout: u64,
    /// How long failures do not count at first.
    pub start_period: u64,
    /// How many failures in a row mean that it is not well.
    pub retries: u32,
}

/// The environment of images that say nothing about it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Settings {
    /// Refuses what no engine could use.
    ///
    /// # Errors
    /// Which setting, and why.
    pub fn check(&self) -> Result<(), Error> {
        let refuse =
            |what: &str, value: &str, fault: &str| Err(Error::definition(format!("{what} `{value}`"), fault));
        for volume in &self.volumes {
            if !volume.starts_with('/') {
                return refuse("the volume", volume, "it is no absolute path");
            }
        }
        if let Some(directory) = self.working_dir.as_ref().filter(|path| !path.starts_with('/')) {
            return refuse("the working directory", directory, "it is no absolute path");
        }
        if let Some(user) = &self.user {
            let parts: Vec<&str> = user.split(':').collect();
            let is_name = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
            if parts.len() > 2 || !parts.iter().all(is_name) {
                return refuse("the user", user, "write user or user:group, by name or number");
            }
        }
        if let Some(signal) = &self.stop_signal {
            let is_number = signal
                .parse::<u8>()
                .is_ok_and(|number| (1..=64).contains(&number));
            let name = signal.strip_prefix("SIG").unwrap_or(signal);
            let (base, offset) = name.split_once(['+', '-']).unwrap_or((name, "0"));
            let is_name = SIGNALS.contains(&base)
                && (offset == "0" || base.starts_with("RT"))
                && offset.parse::<u8>().is_ok();
            if !is_number && !is_name {
                return refuse(
                    "the stop signal",
                    signal,
                    "there is no such signal: write SIGTERM or 15",
                );
            }
        }
        Ok(())
    }
}

/// Names of Linux' signals (signal(7)).
const SIGNALS: [&str; 36] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "RTMIN", "RTMAX",
];

/// A layer, as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its digest.
    pub diff_id: DiffId,
    /// What made it.
    pub created_by: String,
}

/// The configuration's JSON. `base` is that of the base image.
///
/// # Errors
/// The base's makes no sense.
pub fn document(
    base: Option<&[u8]>,
    settings: &Settings,
    platform: &Platform,
    created: Timestamp,
    steps: &[Step],
) -> Result<Vec<u8>, Error> {
    let wrong = |fault: String| Error::definition("the configuration of the base image", fault);
    let mut document: Map<String, Value> = match base {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?,
        None => Map::new(),
    };
    let created = created.rfc3339();
    document.insert("created".into(), json!(created));
    if let Some(author) = &settings.author {
        document.insert("author".into(), json!(author));
    }
    document.insert("architecture".into(), json!(platform.architecture));
    document.insert("os".into(), json!(platform.os));
    match &platform.variant {
        Some(variant) => document.insert("variant".into(), json!(variant)),
        None => document.remove("variant"),
    };
    // Of the container that a base was once committed from.
    for gone in ["container", "container_config", "docker_version", "id", "parent"] {
        document.remove(gone);
    }
    let mut run =
        object(document.remove("config")).ok_or_else(|| wrong("its `config` is no object".into()))?;
    apply(&mut run, settings).map_err(wrong)?;
    document.insert("config".into(), Value::Object(run));

    let mut root =
        object(document.remove("rootfs")).ok_or_else(|| wrong("its `rootfs` is no object".into()))?;
    let mut diff_ids =
        list(root.remove("diff_ids")).ok_or_else(|| wrong("its `diff_ids` are no list".into()))?;
    let base_layers = diff_ids.len();
    diff_ids.extend(steps.iter().map(|step| json!(step.diff_id.0.to_string())));
    document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));

    let mut history =
        list(document.remove("history")).ok_or_else(|| wrong("its `history` is no list".into()))?;
    // Readers join layers and steps by their number: a base that says nothing of its layers must not take the new steps.
    let made_layer = |step: &&Value| step.get("empty_layer").and_then(Value::as_bool) != Some(true);
    let told = history.iter().filter(made_layer).count();
    history.extend((told..base_layers).map(|_| json!({"comment": "layer of the base image"})));
    history.extend(
        steps
            .iter()
            .map(|step| json!({"created": created, "created_by": step.created_by})),
    );
    document.insert("history".into(), Value::Array(history));
    serde_json::to_vec(&document).map_err(|error| wrong(error.to_string()))
}

fn object(value: Option<Value>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(object)) => Some(object),
        Some(_) => None,
    }
}

fn list(value: Option<Value>) -> Option<Vec<Value>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => Some(list),
        Some(_) => None,
    }
}

fn apply(run: &mut Map<String, Value>, settings: &Settings) -> Result<(), String> {
    let mut env = list(run.remove("Env")).ok_or("its `Env` is no list")?;
    if env.is_empty() {
        env.push(json!(PATH));
    }
    for (name, value) in &settings.env {
        let word = json!(format!("{name}={value}"));
        let start = format!("{name}=");
        let known = env
            .iter_mut()
            .find(|word| word.as_str().is_some_and(|word| word.starts_with(&start)));
        match known {
            Some(known) => *known = word,
            None => env.push(word),
        }
    }
    run.insert("Env".into(), Value::Array(env));
    if let Some(words) = &settings.entrypoint {
        run.insert("Entrypoint".into(), json!(words));
        run.remove("Cmd");
    }
    if let Some(words) = &settings.cmd {
        run.insert("Cmd".into(), json!(words));
    }
    for (key, value) in [
        ("User", &settings.user),
        ("WorkingDir", &settings.working_dir),
        ("StopSignal", &settings.stop_signal),
    ] {
        if let Some(value) = value {
            run.insert(key.into(), json!(value));
        }
    }
    let ports = settings.ports.iter().map(|port| (port.to_string(), json!({})));
    merge(run, "ExposedPorts", ports)?;
    let volumes = settings.volumes.iter().map(|volume| (volume.clone(), json!({})));
    merge(run, "Volumes", volumes)?;
    let labels = settings
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)));
    merge(run, "Labels", labels)?;
    if let Some(check) = &settings.healthcheck {
        run.insert("Healthcheck".into(), healthcheck(check));
    }
    Ok(())
}

fn merge(
    run: &mut Map<String, Value>,
    key: &str,
    new: impl Iterator<Item = (String, Value)>,
) -> Result<(), String> {
    let mut all = object(run.remove(key)).ok_or_else(|| format!("its `{key}` is no object"))?;
    all.extend(new);
    if !all.is_empty() {
        all.sort_keys();
        run.insert(key.into(), Value::Object(all));
    }
    Ok(())
}

fn healthcheck(check: &Healthcheck) -> Value {
    let mut value = Map::new();
    value.insert("Test".into(), json!(check.test));
    for (key, number) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("Retries", u64::from(check.retries)),
    ] {
        if number > 0 {
            value.insert(key.into(), json!(number));
        }
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_without_a_history_keeps_its_layers_apart_from_the_new_ones() {
        let base =
            br#"{"rootfs": {"type": "layers", "diff_ids": ["a", "b"]}, "history": [{"empty_layer": true}]}"#;
        let step = Step {
            diff_id: DiffId(vcontainer_image::Digest::of(b"")),
            created_by: "new".into(),
        };
        let platform = Platform::new("linux", "arm64", None);
        let made = document(
            Some(base),
            &Settings::default(),
            &platform,
            Timestamp::default(),
            &[step],
        )
        .unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(
            made["history"],
            json!([
                {"empty_layer": true},
                {"comment": "layer of the base image"},
                {"comment": "layer of the base image"},
                {"created": "1970-01-01T00:00:00Z", "created_by": "new"}
            ])
        );
    }
}
