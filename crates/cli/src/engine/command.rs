//! Which command the words ask for: one of the tool's own, or the engine's.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::engine::help::Topic;
use crate::engine::options::{Options, Words};
use crate::engine::words;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show help.
    Help(Topic),
    /// Show the version.
    Version,
    /// Words for the engine.
    Engine(Vec<OsString>),
    /// Import an image.
    Vimport {
        /// Where it is.
        path: PathBuf,
        /// What it is called afterwards.
        name: String,
    },
    /// A shell in the machine.
    Vshell,
    /// Remove the state.
    Clean,
    /// The machine itself.
    Memres(Memres),
    /// The folders of the tool's machines.
    Vstorage(Vstorage),
    /// The configuration.
    Vconfig(Vconfig),
}

/// `vmemres` and `memres`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memres {
    /// Start the machine and let it stay up.
    Start,
    /// Suspend it now.
    Stop,
    /// Stop and start, perhaps from a new state.
    Restart {
        /// Remove the state in between.
        clean: bool,
    },
    /// Is it up?
    Status,
    /// All machines that are up.
    List,
}

/// `vstorage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vstorage {
    /// Folders with their size and status.
    List,
    /// The folder in force, or that of an architecture or instance.
    Path(Option<String>),
    /// What takes how much room.
    Df,
    /// Remove the state in force.
    Clean,
    /// Remove the state of an architecture or instance.
    CleanOne(String),
    /// Remove every state of the tool.
    CleanAll,
}

/// `vconfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vconfig {
    /// Every key.
    List,
    /// One key.
    Show(String),
    /// Set a key.
    Set(String, String),
    /// Forget a key.
    Reset(String),
}

/// What an import is called when nobody says.
const IMPORTED: &str = "imported:latest";

/// Reads the words behind the program's name.
///
/// # Errors
/// What cannot be understood.
pub fn parse(words: Vec<OsString>) -> Result<(Options, Command)> {
    let mut words = Words::from(words);
    let mut options = Options::default();
    let for_engine = options.take_leading(&mut words)?;
    let command = if options.help {
        Command::Help(
            words
                .front()
                .and_then(|word| Topic::of(&word.to_string_lossy()))
                .unwrap_or(Topic::Tool),
        )
    } else if options.version {
        Command::Version
    } else if for_engine {
        if words.is_empty() {
            bail!("`--` must be followed by a command of the engine");
        }
        Command::Engine(words.into())
    } else {
        own(&mut options, words)?
    };
    if options.interactive && !matches!(command, Command::Engine(_) | Command::Help(_) | Command::Version) {
        bail!("`-it` is for commands that run something in a container: run, vrun and exec");
    }
    let leaves_a_store = matches!(
        command,
        Command::Engine(_) | Command::Vimport { .. } | Command::Help(_) | Command::Version
    );
    if options.storage.is_some() && !leaves_a_store {
        bail!("`--storage` writes the store after a command of the engine or vimport, and this is none");
    }
    Ok((options, command))
}

/// The tool's own commands; everything else is the engine's.
fn own(options: &mut Options, mut words: Words) -> Result<Command> {
    let Some(first) = words.front() else {
        return Ok(Command::Help(Topic::Tool));
    };
    let name = first.to_str().unwrap_or("").to_owned();
    if name == "help" && words.len() == 1 {
        return Ok(Command::Help(Topic::Tool));
    }
    if name == "vrun" {
        words.pop_front();
        let words: Vec<OsString> = words.into();
        return Ok(match words.first() {
            Some(word) if word == "--help" => Command::Help(Topic::Vrun),
            _ => Command::Engine(words::vrun(&words)?),
        });
    }
    let Some(topic) = Topic::of(&name) else {
        return Ok(Command::Engine(words.into()));
    };
    words.pop_front();
    let arguments = Arguments::read(options, words)?;
    if options.help {
        return Ok(Command::Help(topic));
    }
    match topic {
        Topic::Tool | Topic::Vrun => Ok(Command::Help(topic)),
        Topic::Vimport => vimport(arguments),
        Topic::Vshell => arguments.none("vshell").map(|()| Command::Vshell),
        Topic::Clean => arguments.none("clean").map(|()| Command::Clean),
        Topic::Vmemres => memres(arguments, &name).map(Command::Memres),
        Topic::Vstorage => vstorage(arguments).map(Command::Vstorage),
        Topic::Vconfig => vconfig(arguments).map(Command::Vconfig),
    }
}

/// Words of one of the tool's own commands, with the tool's options taken out.
struct Arguments {
    operands: Vec<OsString>,
    switches: Vec<String>,
}

