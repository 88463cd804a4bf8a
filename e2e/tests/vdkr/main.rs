//! `vdkr` and `vpdmn` as their users call them: real engines, in real machines of both architectures.

mod core;
mod document;
mod guide;
mod registry;
mod state;
mod storage;
mod terminal;
mod user;

use std::process::ExitCode;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

fn main() -> ExitCode {
    let mut trials = Trials::new();
    for engine in Engine::ALL {
        for arch in Arch::ALL {
            let name = format!("{}_{arch}::every_command_works", engine.tool());
            trials.anywhere(&name, move || core::every_command_works(engine, arch));
        }
    }
    // One engine on one architecture, the other on the other.
    for (engine, arch) in [(Engine::Docker, Arch::Aarch64), (Engine::Podman, Arch::X86_64)] {
        let mut pair = |name: &str, test: fn(Engine, Arch) -> Result<()>| {
            trials.anywhere(&format!("{}_{arch}::{name}", engine.tool()), move || {
                test(engine, arch)
            });
        };
        pair("a_program_has_the_terminal", terminal::a_program_has_the_terminal);
        pair(
            "images_come_from_a_registry_and_go_back",
            registry::images_come_from_it_and_go_back,
        );
        pair(
            "the_machine_is_suspended_and_resumed",
            state::suspended_and_resumed,
        );
        pair(
            "several_machines_and_clients",
            state::several_machines_and_clients,
        );
        pair("a_start_is_given_up", state::a_start_is_given_up);
        pair("a_stateless_machine_leaves_nothing", state::stateless);
        pair("the_store_goes_out_and_in", storage::goes_out_and_in);
    }
    trials.anywhere("vpdmn_x86_64::the_kernel_changes_its_code", state::code_changes);
    trials.anywhere("document::every_line_works", document::every_line_works);
    trials.anywhere(
        "document::every_way_to_choose_an_architecture_works",
        document::every_way_to_choose_an_architecture_works,
    );
    for (page, printed) in guide::PAGES {
        trials.anywhere(&format!("guide::{page}"), || guide::a_page(page, printed));
    }
    trials.anywhere("guide::no_page_is_forgotten", guide::no_page_is_forgotten);
    for engine in Engine::ALL {
        let name = format!("{}_x86_64::a_device_takes_the_store", engine.tool());
        trials.engine(Suite::Trixie, &name, move || storage::a_device_takes_it(engine));
    }
    trials.run()
}
