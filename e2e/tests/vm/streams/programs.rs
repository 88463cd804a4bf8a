//! Words, environment, directory, streams, signals and exit status of programs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use vcontainer_wire::{Control, Exec, ExitStatus, Stream};

use super::Check;
use crate::program::{Ended, Program, output, refusal, run, run_with, sh, words};
use crate::up::Up;

pub const CHECKS: &[Check] = &[
    ("words", the_words),
    ("environment", environment),
    ("directory", directory),
    ("programs that are none", no_programs),
    ("exit codes", exit_codes),
    ("ends by signals", ends_by_signals),
    ("output", outputs),
    ("input", inputs),
    ("signals", signals),
    ("nobody wants it any more", nobody_wants_it),
    ("many at once", many_at_once),
];

/// A shell (that lives on, or the words would be those of `cat`) shows the argument list that the kernel has of it.
const SHOW_WORDS: &str = "cat /proc/$$/cmdline; :";

fn the_words(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let long = vec![b'w'; 100_000];
    let odd: [&[u8]; 20] = [
        b"",
        b" ",
        b"two words",
        b"'single' \"double\" `back`",
        b"semi; colon && true || false & | > /tmp/x < y",
        b"$HOME ${HOME} $(id) `id` \\n \\ \\\\",
        b"line\nline\r\n\ttab",
        b"",
        b"--help",
        b"-c",
        b"*",
        b"{a,b} ~ ? [x] !! #",
        b"\xff\xfe\x80 not UTF-8 \xc3\x28",
        "na\u{ef}ve \u{2028} \u{1f600}".as_bytes(),
        b"\x01\x1b[31m\x7f",
        b"===OUTPUT_END===\n===EXIT_CODE=0===\n===END===",
        b"a=b",
        &long,
        b"",
        b"",
    ];
    let argv = ["sh".as_bytes(), b"-c", SHOW_WORDS.as_bytes()]
        .into_iter()
        .chain(odd);
    let expected: Vec<u8> = argv.clone().flat_map(|word| [word, b"\0"].concat()).collect();
    run(mux, words(argv))?.is(0, expected, "")?;
    // Together more than the kernel takes in one word.
    let words_of_2_mb = (0..20).map(|_| long.clone());
    let argv = [b"sh".to_vec(), b"-c".to_vec(), b"echo $#".to_vec()];
    let exec = words(argv.into_iter().chain(words_of_2_mb));
    run(mux, exec)?.is(0, "19\n", "")?;
    let failure = refusal(mux, words([b"echo".to_vec(), vec![b'w'; 200_000]]))?;
    ensure!(
        failure.errno == Some(Errno::TOOBIG.raw_os_error()),
        "a word that is too long: {failure:?}"
    );
    Ok(())
}

fn environment(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let given: [(&[u8], &[u8]); 5] = [
        (b"EMPTY", b""),
        (b"LINES_AND=SIGNS", b"a\nb=c; $HOME 'x'"),
        (b"BYTES", b"\xff\x80"),
        (b"HOME", b"/elsewhere"),
        (b"with space", b"x"),
    ];
    let env = |pairs: &[(&[u8], &[u8])]| -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect()
    };
    let exec = Exec {
        env: env(&[given[0], given[2], given[3], given[4], (b"LINES", given[1].1)]),
        ..sh("cat /proc/$$/environ; :")
    };
    let ended = run(mux, exec)?;
    let mut found: Vec<&[u8]> = ended.out.split(|byte| *byte == 0).collect();
    found.sort();
    let expected: [&[u8]; 7] = [
        b"",
        b"BYTES=\xff\x80",
        b"EMPTY=",
        b"HOME=/elsewhere",
        b"LINES=a\nb=c; $HOME 'x'",
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        b"with space=x",
    ];
    ensure!(found == expected, "{:?}", String::from_utf8_lossy(&ended.out));
    // It is the program's PATH in which the program is looked for.
    let exec = Exec {
        env: env(&[(b"PATH", b"/nonexistent")]),
        ..words(["true"])
    };
    ensure!(refusal(mux, exec)?.errno == Some(Errno::NOENT.raw_os_error()));
    Ok(())
}

fn directory(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    run(mux, words(["pwd"]))?.is(0, "/\n", "")?;
    let odd = b"/tmp/a 'b'\n\xff";
    run(mux, words([b"mkdir".as_slice(), odd]))?.is(0, "", "")?;
    let exec = Exec {
        cwd: Some(odd.to_vec()),
        ..words(["pwd"])
    };
    run(mux, exec)?.is(0, [odd.as_slice(), b"\n"].concat(), "")?;
    // A program by a path of that directory.
    run(
        mux,
        words([
            b"ln".as_slice(),
            b"-s",
            b"/bin/sh",
            &[odd.as_slice(), b"/sh"].concat(),
        ]),
    )?
    .is(0, "", "")?;
    let exec = Exec {
        cwd: Some(odd.to_vec()),
        ..words(["./sh", "-c", "echo found"])
    };
    run(mux, exec)?.is(0, "found\n", "")?;
    for missing in ["/nonexistent", "/etc/passwd"] {
        let exec = Exec {
            cwd: Some(missing.into()),
            ..words(["pwd"])
        };
        let failure = refusal(mux, exec)?;
        ensure!(
            failure.message == format!("there is no directory {missing} in the guest"),
            "{failure:?}"
        );
    }
    Ok(())
}

