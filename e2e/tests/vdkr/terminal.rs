//! Programs that have the terminal: its size, keys, Ctrl-C, and the terminal as it was afterwards. Signals without one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::terminal::Terminal;
use rustix::process::{Pid, Signal, kill_process};
use vcontainer_guest::{Arch, Engine};

use crate::core::SERVICE;
use crate::user::User;

/// Rows and columns, as nobody has them by default.
const SIZE: (u16, u16) = (31, 97);
const OTHER_SIZE: (u16, u16) = (40, 120);

pub fn a_program_has_the_terminal(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::new(engine, arch)?;
    user.layout("oci", &user.image()?)?;
    user.output(&["vimport", "oci", "myapp"])?;
    user.output(&["vmemres", "start"])?;
    user.output(&["run", "-d", "--name", "service", "myapp", "sh", "-c", SERVICE])?;
    // `-it` may stand before the command as well.
    let run: &[&str] = match engine {
        Engine::Docker => &["run", "-it", "--rm", "myapp"],
        Engine::Podman => &["-it", "run", "--rm", "myapp"],
    };
    for (words, code) in [
        (run, 42),
        (&["exec", "-it", "service", "sh"], 43),
        (&["vshell"], 44),
    ] {
        shell(&user, words, code)?;
    }
    user.prints(&["rm", "-f", "service"], "service\n")?;
    signals(&user)?;
    user.leave()
}

/// What the tool is told by a signal, the container is told.
fn signals(user: &User) -> Result<()> {
    let tool = user
        .person
        .unlimited(user.engine.tool())
        .args(["-a", user.arch.name()]);
    let mut child = tool
        .args(["run", "--rm", "myapp", "sh", "-c", SERVICE])
        .std()
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a container")?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    assert_eq!(line, "started\n");
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(3), "{status}");
    user.prints(&["ps", "-aq"], "")
}

/// Talks to the shell that these words start.
fn shell(user: &User, words: &[&str], code: i32) -> Result<()> {
    let tool = user.engine.tool();
    // Behind a shell, which can tell what the terminal is like before and after.
    let script = format!(
        "stty -a; {tool} -a {} \"$@\"; code=$?; stty -a; exit $code",
        user.arch
    );
    let command = user
        .person
        .on_terminal("sh")
        .args(["-c", &script, "sh"])
        .args(words);
    let mut terminal = Terminal::start(command, SIZE.0, SIZE.1)?;
    // What is typed is shown, too: quotes keep it apart from what is waited for.
    has_size(&mut terminal, SIZE)?;
    terminal.resize(OTHER_SIZE.0, OTHER_SIZE.1)?;
    has_size(&mut terminal, OTHER_SIZE)?;
    let wait = "while :; do sleep 0.1; done";
    terminal.press(&format!(
        "sh -c 'trap \"echo cau\\ght; exit 9\" INT; echo rea\"dy\"; {wait}'\n"
    ))?;
    terminal.until("ready")?;
    terminal.press("\x03")?;
    terminal.until("caught")?;
    terminal.press("echo co\"de\" $?\n")?;
    terminal.until("code 9")?;
    terminal.press(&format!("exit {code}\n"))?;
    let (status, shown) = terminal.end()?;
    ensure!(status.code() == Some(code), "{words:?}: {status}:\n{shown}");
    let settings: Vec<&str> = shown.split("speed").skip(1).collect();
    ensure!(settings.len() == 2, "{shown}");
    for settings in settings {
        for setting in ["icanon", "isig", "echo", "opost", "icrnl"] {
            let is_set = settings.split_whitespace().any(|word| word == setting);
            ensure!(is_set, "{words:?}: the terminal lacks {setting}:\n{shown}");
        }
    }
    Ok(())
}

/// The program learns the size sooner or later: engines tell it after the start.
fn has_size(terminal: &mut Terminal, (rows, columns): (u16, u16)) -> Result<()> {
    let size = format!("{rows} {columns}");
    terminal.press(&format!(
        "until [ \"$(stty size)\" = '{size}' ]; do sleep 0.1; done; echo si\"ze\" {rows}\n"
    ))?;
    terminal.until(&format!("size {rows}")).map(drop)
}
