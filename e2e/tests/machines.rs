//! The judges themselves: every Debian root filesystem gives a machine, in which its engines start on an empty store.

use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::trials::Trials;

fn main() -> std::process::ExitCode {
    let mut trials = Trials::new();
    for suite in Suite::WITH_ENGINES {
        trials.engine(suite, "docker_starts", move || {
            let store = scratch_directory()?;
            let machine = Builder::new(suite)
                .bind(store.path(), "/var/lib/docker")
                .start()?;
            let docker = Docker::start(&machine, Store::Overlay2)?;
            assert_eq!(docker.cli(&["images", "--quiet"])?, "");
            docker.stop()
        });
        trials.engine(suite, "podman_starts", move || {
            let store = scratch_directory()?;
            let machine = Builder::new(suite)
                .bind(store.path(), "/var/lib/containers/storage")
                .start()?;
            assert_eq!(Podman::new(&machine)?.cli(&["images", "--quiet"])?, "");
            Ok(())
        });
    }
    for suite in [Suite::Trixie, Suite::Sid] {
        trials.engine(suite, "docker_starts_with_containerd_store", move || {
            let store = scratch_directory()?;
            let machine = Builder::new(suite)
                .bind(store.path(), "/var/lib/docker")
                .start()?;
            let docker = Docker::start(&machine, Store::Containerd)?;
            assert_eq!(
                docker.cli(&["info", "--format", "{{.Driver}}"])?.trim(),
                "overlayfs"
            );
            docker.stop()
        });
    }
    trials.run()
}
