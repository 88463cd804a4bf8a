//! Runs programs in a machine, for trying things out: `machine ENGINE ARCH GUEST-DIRECTORY STATE|stateless PROGRAM …`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use vcontainer_vm::{Accelerator, BootFiles, Client, MachineSpec, Place};
use vcontainer_wire::{Event, Exec, Reply, Request, Stream};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let first = words.next().unwrap();
    if first == vcontainer_vm::SUPERVISE {
        return ExitCode::from(u8::from(vcontainer_vm::supervise().is_err()));
    }
    if first == vcontainer_vm::QEMU {
        eprintln!("{}", vcontainer_vm::exec_qemu(words).chain());
        return ExitCode::FAILURE;
    }
    let engine = first.to_str().unwrap().parse().unwrap();
    let arch: vcontainer_guest::Arch = words.next().unwrap().to_str().unwrap().parse().unwrap();
    let guest = PathBuf::from(words.next().unwrap()).join(arch.name());
    let state = words.next().unwrap();
    let begin = Instant::now();
    let environment = |name: &str| std::env::var(name).ok();
    let spec = MachineSpec {
        engine,
        arch,
        guest: BootFiles {
            kernel: guest.join(arch.kernel_file()),
            initramfs: guest.join("initramfs.cpio.gz"),
            rootfs: guest.join("rootfs.img"),
            identity: "by hand".into(),
        },
        cpus: environment("CPUS").map_or(MachineSpec::default_cpus(), |text| text.parse().unwrap()),
        memory: environment("MEMORY").map_or(MachineSpec::DEFAULT_MEMORY, |text| text.parse().unwrap()),
        disk: MachineSpec::DEFAULT_DISK,
        accelerator: Accelerator::Auto,
        network: true,
        place: if state == "stateless" {
            Place::Stateless
        } else {
            Place::Persistent(state.into())
        },
        cache: environment("CACHE").unwrap().into(),
        linger: Duration::from_millis(environment("LINGER").map_or(1000, |text| text.parse().unwrap())),
        program: std::env::current_exe().unwrap(),
        search_path: std::env::split_paths(&environment("PATH").unwrap()).collect(),
    };
    let connected = Client::connect(&spec, &mut |progress| {
        eprintln!("{:.3} {progress:?}", begin.elapsed().as_secs_f64())
    });
    let client = match connected {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{:.3} error: {}", begin.elapsed().as_secs_f64(), error.chain());
            return ExitCode::FAILURE;
        }
    };
    eprintln!(
        "{:.3} connected, started {}",
        begin.elapsed().as_secs_f64(),
        client.started
    );
    let argv: Vec<Vec<u8>> = words.map(OsString::into_vec).collect();
    let needs_engine = argv
        .first()
        .is_some_and(|word| word == b"docker" || word == b"podman");
    if argv.is_empty() {
        let status = client.ask(Request::Status, "status");
        eprintln!("{:.3} {status:?}", begin.elapsed().as_secs_f64());
        return ExitCode::SUCCESS;
    }
    if argv == [b"stop"] {
        let stopped = client.stop();
        eprintln!("{:.3} {stopped:?}", begin.elapsed().as_secs_f64());
        return ExitCode::SUCCESS;
    }
    let exec = Exec {
        argv,
        needs_engine,
        ..Exec::default()
    };
    let (_sender, mut receiver) = client.mux.open(Request::Exec(exec)).unwrap().split();
    loop {
        match receiver.next() {
            Ok(Event::Data(Stream::Err, bytes)) => std::io::stderr().write_all(&bytes).unwrap(),
            Ok(Event::Data(_, bytes)) => std::io::stdout().write_all(&bytes).unwrap(),
            Ok(Event::Reply(reply)) => {
                eprintln!("{:.3} {reply:?}", begin.elapsed().as_secs_f64());
                return ExitCode::from(match reply {
                    Reply::Exited(status) => status.shell_code(),
                    _ => 125,
                });
            }
            Ok(Event::Closed) => panic!("closed"),
            Ok(_) => {}
            Err(error) => {
                eprintln!("{:.3} {error}", begin.elapsed().as_secs_f64());
                return ExitCode::FAILURE;
            }
        }
    }
}