impl Arguments {
    fn read(options: &mut Options, mut words: Words) -> Result<Self> {
        let mut arguments = Self {
            operands: Vec::new(),
            switches: Vec::new(),
        };
        while let Some(word) = words.pop_front() {
            if word == "--" {
                arguments.operands.extend(words);
                break;
            }
            let text = word.to_string_lossy();
            if !text.starts_with('-') || text == "-" {
                arguments.operands.push(word);
            } else if matches!(&*text, "-f" | "--force" | "--clean" | "--all" | "--reset") {
                arguments.switches.push(text.into_owned());
            } else if matches!(&*text, "-p" | "--publish" | "--volume") {
                bail!("`{text}` is not possible yet: a later version brings it");
            } else if !options.take(&word, &mut words)? {
                bail!("`{text}` is no option of this command");
            }
        }
        Ok(arguments)
    }

    /// Whether a switch was given; those that are not asked for are refused by [`Arguments::no_more`].
    fn switch(&mut self, names: &[&str]) -> bool {
        let before = self.switches.len();
        self.switches.retain(|switch| !names.contains(&switch.as_str()));
        self.switches.len() < before
    }

    fn next_text(&mut self) -> Result<Option<String>> {
        if self.operands.is_empty() {
            return Ok(None);
        }
        let word = self.operands.remove(0);
        word.into_string()
            .map(Some)
            .map_err(|word| anyhow::anyhow!("`{}` is no text", word.display()))
    }

    fn no_more(&self, command: &str) -> Result<()> {
        if let Some(word) = self.operands.first() {
            bail!("`{}` is one word too many for `{command}`", word.display());
        }
        if let Some(switch) = self.switches.first() {
            bail!("`{switch}` is no option of `{command}`");
        }
        Ok(())
    }

    fn none(self, command: &str) -> Result<()> {
        self.no_more(command)
    }
}

fn vimport(mut arguments: Arguments) -> Result<Command> {
    if arguments.operands.is_empty() {
        bail!("`vimport` needs what to import: vimport PATH [NAME:TAG]");
    }
    let path = PathBuf::from(arguments.operands.remove(0));
    let name = arguments.next_text()?.unwrap_or_else(|| IMPORTED.to_owned());
    arguments.no_more("vimport")?;
    Ok(Command::Vimport { path, name })
}

fn memres(mut arguments: Arguments, called: &str) -> Result<Memres> {
    let sub = arguments
        .next_text()?
        .with_context(|| format!("`{called}` requires a subcommand: start, stop, restart, status or list"))?;
    let memres = match sub.as_str() {
        "start" => Memres::Start,
        "stop" => {
            arguments.switch(&["-f", "--force"]);
            Memres::Stop
        }
        "restart" => {
            arguments.switch(&["-f", "--force"]);
            Memres::Restart {
                clean: arguments.switch(&["--clean"]),
            }
        }
        "status" => Memres::Status,
        "list" | "ls" => Memres::List,
        _ => bail!("Unknown memres subcommand `{sub}`: use start, stop, restart, status or list"),
    };
    arguments.no_more(called)?;
    Ok(memres)
}

fn vstorage(mut arguments: Arguments) -> Result<Vstorage> {
    let sub = arguments.next_text()?;
    let vstorage = match sub.as_deref() {
        None | Some("list" | "ls") => Vstorage::List,
        Some("path") => Vstorage::Path(arguments.next_text()?),
        Some("df") => Vstorage::Df,
        Some("clean") => match (arguments.switch(&["--all"]), arguments.next_text()?) {
            (true, None) => Vstorage::CleanAll,
            (true, Some(_)) => bail!("`vstorage clean` takes either a name or --all"),
            (false, Some(name)) => Vstorage::CleanOne(name),
            (false, None) => Vstorage::Clean,
        },
        Some(sub) => bail!("Unknown vstorage subcommand `{sub}`: use list, path, df or clean"),
    };
    arguments.no_more("vstorage")?;
    Ok(vstorage)
}

