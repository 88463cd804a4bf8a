//! Programs on a terminal.

use anyhow::{Result, ensure};
use vcontainer_wire::{Control, Exec, ExitStatus, Size, Stream};

use super::Check;
use crate::program::{Program, sh};
use crate::up::Up;

pub const CHECKS: &[Check] = &[
    ("window", window),
    ("keys", keys),
    ("end of input", end_of_input),
    ("a terminal that nobody wants", nobody_wants_it),
];

fn on_terminal(script: &str, rows: u16, columns: u16) -> Exec {
    Exec {
        tty: Some(Size { rows, columns }),
        stdin: true,
        ..sh(script)
    }
}

fn window(up: &Up) -> Result<()> {
    // A session of its own on a terminal that is its controlling one, and both outputs on it.
    let script = "tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && : < /dev/tty && echo three; stty size
        [ \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ ] && echo leads; echo $TERM; echo err >&2
        trap 'stty size' WINCH; trap 'exit 7' INT; echo ready
        while :; do sleep 1000 & wait; done";
    let mut program = Program::start(&up.client.mux, on_terminal(script, 31, 97))?;
    let said = program.until("ready\r\n")?;
    let rest = said.strip_prefix("/dev/pts/").unwrap_or(&said);
    ensure!(
        rest.trim_start_matches(|c: char| c.is_ascii_digit())
            == "\r\nthree\r\n31 97\r\nleads\r\nxterm\r\nerr\r\nready\r\n",
        "{said:?}"
    );
    program.sender.control(Control::Resize(Size {
        rows: 200,
        columns: 5,
    }))?;
    program.until("200 5\r\n")?;
    program.sender.control(Control::Resize(Size {
        rows: 24,
        columns: 80,
    }))?;
    program.until("24 80\r\n")?;
    // ^C is a key like others; the terminal makes a signal of it.
    program.give("\x03")?;
    program.end()?.is(7, "^C", "")
}

fn keys(up: &Up) -> Result<()> {
    let mut program = Program::start(
        &up.client.mux,
        on_terminal(
            "echo ready; read -r line; echo \"<$line>\"; stty raw -echo; echo raw; head -c 4 | od -An -tx1; exit 3",
            24,
            80,
        ),
    )?;
    program.until("ready\r\n")?;
    program.give("wodr\x7f\x7frd\n")?;
    program.until("<word>\r\n")?;
    program.until("raw\n")?;
    program.give(b"\x03\x04\r\xff")?;
    program.end()?.is(3, " 03 04 0d ff\n", "")?;
    // A signal goes to whoever has the terminal.
    let mut program = Program::start(
        &up.client.mux,
        on_terminal("trap 'exit 5' TERM; echo ready; sleep 1000 & wait", 24, 80),
    )?;
    program.until("ready\r\n")?;
    program.sender.control(Control::Signal(15))?;
    program.end()?.is(5, "", "")
}

fn end_of_input(up: &Up) -> Result<()> {
    for input in ["", "line\n", "half a line"] {
        let mut program = Program::start(
            &up.client.mux,
            on_terminal("stty -echo; echo ready; cat; echo end", 24, 80),
        )?;
        program.until("ready\r\n")?;
        program.give(input)?;
        program.sender.eof(Stream::In)?;
        program
            .end()?
            .is(0, format!("{}end\r\n", input.replace('\n', "\r\n")), "")?;
    }
    Ok(())
}

/// As when a window is closed.
fn nobody_wants_it(up: &Up) -> Result<()> {
    let mut program = Program::start(&up.client.mux, on_terminal("echo $$; sleep 1000", 24, 80))?;
    let pid = program.until("\r\n")?;
    drop(program);
    let wait = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.05; done; exit 1",
        pid.trim()
    );
    let ended = crate::program::run(&up.client.mux, sh(&wait))?;
    ensure!(ended.status == ExitStatus::Code(1), "{ended:?}");
    Ok(())
}
