//! The words of an engine's command, as far as this side has to understand them: does it want a terminal or standard
//! input, which operands are files of this computer, which registries does it name. Everything else goes to the engine
//! as it stands, and what cannot be understood is left to the engine's own judgement.
//!
//! The tables are those of `docker --help` (26.1) and `podman --help` (5.4): options that take no value. All others
//! take one.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::{Result, bail};

use host::{check_build, check_copy, check_kube, check_mount, check_volume, is_address, loopback_port};
use scan::{Found, Scan, scan};

mod host;
mod scan;

/// An engine's command, ready for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineCommand {
    /// The words for the engine in the guest, without the engine's own name.
    pub words: Vec<OsString>,
    /// What its standard input is.
    pub stdin: Input,
    /// Where its standard output goes.
    pub stdout: Output,
    /// When it gets a terminal.
    pub terminal: Terminal,
    /// Ports of registries on this computer's loopback that it names.
    pub registries: BTreeSet<u16>,
    /// Whether ports of a container are published, which only the machine itself can reach.
    pub publishes: bool,
}

/// Where standard input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The command reads none; what is on the tool's own standard input is for others.
    Empty,
    /// The tool's own.
    Host,
    /// The tool's own, which must not be a terminal: an archive is expected.
    HostArchive,
    /// A file of this computer.
    File(PathBuf),
}

/// Where standard output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The tool's own.
    Host,
    /// The tool's own, which must not be a terminal: an archive comes.
    HostArchive,
    /// A file of this computer.
    File(PathBuf),
}

/// When the program in the guest gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Never.
    Never,
    /// When standard input is one: `run -it`.
    OfInput,
    /// When standard input, output and error all are one, for the sake of progress bars.
    OfAll,
}

/// Options of `run`, `create` and `exec` that take no value; those of Docker and Podman together.
const RUN_SWITCHES: &[&str] = &[
    "detach",
    "disable-content-trust",
    "env-host",
    "help",
    "http-proxy",
    "init",
    "interactive",
    "latest",
    "no-healthcheck",
    "no-hostname",
    "no-hosts",
    "no-session",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "tls-verify",
    "tty",
    "unsetenv-all",
    "use-api-socket",
];
const RUN_SHORT_SWITCHES: &[u8] = b"ditPq";
/// `exec` has `-l` without a value (Podman), `run` has it with one.
const EXEC_SHORT_SWITCHES: &[u8] = b"ditlq";
/// Of commands with files: everything but these takes a value.
const FILE_SWITCHES: &[&str] = &[
    "compress",
    "help",
    "multi-image-archive",
    "quiet",
    "uncompressed",
    "no-stdin",
    "sig-proxy",
    "latest",
    "attach",
    "interactive",
    "all",
    "filter",
];
const FILE_SHORT_SWITCHES: &[u8] = b"qml";
const START_SHORT_SWITCHES: &[u8] = b"ail";
/// Global options of the engines that take a value.
const GLOBAL_VALUES: &[&str] = &[
    "-c",
    "-H",
    "-l",
    "--config",
    "--context",
    "--host",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--cgroup-manager",
    "--conmon",
    "--connection",
    "--events-backend",
    "--hooks-dir",
    "--identity",
    "--imagestore",
    "--module",
    "--network-cmd-path",
    "--network-config-dir",
    "--out",
    "--pull-option",
    "--root",
    "--runroot",
    "--runtime",
    "--runtime-flag",
    "--ssh",
    "--storage-driver",
    "--storage-opt",
    "--tmpdir",
    "--url",
    "--volumepath",
];
/// Commands that never read standard input: a loop over names on the tool's own input must not lose them.
const NEVER_READ: &[&str] = &[
    "commit",
    "create",
    "diff",
    "events",
    "export",
    "history",
    "images",
    "info",
    "inspect",
    "kill",
    "list",
    "logs",
    "ls",
    "pause",
    "port",
    "ps",
    "pull",
    "push",
    "rename",
    "restart",
    "rm",
    "rmi",
    "save",
    "search",
    "stats",
    "stop",
    "tag",
    "top",
    "unpause",
    "untag",
    "update",
    "version",
    "wait",
    "logout",
    "exists",
    "mount",
    "unmount",
    "umount",
    "df",
    "pod",
    "volume",
    "network",
    "healthcheck",
    "mounts",
    "connect",
    "disconnect",
];
/// Commands that show how far they are.
const SHOW_PROGRESS: &[&str] = &["pull", "push", "build", "stats", "top"];