fn vconfig(mut arguments: Arguments) -> Result<Vconfig> {
    let reset = arguments.switch(&["--reset"]);
    let vconfig = match (arguments.next_text()?, arguments.next_text()?) {
        (None, _) if reset => bail!("`vconfig --reset` needs a key"),
        (None, _) => Vconfig::List,
        (Some(key), None) if reset => Vconfig::Reset(key),
        (Some(key), None) => Vconfig::Show(key),
        (Some(_), Some(_)) if reset => bail!("`vconfig` takes either a value or --reset"),
        (Some(key), Some(value)) => Vconfig::Set(key, value),
    };
    arguments.no_more("vconfig")?;
    Ok(vconfig)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Options, Command)> {
        parse(words.iter().map(OsString::from).collect())
    }

    fn command(words: &[&str]) -> Command {
        read(words).unwrap().1
    }

    fn engine(words: &[&str]) -> Command {
        Command::Engine(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn whatever_is_not_ours_is_the_engines() {
        for words in [
            &["images"][..],
            &["run", "--rm", "--storage", "x", "i", "--help"],
            &["system", "df"],
            &["frobnicate"],
            &["help", "run"],
            &["images", "--help"],
            &["memresx"],
        ] {
            assert_eq!(command(words), engine(words), "{words:?}");
        }
        assert_eq!(command(&["--", "clean", "--help"]), engine(&["clean", "--help"]));
        assert_eq!(
            command(&["-v", "vrun", "x", "ls", "--version"]),
            engine(&["run", "--rm", "--entrypoint=", "x", "ls", "--version"])
        );
    }

    #[test]
    fn the_commands_of_the_tool_take_its_options_behind_them() {
        let (options, command) =
            read(&["vimport", "--storage", "s.tar", "./a b/", "n:1", "-a", "aarch64"]).unwrap();
        assert_eq!(options.storage, Some("s.tar".into()));
        assert!(options.arch.is_some());
        assert_eq!(
            command,
            Command::Vimport {
                path: "./a b/".into(),
                name: "n:1".to_owned()
            }
        );
        assert_eq!(
            self::command(&["vimport", "x"]),
            Command::Vimport {
                path: "x".into(),
                name: "imported:latest".to_owned()
            }
        );
    }

    #[test]
    fn every_form_is_read() {
        for (words, expected) in [
            (&["vshell"][..], Command::Vshell),
            (&["clean"], Command::Clean),
            (&["vmemres", "start"], Command::Memres(Memres::Start)),
            (&["memres", "stop", "-f"], Command::Memres(Memres::Stop)),
            (
                &["vmemres", "restart", "--clean", "--force"],
                Command::Memres(Memres::Restart { clean: true }),
            ),
            (&["vmemres", "status"], Command::Memres(Memres::Status)),
            (&["vmemres", "list"], Command::Memres(Memres::List)),
            (&["vstorage"], Command::Vstorage(Vstorage::List)),
            (&["vstorage", "path"], Command::Vstorage(Vstorage::Path(None))),
            (
                &["vstorage", "path", "aarch64"],
                Command::Vstorage(Vstorage::Path(Some("aarch64".to_owned()))),
            ),
            (&["vstorage", "df"], Command::Vstorage(Vstorage::Df)),
            (&["vstorage", "clean"], Command::Vstorage(Vstorage::Clean)),
            (
                &["vstorage", "clean", "--all"],
                Command::Vstorage(Vstorage::CleanAll),
            ),
            (
                &["vstorage", "clean", "web"],
                Command::Vstorage(Vstorage::CleanOne("web".to_owned())),
            ),
            (&["vconfig"], Command::Vconfig(Vconfig::List)),
            (
                &["vconfig", "arch"],
                Command::Vconfig(Vconfig::Show("arch".to_owned())),
            ),
            (
                &["vconfig", "arch", "x86_64"],
                Command::Vconfig(Vconfig::Set("arch".to_owned(), "x86_64".to_owned())),
            ),
            (
                &["vconfig", "arch", "--reset"],
                Command::Vconfig(Vconfig::Reset("arch".to_owned())),
            ),
            (&[], Command::Help(Topic::Tool)),
            (&["--help"], Command::Help(Topic::Tool)),
            (&["-h", "vimport"], Command::Help(Topic::Vimport)),
            (&["vimport", "--help"], Command::Help(Topic::Vimport)),
            (&["vrun", "--help"], Command::Help(Topic::Vrun)),
            (&["vmemres", "start", "-h"], Command::Help(Topic::Vmemres)),
            (&["help"], Command::Help(Topic::Tool)),
            (&["--version"], Command::Version),
        ] {
            assert_eq!(command(words), expected, "{words:?}");
        }
    }

    #[test]
    fn wrong_words_are_told() {
        for (words, part) in [
            (&["vimport"][..], "needs what to import"),
            (&["vimport", "a", "b", "c"], "`c` is one word too many"),
            (&["vmemres"], "requires a subcommand"),
            (&["vmemres", "frob"], "Unknown memres subcommand"),
            (&["vmemres", "start", "-p", "80:80"], "not possible yet"),
            (&["vstorage", "frob"], "Unknown vstorage subcommand"),
            (&["vstorage", "clean", "x", "--all"], "either"),
            (&["clean", "--all"], "no option of `clean`"),
            (&["vshell", "ls"], "too many"),
            (&["vconfig", "--reset"], "needs a key"),
            (&["vrun"], "needs an image"),
            (&["--"], "followed by a command"),
            (&["-it", "clean"], "`-it` is for"),
            (&["--storage", "x", "clean"], "this is none"),
            (&["vmemres", "start", "--storage", "x"], "this is none"),
            (&["vimport", "--frob", "x"], "no option of this command"),
        ] {
            let error = format!("{:#}", read(words).unwrap_err());
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
