//! What is in force: options before the environment before the configuration file before what is usual.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::engine::config_file::{ConfigFile, truth};
use crate::engine::options::{self, Options};
use crate::engine::program::Tool;
use vcontainer_guest::Arch;
use vcontainer_vm::MachineSpec;

/// Everything outside of the command line that decides.
pub struct Surroundings<'a> {
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// `uname -m`.
    pub machine: &'a str,
    /// The folder that the program runs in, for paths that are given relative to it.
    pub folder: &'a Path,
}

/// What is in force for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The tool.
    pub tool: Tool,
    /// The machine's architecture.
    pub arch: Arch,
    /// The machine's folder; `None` for one that leaves nothing behind.
    pub state: Option<PathBuf>,
    /// The folder with the folders of all machines of the tool.
    pub root: PathBuf,
    /// The folder of the configuration.
    pub config_dir: PathBuf,
    /// Where the guest files are, if somebody says so.
    pub blob_dir: Option<PathBuf>,
    /// Where templates are kept.
    pub cache: PathBuf,
    /// Where the user's own guest files are.
    pub data: PathBuf,
    /// Processors.
    pub cpus: u8,
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual size of the state disk in bytes.
    pub disk: u64,
    /// How long the machine stays up after a command.
    pub linger: Duration,
    /// Whether KVM may be tried.
    pub kvm: bool,
    /// Whether the machine has a network.
    pub network: bool,
    /// Whether to tell more.
    pub verbose: bool,
    /// Where the whole store goes after the command.
    pub storage: Option<PathBuf>,
    /// The tar that the store starts from.
    pub input_storage: Option<PathBuf>,
    /// Whether a terminal was asked for before the command.
    pub interactive: bool,
    /// Options on the command line that say what kind of machine is started: they change nothing of one that is up.
    pub at_start: Vec<&'static str>,
}

/// The folder of the configuration: it can be shown and set even when what stands in it is wrong.
///
/// # Errors
/// No home.
pub fn config_dir(tool: Tool, options: &Options, around: &Surroundings<'_>) -> Result<PathBuf> {
    let given = options
        .config_dir
        .clone()
        .or_else(|| path(tool, "CONFIG_DIR", around));
    let folder = match given {
        Some(folder) => folder,
        None => home(around)?.join(".config").join(tool.name()),
    };
    Ok(around.folder.join(folder))
}

