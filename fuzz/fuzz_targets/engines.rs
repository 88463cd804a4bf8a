//! The configuration of engines in a root filesystem: stores that follow from it lie inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcontainer_bundle::target::docker::Store;
use vcontainer_bundle::target::{Target, Trust};
use vcontainer_fuzz::{folder, parts};
use vcontainer_image::TreePath;
use vcontainer_store::Rootfs;

/// Where the parts of an input lie; absent parts are absent files.
const FILES: &[&str] = &[
    "etc/docker/daemon.json",
    "etc/containers/storage.conf",
    "usr/lib/systemd/system/docker.service",
    "etc/fstab",
    "usr/lib/systemd/system/data.mount",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/share/doc/podman/changelog.Debian.gz",
    "usr/bin/dockerd",
    "etc/systemd/system/docker.service.d/a.conf",
];

fuzz_target!(|data: &[u8]| {
    let folder = folder();
    let root = folder.path();
    for program in ["usr/bin/dockerd", "usr/bin/docker", "usr/bin/podman"] {
        write(root, program, b"");
    }
    for (name, content) in FILES.iter().zip(parts(data)) {
        if !content.is_empty() {
            write(root, name, content);
        }
    }
    for trust in [
        Trust::default(),
        Trust {
            target: true,
            mounts: true,
        },
    ] {
        let Ok(target) = Target::read(Some(Rootfs::open(root).unwrap()), trust) else {
            continue;
        };
        let _ = target.machine();
        let clean = |path: &TreePath| assert_eq!(TreePath::clean(path.as_bytes()).as_ref(), Ok(path));
        for store in [Store::Overlay2, Store::Containerd] {
            if let Ok(docker) = target.docker(store) {
                clean(&docker.root);
            }
        }
        if let Ok(podman) = target.podman() {
            clean(&podman.root);
        }
        if let Ok(units) = target.unit_directory() {
            clean(&units.physical);
        }
    }
});

fn write(root: &std::path::Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
