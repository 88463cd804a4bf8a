//! Programs that have the terminal: its size, keys, Ctrl-C, and the terminal as it was afterwards. Signals without one.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

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
    user.remove_running("service")?;
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
    // What whoever calls the tool ignores is ignored.
    let script = format!(
        "trap '' HUP; exec {} -a {} run --rm -i myapp sh -c 'echo started; cat'",
        user.engine.tool(),
        user.arch
    );
    let mut child = user
        .person
        .unlimited("sh")
        .args(["-c", &script])
        .std()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a container")?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    line.clear();
    output.read_line(&mut line)?;
    assert_eq!(line, "started\n");
    kill_process(Pid::from_child(&child), Signal::HUP)?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(b"it goes on\n")?;
    drop(input);
    line.clear();
    output.read_line(&mut line)?;
    ensure!(line == "it goes on\n" && child.wait()?.success(), "{line:?}");
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
    has_size(&mut terminal, SIZE)?;
    // The docker command looks after the window only when it has told the first size and got its answer.
    terminal.press(&until_size(OTHER_SIZE))?;
    let seen = format!("size {}", OTHER_SIZE.0);
    terminal.resize(OTHER_SIZE.0, OTHER_SIZE.1)?;
    while !terminal.shows(&seen, Duration::from_secs(5))? {
        terminal.resize(SIZE.0, SIZE.1)?;
        terminal.resize(OTHER_SIZE.0, OTHER_SIZE.1)?;
    }
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
fn has_size(terminal: &mut Terminal, size: (u16, u16)) -> Result<()> {
    terminal.press(&until_size(size))?;
    terminal.until(&format!("size {}", size.0)).map(drop)
}

/// Waits in the program for a size. What is typed is shown, too: quotes keep it apart from what is waited for.
fn until_size((rows, columns): (u16, u16)) -> String {
    let size = format!("{rows} {columns}");
    format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.1; done; echo si\"ze\" {rows}\n")
}
