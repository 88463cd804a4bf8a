//! Images that `vcontainer oci build` made, before other readers (skopeo, umoci, GNU tar) and the real engines.

mod cache;
mod content;
mod drawn;
mod engines;
mod multiarch;
mod packages;
mod readers;
mod reproducible;

use std::process::ExitCode;

use e2e::debian::Suite;
use e2e::privilege;
use e2e::process::Command;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    let root = match privilege::is_root() {
        true => Ok(()),
        false => Err("needs root to make files of other owners"),
    };
    trials.anywhere("multiarch::skopeo_chooses", multiarch::skopeo_chooses);
    trials.anywhere("multiarch::umoci_lists", multiarch::umoci_lists);
    trials.anywhere(
        "multiarch::layouts_of_others_are_whole",
        multiarch::layouts_of_others_are_whole,
    );
    trials.when(
        root,
        "multiarch::a_difference_is_what_umoci_unpacks",
        multiarch::a_difference_is_what_umoci_unpacks,
    );
    trials.when(
        root,
        "readers::unpack_what_was_there",
        readers::unpack_what_was_there,
    );
    trials.when(
        root,
        "drawn::umoci_unpacks_what_was_drawn",
        drawn::umoci_unpacks_what_was_drawn,
    );
    trials.anywhere("readers::fakeroot_keeps_owners", readers::fakeroot_keeps_owners);
    trials.anywhere("reproducible::whoever_builds", reproducible::whoever_builds);
    trials.anywhere("cache::killed_at_any_moment", cache::killed_at_any_moment);
    trials.anywhere("cache::ended_by_a_signal", cache::ended_by_a_signal);
    trials.anywhere("cache::twenty_at_once", cache::twenty_at_once);
    trials.anywhere("cache::fakeroot::another_package_manager", || {
        cache::another_package_manager(&["fakeroot"])
    });
    let pseudo = match Command::exists("pseudo") {
        true => Ok(()),
        false => Err("needs pseudo"),
    };
    trials.when(pseudo, "cache::pseudo::another_package_manager", || {
        cache::another_package_manager(&["pseudo", "-t", "1"])
    });
    for (arch, debian) in [("aarch64", "arm64"), ("x86_64", "amd64")] {
        trials.anywhere(&format!("packages::{arch}"), move || {
            packages::everything(arch, debian)
        });
    }
    for suite in Suite::WITH_ENGINES {
        trials.engine(suite, "docker_runs_it", move || engines::docker(suite));
        trials.engine(suite, "podman_runs_it", move || engines::podman(suite));
    }
    trials.run()
}