fn no_programs(up: &Up) -> Result<()> {
    for (name, what, errno) in [
        (
            "no-such-program",
            "there is no such program in the guest",
            Errno::NOENT,
        ),
        (
            "/no/such/file",
            "there is no such file in the guest",
            Errno::NOENT,
        ),
        ("/etc/passwd", "it is no program in the guest", Errno::ACCESS),
        ("/etc", "it is no program in the guest", Errno::ACCESS),
        ("", "there is no such program in the guest", Errno::NOENT),
    ] {
        let failure = refusal(&up.client.mux, words([name]))?;
        ensure!(
            failure.message == format!("{name}: {what}") && failure.errno == Some(errno.raw_os_error()),
            "{failure:?}"
        );
    }
    let failure = refusal(&up.client.mux, Exec::default())?;
    ensure!(failure.message == "there is no program to run", "{failure:?}");
    Ok(())
}

fn exit_codes(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    for first in (0..=255u8).step_by(16) {
        let programs: Vec<(u8, Program)> = (first..=first + 15)
            .map(|code| Ok((code, Program::start(mux, sh(&format!("exit {code}")))?)))
            .collect::<Result<_>>()?;
        for (code, program) in programs {
            program
                .end()?
                .is(code, "", "")
                .with_context(|| format!("exit {code}"))?;
        }
    }
    Ok(())
}

