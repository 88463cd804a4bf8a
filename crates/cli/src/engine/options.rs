//! Options of `vdkr` and `vpdmn` themselves. They come before the command; the tool's own commands (`vimport`,
//! `clean`, …) take them behind it as well. Every word after an engine's command belongs to the engine.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use vcontainer_guest::Arch;

use crate::args::size;

/// What the options say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    /// The architecture of the machine.
    pub arch: Option<Arch>,
    /// A machine of this name beside the usual one.
    pub instance: Option<String>,
    /// The folder of the machine, as it is.
    pub state_dir: Option<PathBuf>,
    /// A pristine machine that leaves nothing behind.
    pub stateless: bool,
    /// Where the whole store goes after the command.
    pub storage: Option<PathBuf>,
    /// The tar that the store starts from.
    pub input_storage: Option<PathBuf>,
    /// Where the guest files are.
    pub blob_dir: Option<PathBuf>,
    /// Where the configuration is.
    pub config_dir: Option<PathBuf>,
    /// Never KVM.
    pub no_kvm: bool,
    /// A machine without network.
    pub no_network: bool,
    /// Suspend at once after this command.
    pub no_daemon: bool,
    /// Processors of the machine.
    pub cpus: Option<u8>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Virtual size of the state disk in bytes.
    pub disk: Option<u64>,
    /// How long the machine stays up after the last command.
    pub idle_timeout: Option<Duration>,
    /// Tell more.
    pub verbose: bool,
    /// `-it` before the command.
    pub interactive: bool,
    /// The tool's own help.
    pub help: bool,
    /// The tool's version.
    pub version: bool,
}

/// Options of the reference that come with a later version: never ignored in silence.
const LATER: [&str; 11] = [
    "--registry",
    "--no-registry",
    "--insecure-registry",
    "--secure-registry",
    "--ca-cert",
    "--registry-user",
    "--registry-pass",
    "--registry-password",
    "--config",
    "--port-forward",
    "--hypervisor",
];

/// Words that are not read yet.
pub type Words = VecDeque<OsString>;

impl Options {
    /// Takes the options at the front of `words`, up to the command. `true` when a `--` ended them: what follows then
    /// belongs to the engine, whatever it is called.
    ///
    /// # Errors
    /// An option that is not known, or without its value, or with one that it cannot have.
    pub fn take_leading(&mut self, words: &mut Words) -> Result<bool> {
        while let Some(word) = words.front() {
            if word == "--" {
                words.pop_front();
                return Ok(true);
            }
            if !word.as_bytes().starts_with(b"-") || word == "-" {
                return Ok(false);
            }
            let word = words.pop_front().unwrap_or_default();
            if !self.take(&word, words)? {
                bail!(
                    "`{}` is no option of this tool: `--help` lists them. Options of the engine come after its command, or \
                     after `--`",
                    word.display()
                );
            }
        }
        Ok(false)
    }

    /// Takes `word` if it is an option of the tool, with its value from `rest` if it needs one.
    ///
    /// # Errors
    /// As [`Options::take_leading`], but an option that is not known is `false`.
    pub fn take(&mut self, word: &OsStr, rest: &mut Words) -> Result<bool> {
        let (name, attached) = split(word);
        let Some(name) = name.to_str() else {
            return Ok(false);
        };
        if LATER.contains(&name) {
            bail!("`{name}` is not possible yet: a later version brings it");
        }
        if self.take_switch(name) {
            if attached.is_some() {
                bail!("`{name}` takes no value");
            }
            return Ok(true);
        }
        let takes_value = matches!(
            name,
            "--arch"
                | "-a"
                | "--instance"
                | "-I"
                | "--state-dir"
                | "--storage"
                | "--input-storage"
                | "--blob-dir"
                | "--config-dir"
                | "--cpus"
                | "--memory"
                | "--disk"
                | "--idle-timeout"
        );
        if !takes_value {
            return Ok(false);
        }
        let value = attached
            .or_else(|| rest.pop_front())
            .with_context(|| format!("`{name}` needs a value"))?;
        if value.is_empty() {
            bail!("`{name}` needs a value, and an empty one is none");
        }
        self.set(name, value)?;
        Ok(true)
    }

