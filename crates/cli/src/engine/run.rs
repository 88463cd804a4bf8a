//! Carrying out what `vdkr` and `vpdmn` are asked for.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use vcontainer_vm::MachineSpec;
use vcontainer_wire::{Exec, ExitStatus, Size};

use crate::engine::command::{self, Command, Memres, Vconfig};
use crate::engine::config_file::{self, ConfigFile};
use crate::engine::console::Console;
use crate::engine::host_file::{self, NewFile};
use crate::engine::machine::{Found, Machine};
use crate::engine::options::Options;
use crate::engine::program::Tool;
use crate::engine::session::{self, Feed, HungUp, MachineFault, NobodyReads, Outputs};
use crate::engine::settings::{self, Settings, Surroundings};
use crate::engine::store_tar::{self, StoreTar};
use crate::engine::terminal::{Raw, Terminals};
use crate::engine::vimport;
use crate::engine::words::{self, EngineCommand, Input, Output, Terminal};
use crate::engine::{folders, help, registry};
use crate::output::{bytes, columns, print};

/// The machine could not be started, or broke: what engines use for their own failures, too.
const MACHINE: u8 = 125;
/// What shells give a program that was ended by SIGPIPE.
const BROKEN_PIPE: u8 = 141;
/// A shell's code for the end by a signal, less the signal.
const BY_SIGNAL: i32 = 128;

/// Runs `vdkr` or `vpdmn` with the words behind its name.
#[must_use]
pub fn main(tool: Tool, words: Vec<OsString>) -> ExitCode {
    let terminals = Terminals::now();
    let code = match command::parse(words) {
        Ok((options, command)) => {
            let mut console = Console::new(tool.name(), options.verbose, terminals.error);
            match go(tool, &options, command, terminals, &mut console) {
                Ok(code) => code,
                Err(error) => code_of(&error, &console),
            }
        }
        Err(error) => {
            let console = Console::new(tool.name(), false, terminals.error);
            console.error(&error);
            console.notice(&format!("`{} --help` shows how it is used", tool.name()));
            1
        }
    };
    ExitCode::from(code)
}

/// Tells an error, and what to exit with.
fn code_of(error: &anyhow::Error, console: &Console) -> u8 {
    if error.chain().any(|cause| cause.is::<NobodyReads>()) {
        return BROKEN_PIPE;
    }
    if let Some(HungUp(signal)) = error.downcast_ref() {
        return u8::try_from(BY_SIGNAL + signal).unwrap_or(1);
    }
    console.error(error);
    let of_machine = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<MachineFault>()
            || cause.is::<vcontainer_vm::Error>()
            || cause.is::<vcontainer_wire::Error>()
    };
    if error.chain().any(of_machine) { MACHINE } else { 1 }
}

fn go(
    tool: Tool,
    options: &Options,
    command: Command,
    terminals: Terminals,
    console: &mut Console,
) -> Result<u8> {
    match command {
        Command::Help(topic) => return print(&help::text(topic, tool)).map(|()| 0),
        Command::Version => {
            return print(&format!(
                "{} version {}\n",
                tool.name(),
                env!("CARGO_PKG_VERSION")
            ))
            .map(|()| 0);
        }
        _ => {}
    }
    let folder = std::env::current_dir().context("the folder that this runs in is gone")?;
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let variable = |name: &str| std::env::var_os(name);
    let around = Surroundings {
        variable: &variable,
        machine: &machine,
        folder: &folder,
    };
    let config_dir = settings::config_dir(tool, options, &around)?;
    if let Command::Vconfig(what) = &command {
        return vconfig(&config_dir, what, &machine).map(|()| 0);
    }
    let settings = Settings::new(tool, options, &ConfigFile::read(&config_dir)?, &around)?;
    *console = Console::new(tool.name(), settings.verbose, terminals.error);
    let run = Run {
        settings: &settings,
        console,
        terminals,
    };
    match command {
        Command::Engine(words) => run.engine(words),
        Command::Vimport { path, name } => run.vimport(&folder.join(path), &name),
        Command::Vshell => run.vshell(),
        Command::Clean => folders::clean(&settings, console).map(|()| 0),
        Command::Memres(memres) => run.memres(memres),
        Command::Vstorage(vstorage) => folders::vstorage(&settings, &vstorage, console).map(|()| 0),
        Command::Help(_) | Command::Version | Command::Vconfig(_) => Ok(0),
    }
}