fn ends_by_signals(up: &Up) -> Result<()> {
    // A program starts with all signals as they are by default.
    let none = "0000000000000000";
    run(
        &up.client.mux,
        words(["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]),
    )?
    .is(0, format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"), "")?;
    for signal in [1, 2, 6, 9, 11, 13, 15, 31, 64] {
        let ended = run(
            &up.client.mux,
            sh(&format!("printf before; kill -{signal} $$; exit 98")),
        )?;
        let expected = Ended {
            status: ExitStatus::Signal(signal),
            out: b"before".to_vec(),
            err: Vec::new(),
        };
        ensure!(ended == expected, "signal {signal}: {ended:?}");
    }
    Ok(())
}

/// What the reference takes for the end of the output, in all of its ways to run a program.
const MARKERS: &str = "===OUTPUT_START===\n===OUTPUT_END===\n===EXIT_CODE=0===\n===END===\n===ERROR===\n===PONG===\n\
    ===SHUTTING_DOWN===\n===TAR_START===\n===TAR_END===\n===STORAGE_START===\n===STORAGE_END===\n\
    ===9P_STORAGE_DONE===\n===INTERACTIVE_READY===\n===INTERACTIVE_END=0===\nend\n";

fn outputs(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    run(mux, words(["printf", "no newline"]))?.is(0, "no newline", "")?;
    run(mux, words(["true"]))?.is(0, "", "")?;
    run(mux, words(["printf", r"\0\n\0\n\r\n\n"]))?.is(0, b"\0\n\0\n\r\n\n", "")?;
    let markers = run(
        mux,
        words([
            "sh",
            "-c",
            "printf %s \"$1\"; printf %s \"$1\" >&2; exit 5",
            "sh",
            MARKERS,
        ]),
    )?;
    markers.is(5, MARKERS, MARKERS)?;
    // The greeting of our own protocol, and more of it, are bytes like others.
    let greeting: Vec<u8> = (0..=255).cycle().take(5000).chain(*b"vcontainer\0\x01").collect();
    run_with(mux, words(["cat"]), &greeting)?.is(0, &greeting, "")?;
    // Apart, also when both are more than a pipe and a window hold.
    let script =
        "head -c 3000000 /dev/zero | tr '\\0' e >&2 & head -c 3000000 /dev/zero | tr '\\0' o; wait; exit 6";
    run(mux, sh(script))?.is(6, vec![b'o'; 3_000_000], vec![b'e'; 3_000_000])?;
    run(mux, sh("echo out; exec >&-; echo err >&2"))?.is(0, "out\n", "err\n")?;
    // What was written before the end is there, though others still hold the streams.
    run(mux, sh("sleep 1000 & echo early; exit 4"))?.is(4, "early\n", "")
}

fn inputs(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    run(mux, words(["cat"]))?.is(0, "", "").context("no input")?;
    run_with(mux, words(["cat"]), b"")?
        .is(0, "", "")
        .context("empty input")?;
    run_with(mux, words(["cat"]), b"x")?.is(0, "x", "")?;
    run_with(
        mux,
        sh("cat /dev/stdin - /dev/fd/0; echo e > /dev/stderr; echo o > /dev/stdout"),
        b"by name",
    )?
    .is(0, "by nameo\n", "e\n")?;
    let much = vec![b'm'; 10_000_000];
    // It takes a little and ends; it takes nothing and ends.
    run_with(mux, words(["head", "-c", "5"]), &much)?.is(0, "mmmmm", "")?;
    run_with(mux, sh("exit 3"), &much)?.is(3, "", "")?;
    // It closes its input and lives on: what is sent goes nowhere, and nobody waits for that.
    let exec = Exec {
        stdin: true,
        ..sh("exec 0<&-; mkfifo /tmp/go; echo closed; read -r word < /tmp/go; echo $word; exit 8")
    };
    let mut program = Program::start(mux, exec)?;
    program.until("closed\n")?;
    program.give(&much)?;
    program.sender.eof(Stream::In)?;
    output(mux, "echo gone > /tmp/go")?;
    program.end()?.is(8, "gone\n", "")?;
    // It reads nothing: a signal gets through all the same.
    let exec = Exec {
        stdin: true,
        ..sh("echo ready; sleep 1000")
    };
    let mut program = Program::start(mux, exec)?;
    program.until("ready\n")?;
    let sender = program.sender.clone();
    let feeder = std::thread::spawn(move || sender.data(Stream::In, &much));
    program.sender.control(Control::Signal(9))?;
    let ended = program.end()?;
    ensure!(ended.status == ExitStatus::Signal(9), "{ended:?}");
    ensure!(
        feeder.join().is_ok_and(|sent| sent.is_err()),
        "10 MB went into a program that reads nothing"
    );
    Ok(())
}

fn signals(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'exit 42' TERM; echo ready
        while :; do sleep 1000 & wait; done";
    let mut program = Program::start(mux, sh(script))?;
    program.until("ready\n")?;
    program.sender.control(Control::Signal(10))?;
    program.until("usr1\n")?;
    program.sender.control(Control::Signal(12))?;
    program.until("usr2\n")?;
    program.sender.control(Control::Signal(15))?;
    program.end()?.is(42, "", "")?;
    for signal in [2, 15, 9] {
        let mut program = Program::start(mux, sh("echo ready; sleep 1000; true"))?;
        program.until("ready\n")?;
        program.sender.control(Control::Signal(signal))?;
        let ended = program.end()?;
        ensure!(
            ended.status == ExitStatus::Signal(signal),
            "signal {signal}: {ended:?}"
        );
    }
    Ok(())
}

/// A program whose channel is closed is told, and ended when it does not listen.
fn nobody_wants_it(up: &Up) -> Result<()> {
    let mux = &up.client.mux;
    let gone = |pid: &str| {
        let wait = format!("while kill -0 {} 2>/dev/null; do sleep 0.05; done", pid.trim());
        output(mux, &wait).map(drop)
    };
    let told = "trap 'echo told > /tmp/told; exit' HUP; echo $$; while :; do sleep 1000 & wait; done";
    let mut program = Program::start(mux, sh(told))?;
    let pid = program.until("\n")?;
    drop(program);
    gone(&pid)?;
    ensure!(output(mux, "cat /tmp/told")? == "told\n");
    let mut program = Program::start(mux, sh("trap '' HUP TERM; echo $$; while :; do sleep 1000; done"))?;
    let pid = program.until("\n")?;
    drop(program);
    gone(&pid)
}

fn many_at_once(up: &Up) -> Result<()> {
    const COUNT: u8 = 64;
    let mux = &up.client.mux;
    // The one that is silent.
    until_programs(up, 1)?;
    let mut all: Vec<Program> = (0..COUNT)
        .map(|code| {
            let exec = Exec {
                stdin: true,
                ..sh(&format!("echo ready; read -r line; echo \"$line\"; exit {code}"))
            };
            Program::start(mux, exec)
        })
        .collect::<Result<_>>()?;
    for program in &mut all {
        program.until("ready\n")?;
    }
    until_programs(up, 1 + u32::from(COUNT))?;
    // The last one first: none waits for another.
    for (number, program) in (0..COUNT).zip(all).rev() {
        program.give(format!("line {number}\n"))?;
        program.end()?.is(number, format!("line {number}\n"), "")?;
    }
    until_programs(up, 1)
}

/// Waits until so many programs run for the host: the guest counts one down a moment after it has told its end.
fn until_programs(up: &Up, expected: u32) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let status = up.status()?;
        if status.programs == expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "{expected} programs should run: {status:?}"
        );
    }
}
