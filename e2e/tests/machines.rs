//! The judges themselves: every Debian root filesystem gives a machine in which its engines start on an empty store,
//! import the probe image on their own, run it and give it back bit-exact. What a store of ours is asked later is thus
//! known to be possible.

use std::fs;
use std::process::ExitCode;

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::{Engine, Saved};
use e2e::layout::{Compression, Image, Layout, docker_archive};
use e2e::machine::{Builder, scratch_directory};
use e2e::podman::Podman;
use e2e::probe;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let mut trials = Trials::new();
    for suite in Suite::WITH_ENGINES {
        trials.engine(suite, "docker_imports_the_probe_image", move || {
            let store = scratch_directory()?;
            let machine = Builder::new(suite)
                .bind(store.path(), "/var/lib/docker")
                .start()?;
            let docker = Docker::start(&machine, Store::Overlay2)?;
            assert_eq!(docker.cli(&["images", "--quiet"])?, "");
            let image = probe::image("amd64", &suite.busybox()?);
            fs::write(
                machine.shared().join("probe.tar"),
                docker_archive(&image, "probe:latest"),
            )?;
            docker.cli(&["load", "-i", "/shared/probe.tar"])?;
            judge(&docker, &image)?;
            docker.stop()
        });
        trials.engine(suite, "podman_imports_the_probe_image", move || {
            let store = scratch_directory()?;
            let machine = Builder::new(suite)
                .bind(store.path(), "/var/lib/containers/storage")
                .start()?;
            let podman = Podman::new(&machine)?;
            assert_eq!(podman.cli(&["images", "--quiet"])?, "");
            let image = probe::image("amd64", &suite.busybox()?);
            let mut layout = Layout::create(machine.shared().join("layout"))?;
            let descriptor = layout.add(&image, Compression::Gzip)?;
            layout.name(&descriptor, Some("latest"))?;
            podman.cli(&["pull", "--quiet", "oci:/shared/layout:latest"])?;
            podman.cli(&["tag", image_id(&image).trim_start_matches("sha256:"), "probe"])?;
            judge(&podman, &image)
        });
    }
    for suite in [Suite::Trixie, Suite::Sid] {
        trials.engine(suite, "docker_starts_with_the_containerd_store", move || {
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

fn image_id(image: &Image) -> String {
    e2e::layout::digest(&image.configuration())
}

/// What the probe image holds as `security.capability`.
const CAPABILITY: &str = "0100000200200a00000000000000000000000000";

/// The image `probe` runs, is seen with everything odd in it, and is saved bit-exact.
fn judge(engine: &impl Engine, image: &Image) -> Result<()> {
    let printed = engine.run("probe", &[])?;
    for line in [
        "regular file 4755 1:2 odd/setuid",
        "regular file 644 0:0 opq/three",
        "directory 755 0:0 file-to-dir",
        "through a link",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line:?} is missing in:\n{printed}"
        );
    }
    for name in ["opq/one", "data/b", "dir-to-file/inner"] {
        assert!(
            !printed.lines().any(|line| line.ends_with(name)),
            "{name} should be hidden:\n{printed}"
        );
    }
    let tree = engine.merged_tree("probe")?;
    assert_eq!(tree["odd/hard-2"].kind, "hard link to odd/hard-1");
    assert_eq!(tree["odd/capability"].xattrs["security.capability"], CAPABILITY);
    assert_eq!(tree["odd/subsecond"].mtime, Some((1_600_000_001, 123_456_789)));
    assert!(tree.contains_key("odd/latin-\\xe9"), "{:?}", tree.keys());
    assert!(!tree.contains_key("gone-dir"), "{:?}", tree.keys());
    assert_eq!(
        engine.save("probe")?,
        Saved {
            config: image_id(image),
            layers: image.diff_ids()
        }
    );
    Ok(())
}