/// One run of the tool.
struct Run<'a> {
    settings: &'a Settings,
    console: &'a Console,
    terminals: Terminals,
}

impl Run<'_> {
    /// A command of the engine.
    fn engine(&self, words: Vec<OsString>) -> Result<u8> {
        let words = if self.settings.interactive {
            words::interactive(words)?
        } else {
            words
        };
        let command = words::prepare(words)?;
        if command.publishes {
            self.console
                .notice("ports are published in the machine only: this computer cannot reach them yet");
        }
        let feed = self.feed(&command)?;
        let file = self.output(&command)?;
        let session = self.session()?;
        registry::forward(&session.machine, &command.registries, self.console)?;
        let terminal = match command.terminal {
            Terminal::Never => false,
            Terminal::OfInput => self.terminals.input,
            Terminal::OfAll => self.terminals.input && self.terminals.output && self.terminals.error,
        };
        let feed = match (terminal, feed) {
            (true, None) if command.terminal == Terminal::OfAll => Some(session::feed_stdin()?),
            (_, feed) => feed,
        };
        let exec = Exec {
            argv: std::iter::once(self.settings.tool.command().into())
                .chain(command.words.into_iter().map(OsString::into_vec))
                .collect(),
            needs_engine: true,
            ..Exec::default()
        };
        let code = match file {
            None => self.program(&session.machine, exec, feed, terminal)?,
            Some((mut file, path)) => {
                let mut error = session::unbuffered(std::io::stderr())?;
                let mut outputs = Outputs {
                    out: &mut file,
                    error: &mut error,
                };
                self.console.clear();
                let code = session::run(session.machine.mux(), exec, feed, &mut outputs)?.shell_code();
                if code == 0 {
                    let size = file.finish()?;
                    // Whoever reads a pipe or a device wants the archive and nothing else.
                    if path.is_file() {
                        print(&format!("Saved to {} ({})\n", path.display(), bytes(size)))?;
                    }
                }
                code
            }
        };
        session.finish(code, self)
    }

    /// What goes into the command, opened before any machine is started.
    fn feed(&self, command: &EngineCommand) -> Result<Option<Feed>> {
        Ok(match &command.stdin {
            Input::Empty => None,
            Input::Host => Some(session::feed_stdin()?),
            Input::HostArchive if self.terminals.input => {
                bail!(
                    "an archive is expected on standard input, which is a terminal: redirect it, or name a file"
                )
            }
            Input::HostArchive => Some(session::feed_stdin()?),
            Input::File(path) => Some(session::feed_file(
                host_file::open(path, "OCI directories are imported with `vimport`")?,
                format!("`{}`", path.display()),
            )),
        })
    }

    /// The file that the output goes to, if it is one.
    fn output(&self, command: &EngineCommand) -> Result<Option<(NewFile, std::path::PathBuf)>> {
        match &command.stdout {
            Output::Host => Ok(None),
            Output::HostArchive if self.terminals.output => {
                bail!("an archive does not belong on a terminal: redirect it, or name a file with -o FILE")
            }
            Output::HostArchive => Ok(None),
            Output::File(path) => Ok(Some((NewFile::create(path)?, path.clone()))),
        }
    }

    /// A program in the machine with this process's own streams; its exit code.
    fn program(&self, machine: &Machine, exec: Exec, feed: Option<Feed>, terminal: bool) -> Result<u8> {
        let mut out = session::unbuffered(std::io::stdout())?;
        let mut error = session::unbuffered(std::io::stderr())?;
        let mut outputs = Outputs {
            out: &mut out,
            error: &mut error,
        };
        self.console.clear();
        let ended = if terminal {
            let exec = Exec {
                tty: Some(Size {
                    rows: 24,
                    columns: 80,
                }),
                env: terminal_environment(),
                ..exec
            };
            let _raw = Raw::enter()?;
            session::run(machine.mux(), exec, feed, &mut outputs)
        } else {
            session::run(machine.mux(), exec, feed, &mut outputs)
        };
        Ok(ended?.shell_code())
    }

    /// A machine that is ready for a command, with `--input-storage` in it.
    fn session(&self) -> Result<Session> {
        let settings = self.settings;
        let input = settings
            .input_storage
            .as_deref()
            .map(|path| StoreTar::open(path, settings.tool.engine))
            .transpose()?;
        let storage = match &settings.storage {
            Some(path) => Some((NewFile::create(path)?, path.clone())),
            None => None,
        };
        let machine = Machine::connect(settings, self.console)?;
        if let Some(input) = input {
            self.console.progress("unpacking the store in the machine");
            input.load(&machine)?;
        }
        Ok(Session { machine, storage })
    }

    fn vimport(&self, path: &std::path::Path, name: &str) -> Result<u8> {
        let settings = self.settings;
        let found = vimport::find(path, name, settings.tool, settings.arch)?;
        let session = self.session()?;
        self.console.progress("sending the image");
        let mut error = session::unbuffered(std::io::stderr())?;
        // Whatever the engine says about a success, the list of images says better.
        let mut told = Vec::new();
        let mut outputs = Outputs {
            out: &mut std::io::sink(),
            error: &mut told,
        };
        let ended = vimport::import(&session.machine, found, &mut outputs)?;
        self.console.clear();
        if ended != ExitStatus::Code(0) {
            error.write_all(&told).context("cannot write to standard error")?;
            bail!("{} could not import `{}`", settings.tool.engine, path.display());
        }
        let exec = Exec {
            argv: vec![settings.tool.command().into(), "images".into()],
            needs_engine: true,
            ..Exec::default()
        };
        let code = self.program(&session.machine, exec, None, false)?;
        session.finish(code, self)
    }

    fn vshell(&self) -> Result<u8> {
        let tool = self.settings.tool;
        let machine = match Machine::find(folders::state(self.settings)?, tool.engine)? {
            Found::Up(machine) => machine,
            Found::Starting(pid) => bail!(
                "the machine is not up yet: process {pid} starts it (`{} vmemres start` waits for it)",
                tool.name()
            ),
            Found::Down => bail!(
                "the machine is not up: start it with `{} vmemres start` and try again",
                tool.name()
            ),
        };
        let argv: Vec<Vec<u8>> = if self.terminals.input {
            vec!["/bin/sh".into(), "-l".into()]
        } else {
            vec!["/bin/sh".into()]
        };
        let exec = Exec {
            argv,
            ..Exec::default()
        };
        self.program(&machine, exec, Some(session::feed_stdin()?), self.terminals.input)
    }

    fn memres(&self, command: Memres) -> Result<u8> {
        let settings = self.settings;
        if command == Memres::List {
            return folders::list_running(settings).map(|()| 0);
        }
        let state = folders::state(settings)?;
        let find = || Machine::find(state, settings.tool.engine);
        match command {
            Memres::List => Ok(0),
            Memres::Start => self.start(state),
            Memres::Stop => {
                if !self.stop(state, find()?)? {
                    self.console.notice("the machine is not up");
                }
                Ok(0)
            }
            Memres::Restart { clean } => {
                self.stop(state, find()?)?;
                if clean {
                    folders::clean(settings, self.console)?;
                }
                self.start(state)
            }
            Memres::Status => match find()? {
                Found::Up(machine) => self.describe(&machine, state).map(|()| 0),
                Found::Starting(pid) => print(&format!("Daemon starting (PID: {pid})\n")).map(|()| 1),
                Found::Down => print("Daemon not running\n").map(|()| 1),
            },
        }
    }

    fn start(&self, state: &std::path::Path) -> Result<u8> {
        let machine = Machine::connect(self.settings, self.console)?;
        machine.stay()?;
        self.console.clear();
        self.describe(&machine, state)?;
        Ok(0)
    }

    /// Suspends a machine that is up, and gives up one that starts. Gives whether there was one.
    fn stop(&self, state: &std::path::Path, found: Found) -> Result<bool> {
        match found {
            Found::Up(machine) => {
                self.console.progress("suspending the machine");
                machine.stop()?;
            }
            Found::Starting(_) => {
                self.console.progress("giving up the start of the machine");
                vcontainer_vm::give_up(state)?;
            }
            Found::Down => return Ok(false),
        }
        self.console.clear();
        Ok(true)
    }

    fn describe(&self, machine: &Machine, state: &std::path::Path) -> Result<()> {
        let about = machine.describe()?;
        let stays = if about.stays {
            "until it is stopped"
        } else {
            "until nobody needs it"
        };
        print(&format!(
            "Daemon running (PID: {})\nSocket: {}\nArchitecture: {}\nEngine: {}\nAccelerator: {}\nStays up: {stays}\n",
            about.pid,
            state.join("daemon.sock").display(),
            about.architecture,
            about.engine,
            about.accelerator
        ))
    }
}