    /// The options that were given of those that say what kind of machine is started.
    #[must_use]
    pub fn at_start(&self) -> Vec<&'static str> {
        let given = [
            (self.cpus.is_some(), "--cpus"),
            (self.memory.is_some(), "--memory"),
            (self.disk.is_some(), "--disk"),
            (self.idle_timeout.is_some(), "--idle-timeout"),
            (self.no_daemon, "--no-daemon"),
            (self.no_kvm, "--no-kvm"),
            (self.no_network, "--no-network"),
        ];
        given
            .into_iter()
            .filter_map(|(given, name)| given.then_some(name))
            .collect()
    }

    fn take_switch(&mut self, name: &str) -> bool {
        let switch = match name {
            "--stateless" => &mut self.stateless,
            "--no-kvm" => &mut self.no_kvm,
            "--no-network" => &mut self.no_network,
            "--no-daemon" => &mut self.no_daemon,
            "--verbose" | "-v" => &mut self.verbose,
            "-it" | "-ti" | "-i" | "-t" | "--interactive" => &mut self.interactive,
            "--help" | "-h" => &mut self.help,
            "--version" => &mut self.version,
            _ => return false,
        };
        *switch = true;
        true
    }

    fn set(&mut self, name: &str, value: OsString) -> Result<()> {
        match name {
            "--state-dir" => self.state_dir = Some(value.into()),
            "--storage" => self.storage = Some(value.into()),
            "--input-storage" => self.input_storage = Some(value.into()),
            "--blob-dir" => self.blob_dir = Some(value.into()),
            "--config-dir" => self.config_dir = Some(value.into()),
            _ => {
                let text = value
                    .to_str()
                    .with_context(|| format!("the value of `{name}` is no text: `{}`", value.display()))?;
                match name {
                    "--arch" | "-a" => self.arch = Some(arch(text).with_context(|| of(name))?),
                    "--instance" | "-I" => self.instance = Some(instance(text)?),
                    "--cpus" => self.cpus = Some(cpus(text).with_context(|| of(name))?),
                    "--memory" => self.memory = Some(bytes(text).with_context(|| of(name))?),
                    "--disk" => self.disk = Some(bytes(text).with_context(|| of(name))?),
                    _ => self.idle_timeout = Some(seconds(text).with_context(|| of(name))?),
                }
            }
        }
        Ok(())
    }
}

/// `--name=value` in two; any other word is a name alone.
fn split(word: &OsStr) -> (&OsStr, Option<OsString>) {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsString::from_vec(bytes[at + 1..].to_vec())),
        ),
        _ => (word, None),
    }
}

fn of(name: &str) -> String {
    format!("the value of `{name}` cannot be used")
}

/// An architecture by the name that the tools know.
///
/// # Errors
/// Any other name.
pub fn arch(text: &str) -> Result<Arch> {
    text.parse()
        .map_err(|_| anyhow!("`{text}` is no architecture of a machine: use aarch64 or x86_64"))
}

/// The name of an instance: one folder.
///
/// # Errors
/// Anything that is not one plain name.
pub fn instance(text: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.starts_with(['.', '-']) || !text.chars().all(plain) || text.len() > 100 {
        bail!(
            "`{text}` is no name of an instance: letters, digits, `_`, `-` and `.`, not starting with `.` or `-`"
        );
    }
    Ok(text.to_owned())
}

/// A number of processors.
///
/// # Errors
/// Anything but 1 to 64.
pub fn cpus(text: &str) -> Result<u8> {
    text.parse()
        .ok()
        .filter(|cpus| (1..=64).contains(cpus))
        .with_context(|| format!("`{text}` is no number of processors: use 1 to 64"))
}

/// A number of bytes with a unit.
///
/// # Errors
/// What is none.
pub fn bytes(text: &str) -> Result<u64> {
    let bytes = size(text).map_err(|why| anyhow!("`{text}`: {why}, such as 2G"))?;
    if bytes < 1 << 20 {
        bail!("`{text}` is less than a megabyte: give a unit, such as 2G");
    }
    Ok(bytes)
}