impl Settings {
    /// Finds out what is in force.
    ///
    /// # Errors
    /// A value that cannot be, or options that contradict each other.
    pub fn new(
        tool: Tool,
        options: &Options,
        config: &ConfigFile,
        around: &Surroundings<'_>,
    ) -> Result<Self> {
        let text = |suffix: &str| text(tool, suffix, around);
        let value = |suffix: &str, key: &str| {
            Ok::<_, anyhow::Error>(match text(suffix)? {
                Some(value) => Some((tool.variable(suffix), value)),
                None => config
                    .get(key)
                    .map(|value| (format!("the key `{key}` of the configuration"), value.to_owned())),
            })
        };
        let arch = match options.arch.or(tool.arch) {
            Some(arch) => arch,
            None => match value("ARCH", "arch")? {
                Some((from, name)) => {
                    options::arch(&name).with_context(|| format!("{from} cannot be used"))?
                }
                None => options::arch(around.machine)
                    .context("this computer's own architecture cannot be used: choose one with --arch")?,
            },
        };
        let truth_of = |suffix: &str, key: &str| match value(suffix, key)? {
            None => Ok(false),
            Some((from, value)) => truth(&value).with_context(|| format!("{from} cannot be used")),
        };
        let stateless_by_variable = truth_of("STATELESS", "")?;
        let root =
            match path(tool, "STATE_DIR", around).or_else(|| config.get("state-dir").map(PathBuf::from)) {
                Some(root) => root,
                None => home(around)?.join(format!(".{}", tool.name())),
            };
        let root = around.folder.join(root);
        let named = options.state_dir.is_some() || options.instance.is_some();
        for (option, path) in [
            ("--storage", &options.storage),
            ("--input-storage", &options.input_storage),
        ] {
            if path.as_deref() == Some(Path::new("-")) {
                bail!("{option} takes a file, and no stream: `./-` is a file of this name");
            }
        }
        if options.stateless && named {
            bail!(
                "--stateless leaves nothing behind, and --state-dir and --instance say where: give only one of them"
            );
        }
        if options.input_storage.is_some() && named {
            bail!(
                "--input-storage makes a machine of its own: it cannot be given with --state-dir or --instance"
            );
        }
        if options.state_dir.is_some() && options.instance.is_some() {
            bail!("--state-dir and --instance both say where the machine's state is: give only one of them");
        }
        let stateless =
            options.stateless || options.input_storage.is_some() || (stateless_by_variable && !named);
        let state = match (&options.state_dir, &options.instance) {
            _ if stateless => None,
            (Some(folder), _) => Some(around.folder.join(folder)),
            (None, Some(name)) => Some(root.join(name)),
            (None, None) => Some(root.join(arch.to_string())),
        };
        let number = |option: Option<u64>, suffix: &str, key: &str, default: u64, least: u64| {
            let (from, number) = match (option, value(suffix, key)?) {
                (Some(number), _) => (format!("--{key}"), number),
                (None, Some((from, value))) => {
                    let number = options::bytes(&value).with_context(|| format!("{from} cannot be used"))?;
                    (from, number)
                }
                (None, None) => return Ok::<_, anyhow::Error>(default),
            };
            if number < least {
                bail!(
                    "{from} is too small: a machine needs {} MiB at least",
                    least >> 20
                );
            }
            Ok(number)
        };
        let cpus = match (options.cpus, value("CPUS", "cpus")?) {
            (Some(cpus), _) => cpus,
            (None, Some((from, value))) => {
                options::cpus(&value).with_context(|| format!("{from} cannot be used"))?
            }
            (None, None) => MachineSpec::default_cpus(),
        };
        let linger = match (options.idle_timeout, value("IDLE_TIMEOUT", "idle-timeout")?) {
            _ if options.no_daemon => Duration::ZERO,
            (Some(linger), _) => linger,
            _ if config.get("auto-daemon").map(truth).transpose()? == Some(false) => Duration::ZERO,
            (None, Some((from, value))) => {
                options::seconds(&value).with_context(|| format!("{from} cannot be used"))?
            }
            (None, None) => MachineSpec::DEFAULT_LINGER,
        };
        let place = |variable: &str, usual: &str| {
            let given = (around.variable)(variable).map(PathBuf::from);
            match given.filter(|path| path.is_absolute()) {
                Some(folder) => Ok(folder.join("vcontainer")),
                None => Ok::<_, anyhow::Error>(home(around)?.join(usual).join("vcontainer")),
            }
        };
        let blob_dir = options
            .blob_dir
            .clone()
            .or_else(|| path(tool, "BLOB_DIR", around))
            .or_else(|| config.get("blob-dir").map(PathBuf::from));
        let inside = |path: &Option<PathBuf>| path.as_ref().map(|path| around.folder.join(path));
        Ok(Self {
            tool,
            arch,
            state,
            root,
            config_dir: config_dir(tool, options, around)?,
            blob_dir: inside(&blob_dir),
            cache: place("XDG_CACHE_HOME", ".cache")?,
            data: place("XDG_DATA_HOME", ".local/share")?,
            cpus,
            memory: number(
                options.memory,
                "MEMORY",
                "memory",
                u64::from(MachineSpec::DEFAULT_MEMORY) << 20,
                u64::from(MachineSpec::LEAST_MEMORY) << 20,
            )?,
            disk: number(
                options.disk,
                "DISK",
                "disk",
                MachineSpec::DEFAULT_DISK,
                MachineSpec::LEAST_DISK,
            )?,
            linger,
            kvm: !options.no_kvm,
            network: !options.no_network,
            verbose: options.verbose || truth_of("VERBOSE", "verbose")?,
            storage: inside(&options.storage),
            input_storage: inside(&options.input_storage),
            interactive: options.interactive,
            at_start: options.at_start(),
        })
    }
}

fn home(around: &Surroundings<'_>) -> Result<PathBuf> {
    (around.variable)("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .context("HOME is not set, so there is no place for state and configuration: set it, or give --state-dir and --config-dir")
}

/// A variable of the tool; an empty one counts as not set.
fn path(tool: Tool, suffix: &str, around: &Surroundings<'_>) -> Option<PathBuf> {
    (around.variable)(&tool.variable(suffix))
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn text(tool: Tool, suffix: &str, around: &Surroundings<'_>) -> Result<Option<String>> {
    path(tool, suffix, around)
        .map(|value| {
            let value = value.into_os_string();
            value
                .into_string()
                .ok()
                .with_context(|| format!("the value of {} is no text", tool.variable(suffix)))
        })
        .transpose()
}

#[cfg(test)]
mod tests;