/// Where the command word of `words` stands; behind the engine's global options.
fn command_at(words: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if !word.as_bytes().starts_with(b"-") {
            return Some(at);
        }
        let takes_value = word.to_str().is_some_and(|word| GLOBAL_VALUES.contains(&word));
        at += if takes_value { 2 } else { 1 };
    }
    None
}

/// Makes an engine's command ready for the guest.
///
/// # Errors
/// Something that cannot work across the border of the machine.
pub fn prepare(words: Vec<OsString>) -> Result<EngineCommand> {
    let mut command = EngineCommand {
        words,
        stdin: Input::Host,
        stdout: Output::Host,
        terminal: Terminal::Never,
        registries: BTreeSet::new(),
        publishes: false,
    };
    let Some(mut at) = command_at(&command.words) else {
        command.stdin = Input::Empty;
        return Ok(command);
    };
    let word = |at: usize| command.words.get(at).and_then(|word| word.to_str()).unwrap_or("");
    let mut verb = word(at).to_owned();
    let group = verb.clone();
    if matches!(
        group.as_str(),
        "container" | "image" | "system" | "volume" | "network" | "pod" | "builder" | "buildx"
    ) {
        at += 1;
        verb = word(at).to_owned();
    }
    let start = at + 1;
    // Words that are neither options nor values, whatever else the command takes.
    match (group.as_str(), verb.as_str()) {
        ("run" | "create" | "container", "run" | "create") => command.run(start)?,
        ("exec" | "container", "exec") => command.exec(start),
        ("start" | "container", "start") => command.start(start),
        ("attach" | "container", "attach") => {
            command.terminal = Terminal::OfInput;
            let scan = scan(&command.words, start, FILE_SWITCHES, b"l", false);
            if scan
                .options
                .iter()
                .any(|option| option.is(&["no-stdin"]) && option.on())
            {
                command.stdin = Input::Empty;
            }
        }
        ("load" | "image", "load") => command.load(start)?,
        ("save" | "image", "save") => command.output_file(start, FILE_SHORT_SWITCHES)?,
        ("export" | "container", "export") => command.output_file(start, b"l")?,
        ("import" | "image", "import") => command.import(start)?,
        ("login", _) => {
            command.registries_in(start);
            let piped = ["--password-stdin", "--password-stdin=true"];
            if !command.words[start..]
                .iter()
                .any(|word| piped.iter().any(|piped| word == piped))
            {
                command.terminal = Terminal::OfInput;
            }
        }
        ("cp" | "container", "cp") => {
            if !check_copy(&command.words, start)? {
                command.stdin = Input::Empty;
            }
        }
        ("kube" | "play", _) if matches!(word(start), "play" | "down" | "apply" | "kube") => {
            check_kube(&command.words, start + 1)?;
        }
        (_, "pull" | "push" | "search") => {
            command.registries_in(start);
            command.stdin = Input::Empty;
            command.terminal = Terminal::OfAll;
        }
        _ => {
            if verb == "build" {
                check_build(&command.words, start)?;
            }
            // `prune` asks back unless it is forced.
            let asks = verb == "prune";
            let reads = command.words.iter().any(|word| word == "-");
            if !asks && !reads && NEVER_READ.contains(&verb.as_str()) {
                command.stdin = Input::Empty;
            }
            if SHOW_PROGRESS.contains(&verb.as_str()) && !reads {
                command.terminal = Terminal::OfAll;
            }
        }
    }
    Ok(command)
}

