//! `vcontainer fetch` against Debian's docker-registry, as an ordinary user calls it.

mod access;
mod bench;
mod cut;
mod relay;
mod whole;

use std::process::ExitCode;

use e2e::privilege;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    trials.anywhere("whole::each_platform_as_it_was_pushed", whole::each_platform);
    trials.anywhere("whole::a_tag_is_no_digest", whole::a_tag_is_no_digest);
    trials.anywhere(
        "whole::docker_manifests_stay_what_they_are",
        whole::docker_manifests,
    );
    trials.anywhere("access::tls_with_a_ca_of_its_own", access::tls);
    trials.anywhere("access::tls_through_a_proxy", access::proxy);
    trials.anywhere("access::passwords", access::passwords);
    trials.anywhere("cut::killed_and_gone_on_with", cut::killed);
    trials.anywhere("cut::ctrl_c_leaves_what_can_be_gone_on_with", cut::interrupted);
    trials.anywhere("cut::two_at_once", cut::two_at_once);
    trials.anywhere("cut::files_that_cannot_grow", cut::files_that_cannot_grow);
    let mounts = match privilege::is_root() {
        true => Ok(()),
        false => Err("needs root to mount a small file system"),
    };
    trials.when(mounts, "cut::disk_full", cut::disk_full);
    trials.run()
}
