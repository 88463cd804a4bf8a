//! Images that `vcontainer oci build` made, before other readers (skopeo, umoci, GNU tar) and the real engines.

mod content;
mod engines;
mod multiarch;
mod readers;
mod reproducible;

use std::process::ExitCode;

use e2e::debian::Suite;
use e2e::privilege;
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
    trials.anywhere("readers::fakeroot_keeps_owners", readers::fakeroot_keeps_owners);
    trials.anywhere("reproducible::whoever_builds", reproducible::whoever_builds);
    for suite in Suite::WITH_ENGINES {
        trials.engine(suite, "docker_runs_it", move || engines::docker(suite));
        trials.engine(suite, "podman_runs_it", move || engines::podman(suite));
    }
    trials.run()
}