impl EngineCommand {
    fn run(&mut self, start: usize) -> Result<()> {
        let scan = scan(&self.words, start, RUN_SWITCHES, RUN_SHORT_SWITCHES, true);
        self.streams_of(&scan);
        for option in &scan.options {
            let value = option.value.as_deref().unwrap_or_default();
            if option.is(&["v", "volume"]) {
                check_volume(value)?;
            }
            if option.is(&["mount"]) {
                check_mount(value)?;
            }
            if option.is(&["cidfile", "env-file", "label-file"]) {
                bail!(
                    "`--{}` names a file of this computer, which the engine in the machine cannot see: give its content \
                     as options, and take the ID from `run -d`",
                    option.name
                );
            }
            self.publishes |=
                option.is(&["p", "publish"]) || (option.is(&["P", "publish-all"]) && option.on());
        }
        if let Some(image) = scan.operands.first() {
            self.registries.extend(loopback_port(&self.words[*image]));
        }
        Ok(())
    }

    fn exec(&mut self, start: usize) {
        let scan = scan(&self.words, start, RUN_SWITCHES, EXEC_SHORT_SWITCHES, true);
        self.streams_of(&scan);
    }

    /// `-i` reads standard input, `-t` wants a terminal.
    fn streams_of(&mut self, scan: &Scan) {
        let on = |names: &[&str]| {
            scan.options
                .iter()
                .rev()
                .find(|option| option.is(names))
                .is_some_and(Found::on)
        };
        let attached = scan.options.iter().any(|option| {
            option.is(&["a", "attach"])
                && option
                    .value
                    .as_ref()
                    .is_some_and(|value| value.eq_ignore_ascii_case("stdin"))
        });
        self.stdin = if on(&["i", "interactive"]) || attached {
            Input::Host
        } else {
            Input::Empty
        };
        if on(&["t", "tty"]) && !on(&["d", "detach"]) {
            self.terminal = Terminal::OfInput;
            self.stdin = Input::Host;
        }
    }

    fn start(&mut self, start: usize) {
        let scan = scan(&self.words, start, FILE_SWITCHES, START_SHORT_SWITCHES, false);
        let on = |names: &[&str]| scan.options.iter().any(|option| option.is(names) && option.on());
        self.stdin = Input::Empty;
        if on(&["i", "interactive"]) {
            self.stdin = Input::Host;
            self.terminal = Terminal::OfInput;
        }
    }

    fn load(&mut self, start: usize) -> Result<()> {
        self.stdin = match self.take_file(start, &["i", "input"], FILE_SHORT_SWITCHES)? {
            Some(file) => Input::File(file),
            None => Input::HostArchive,
        };
        Ok(())
    }

    fn output_file(&mut self, start: usize, short_switches: &[u8]) -> Result<()> {
        self.stdin = Input::Empty;
        let found = scan(&self.words, start, FILE_SWITCHES, short_switches, false);
        let directory = found.options.iter().find(|option| {
            option.is(&["format"])
                && option
                    .value
                    .as_ref()
                    .is_some_and(|value| value.as_bytes().ends_with(b"-dir"))
        });
        if directory.is_some() {
            bail!(
                "a folder cannot be saved out of the machine: save an archive (`--format oci-archive` or \
                 `docker-archive`) and unpack it"
            );
        }
        self.stdout = match self.take_file(start, &["o", "output"], short_switches)? {
            Some(file) => Output::File(file),
            None => Output::HostArchive,
        };
        Ok(())
    }

    fn import(&mut self, start: usize) -> Result<()> {
        let scan = scan(&self.words, start, &["quiet", "help"], b"q", false);
        self.stdin = Input::Empty;
        let Some(first) = scan.operands.first() else {
            // The engine says how it is used.
            return Ok(());
        };
        let source = self.words[*first].clone();
        if scan.operands.len() == 1 {
            self.words.push("imported:latest".into());
        }
        if source == "-" {
            self.stdin = Input::HostArchive;
        } else if !is_address(&source) {
            self.words[*first] = "-".into();
            self.stdin = Input::File(source.into());
        }
        Ok(())
    }

