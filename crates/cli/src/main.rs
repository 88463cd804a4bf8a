//! `vcontainer`, `vdkr` and `vpdmn`: which of them it is, the program's name says.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use vcontainer::engine::program::Program;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    match words.first().and_then(|word| word.to_str()) {
        Some(vcontainer_vm::SUPERVISE) => {
            return match vcontainer_vm::supervise() {
                Ok(()) => ExitCode::SUCCESS,
                // Whoever started it has been told.
                Err(_) => ExitCode::FAILURE,
            };
        }
        Some(vcontainer_vm::QEMU) => {
            let error = vcontainer_vm::exec_qemu(words.into_iter().skip(1));
            return vcontainer::report_error(&error.into());
        }
        _ => {}
    }
    match Program::from_name(&name) {
        Ok(Program::Tool(tool)) => vcontainer::engine::main(tool, words),
        Ok(Program::Vcontainer) => match vcontainer::run(vcontainer::args::Args::parse()) {
            Ok(()) => vcontainer::Exit::Success.into(),
            Err(error) => vcontainer::report_error(&error),
        },
        Err(error) => vcontainer::report_error(&error),
    }
}