/// A number of seconds.
///
/// # Errors
/// What is none.
pub fn seconds(text: &str) -> Result<Duration> {
    let seconds: u32 = text
        .parse()
        .ok()
        .with_context(|| format!("`{text}` is no number of seconds: 0 suspends the machine at once"))?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Words {
        text.iter().map(OsString::from).collect()
    }

    /// The options and what is left.
    fn parse(text: &[&str]) -> Result<(Options, Vec<String>, bool)> {
        let mut left = words(text);
        let mut options = Options::default();
        let ended = options.take_leading(&mut left)?;
        let left = left.into_iter().map(|word| word.into_string().unwrap());
        Ok((options, left.collect(), ended))
    }

    fn error(text: &[&str]) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn options_end_at_the_command() {
        let (options, left, _) = parse(&[
            "-a", "aarch64", "--no-kvm", "run", "--rm", "-it", "x", "--help", "-a", "y",
        ])
        .unwrap();
        assert_eq!(options.arch, Some(Arch::Aarch64));
        assert!(options.no_kvm && !options.help && !options.interactive);
        assert_eq!(left, ["run", "--rm", "-it", "x", "--help", "-a", "y"]);
    }

    #[test]
    fn both_forms_of_values_are_read() {
        for form in [
            &["--state-dir=/a b/=c", "images"][..],
            &["--state-dir", "/a b/=c", "images"],
        ] {
            let (options, left, _) = parse(form).unwrap();
            assert_eq!(options.state_dir, Some(PathBuf::from("/a b/=c")));
            assert_eq!(left, ["images"]);
        }
    }

    #[test]
    fn every_option_is_read() {
        let (options, left, _) = parse(&[
            "-I",
            "web",
            "--stateless",
            "--storage",
            "s.tar",
            "--input-storage=in.tar",
            "--blob-dir",
            "b",
            "--config-dir",
            "c",
            "--no-network",
            "--no-daemon",
            "--cpus",
            "4",
            "--memory",
            "2G",
            "--disk=64G",
            "--idle-timeout",
            "0",
            "-v",
            "-it",
            "--version",
            "-h",
        ])
        .unwrap();
        let expected = Options {
            arch: None,
            instance: Some("web".to_owned()),
            state_dir: None,
            stateless: true,
            storage: Some("s.tar".into()),
            input_storage: Some("in.tar".into()),
            blob_dir: Some("b".into()),
            config_dir: Some("c".into()),
            no_kvm: false,
            no_network: true,
            no_daemon: true,
            cpus: Some(4),
            memory: Some(2 << 30),
            disk: Some(64 << 30),
            idle_timeout: Some(Duration::ZERO),
            verbose: true,
            interactive: true,
            help: true,
            version: true,
        };
        assert_eq!(options, expected);
        assert!(left.is_empty());
    }

    #[test]
    fn two_dashes_hand_the_rest_to_the_engine() {
        let (_, left, ended) = parse(&["-v", "--", "--log-level=debug", "images"]).unwrap();
        assert!(ended);
        assert_eq!(left, ["--log-level=debug", "images"]);
    }

    #[test]
    fn wrong_options_are_told() {
        for (text, part) in [
            (&["--frob", "images"][..], "`--frob` is no option"),
            (&["--arch"], "`--arch` needs a value"),
            (&["--arch="], "an empty one is none"),
            (&["--arch", "sparc"], "`sparc` is no architecture"),
            (&["--stateless=yes"], "takes no value"),
            (&["-I", "../x"], "`../x` is no name of an instance"),
            (&["-I", ".."], "no name of an instance"),
            (&["--cpus", "0"], "1 to 64"),
            (&["--memory", "2048"], "give a unit"),
            (&["--memory", "much"], "`much`"),
            (&["--idle-timeout", "-1"], "no number of seconds"),
            (&["--registry", "x"], "`--registry` is not possible yet"),
            (&["--config=x"], "not possible yet"),
        ] {
            let told = error(text);
            assert!(told.contains(part), "{text:?}: {told}");
        }
    }

    #[test]
    fn a_value_may_be_any_bytes() {
        let raw = OsString::from_vec(b"--state-dir=/a\xff".to_vec());
        let mut options = Options::default();
        assert!(options.take(&raw, &mut Words::new()).unwrap());
        assert_eq!(options.state_dir.unwrap().as_os_str().as_bytes(), b"/a\xff");
        let raw = OsString::from_vec(b"\xff".to_vec());
        assert!(!Options::default().take(&raw, &mut Words::new()).unwrap());
    }
}