    /// Takes the option with a file of this computer out of the words.
    fn take_file(&mut self, start: usize, names: &[&str], short_switches: &[u8]) -> Result<Option<PathBuf>> {
        let found = scan(&self.words, start, FILE_SWITCHES, short_switches, false);
        let options: Vec<&Found> = found.options.iter().filter(|option| option.is(names)).collect();
        let [option] = options[..] else {
            if options.is_empty() {
                return Ok(None);
            }
            bail!("`--{}` is given twice", names.last().unwrap_or(&""));
        };
        let Some(value) = option.value.clone().filter(|value| !value.is_empty()) else {
            bail!("`--{}` needs a file", names.last().unwrap_or(&""));
        };
        let (at, count) = (option.at, option.words);
        // Switches that stand before the letter in one word stay: `-qi FILE`.
        let kept: Vec<u8> = found
            .options
            .iter()
            .filter(|other| other.at == at && !other.is(names))
            .flat_map(|other| other.name.bytes())
            .collect();
        self.words.drain(at..(at + count).min(self.words.len()));
        if !kept.is_empty() {
            let word = [b"-", kept.as_slice()].concat();
            self.words.insert(at, OsStr::from_bytes(&word).to_owned());
        }
        Ok(Some(value.into()))
    }

    fn registries_in(&mut self, start: usize) {
        let ports: Vec<u16> = self
            .words
            .iter()
            .skip(start)
            .filter_map(|word| loopback_port(word))
            .collect();
        self.registries.extend(ports);
    }
}

/// The words of `run` that `vrun [opts] IMAGE [CMD]` stands for: removed afterwards, and without the image's entrypoint
/// when a command is given.
///
/// # Errors
/// No image.
pub fn vrun(words: &[OsString]) -> Result<Vec<OsString>> {
    // The reference's own spelling of a container without network.
    let words: Vec<OsString> = {
        let end = scan(
            words,
            0,
            &[RUN_SWITCHES, &["no-network"]].concat(),
            RUN_SHORT_SWITCHES,
            true,
        );
        let end = end.operands.first().copied().unwrap_or(words.len());
        let spelled = |(at, word): (usize, &OsString)| {
            if at < end && word == "--no-network" {
                "--network=none".into()
            } else {
                word.clone()
            }
        };
        words.iter().enumerate().map(spelled).collect()
    };
    let found = scan(&words, 0, RUN_SWITCHES, RUN_SHORT_SWITCHES, true);
    let Some(image) = found.operands.first().copied() else {
        bail!("`vrun` needs an image: vrun [OPTIONS] IMAGE [COMMAND]");
    };
    let mut run: Vec<OsString> = vec!["run".into()];
    if !found.options.iter().any(|option| option.is(&["rm"])) {
        run.push("--rm".into());
    }
    run.extend_from_slice(&words[..image]);
    let has_command = image + 1 < words.len();
    if has_command && !found.options.iter().any(|option| option.is(&["entrypoint"])) {
        let end = run.iter().position(|word| word == "--").unwrap_or(run.len());
        run.insert(end, "--entrypoint=".into());
    }
    run.extend_from_slice(&words[image..]);
    Ok(run)
}

/// `-it` before the command, put where the engine reads it.
///
/// # Errors
/// A command that has no terminal.
pub fn interactive(mut words: Vec<OsString>) -> Result<Vec<OsString>> {
    let verb = command_at(&words).and_then(|at| {
        let is_group = words[at] == "container";
        let at = if is_group { at + 1 } else { at };
        words
            .get(at)
            .is_some_and(|verb| verb == "run" || verb == "exec" || verb == "create")
            .then_some(at)
    });
    let Some(at) = verb else {
        bail!("`-it` is for commands that run something in a container: run, vrun and exec");
    };
    words.insert(at + 1, "-it".into());
    Ok(words)
}

#[cfg(test)]
mod tests;