/// A machine for one command, and what is to be done afterwards.
struct Session {
    machine: Machine,
    storage: Option<(NewFile, std::path::PathBuf)>,
}

impl Session {
    /// After a command that succeeded, its store goes where `--storage` says.
    fn finish(self, code: u8, run: &Run<'_>) -> Result<u8> {
        let Some((file, path)) = self.storage else {
            return Ok(code);
        };
        if code != 0 {
            run.console.notice(&format!(
                "`{}` was not written, because the command failed",
                path.display()
            ));
            return Ok(code);
        }
        run.console.progress("writing the store");
        let size = store_tar::save(&self.machine, file)?;
        run.console.clear();
        run.console
            .detail(&format!("the store is in {} ({})", path.display(), bytes(size)));
        Ok(0)
    }
}

/// What a program on a terminal must know of it.
fn terminal_environment() -> Vec<(Vec<u8>, Vec<u8>)> {
    ["TERM", "COLORTERM"]
        .iter()
        .filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((name.as_bytes().to_vec(), OsStr::as_bytes(&value).to_vec()))
        })
        .collect()
}

fn vconfig(folder: &std::path::Path, command: &Vconfig, machine: &str) -> Result<()> {
    let default = |key: &config_file::Key| match key.name {
        "arch" => machine.to_owned(),
        "cpus" => MachineSpec::default_cpus().to_string(),
        _ => key.default.to_owned(),
    };
    match command {
        Vconfig::List => {
            let config = ConfigFile::read(folder)?;
            let rows = config_file::KEYS.iter().map(|key| match config.get(key.name) {
                Some(value) => vec![key.name.to_owned(), format!("= {value}")],
                None => vec![key.name.to_owned(), format!("= {} (default)", default(key))],
            });
            let table = columns(&rows.collect::<Vec<_>>());
            print(&format!("{table}\nConfiguration: {}\n", folder.display()))
        }
        Vconfig::Show(name) => {
            let key = config_file::key(name)?;
            let config = ConfigFile::read(folder)?;
            print(&format!(
                "{}\n",
                config.get(name).map_or_else(|| default(key), str::to_owned)
            ))
        }
        Vconfig::Set(name, value) => {
            ConfigFile::set(folder, name, Some(value))?;
            print(&format!("Set {name} = {value}\n"))
        }
        Vconfig::Reset(name) => {
            ConfigFile::set(folder, name, None)?;
            print(&format!(
                "Reset {name} to default: {}\n",
                default(config_file::key(name)?)
            ))
        }
    }
}
