use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::docker::Store;
use super::*;

/// A root filesystem with both engines and systemd, changed by `files` (path, content).
struct Root(tempfile::TempDir);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for program in [
            "usr/sbin/dockerd",
            "usr/bin/docker",
            "usr/bin/podman",
            "usr/lib/systemd/systemd",
            "usr/lib/systemd/system-generators/podman-system-generator",
        ] {
            root.write(program, "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
        }
        for (path, content) in files {
            root.write(path, content);
        }
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn without(self, path: &str) -> Self {
        fs::remove_file(self.path().join(path)).unwrap();
        self
    }

    fn target(&self, trust: Trust) -> Target {
        Target::read(Some(Rootfs::open(self.path()).unwrap()), trust).unwrap()
    }

    fn docker(&self, store: Store) -> Result<String, String> {
        let docker = self.target(Trust::default()).docker(store);
        docker
            .map(|docker| docker.root.to_string())
            .map_err(|error| error.to_string())
    }

    fn podman(&self) -> Result<podman::Podman, String> {
        self.target(Trust::default())
            .podman()
            .map_err(|error| error.to_string())
    }
}

fn dpkg(package: &str, version: &str) -> String {
    format!("Package: {package}\nStatus: install ok installed\nVersion: {version}\n\n")
}

#[test]
fn engines_without_configuration_have_their_default_stores() {
    let root = Root::new(&[(
        "var/lib/dpkg/status",
        &(dpkg("docker.io", "26.1.5+dfsg1-9") + &dpkg("podman", "5.4.2+ds1-2")),
    )]);
    let target = root.target(Trust::default());
    let docker = target.docker(Store::Overlay2).unwrap();
    assert_eq!(docker.root.to_string(), "/var/lib/docker");
    assert_eq!(
        (docker.client, docker.version),
        ("/usr/bin/docker", Some(Version::new(26, 1, 5)))
    );
    let podman = target.podman().unwrap();
    assert_eq!(podman.root.to_string(), "/var/lib/containers/storage");
    assert_eq!(
        (podman.quadlet, podman.version),
        (true, Some(Version::new(5, 4, 2)))
    );
}

#[test]
fn nothing_is_checked_without_a_root_filesystem() {
    let target = Target::read(None, Trust::default()).unwrap();
    assert_eq!(
        target.docker(Store::Overlay2).unwrap().root.to_string(),
        "/var/lib/docker"
    );
    assert_eq!(
        target.docker(Store::Containerd).unwrap().root.to_string(),
        "/var/lib/containerd"
    );
    assert!(target.podman().unwrap().quadlet);
    assert_eq!(target.unit_directory().unwrap().path, "/usr/lib/systemd/system");
    assert!(target.check_systemd("x").is_ok());
}

#[test]
fn data_roots_come_from_the_targets_own_configuration() {
    let unit = "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n";
    for (files, root) in [
        (
            vec![("etc/docker/daemon.json", r#"{"data-root": "/data/docker"}"#)],
            "/data/docker",
        ),
        (vec![("etc/docker/daemon.json", " \n")], "/var/lib/docker"),
        (
            vec![
                ("usr/lib/systemd/system/docker.service", unit),
                (
                    "etc/default/docker",
                    "# DOCKER_OPTS=\"-g /no\"\nDOCKER_OPTS=\"--data-root /srv/d --debug\"\n",
                ),
            ],
            "/srv/d",
        ),
        (
            vec![
                ("usr/lib/systemd/system/docker.service", unit),
                (
                    "etc/systemd/system/docker.service.d/root.conf",
                    "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --data-root=/mnt/x \\\n  -H fd://\n",
                ),
            ],
            "/mnt/x",
        ),
        (
            vec![
                (
                    "usr/lib/systemd/system/docker.service",
                    "[Service]\nExecStart=/usr/bin/dockerd --config-file /etc/d.json\n",
                ),
                ("etc/d.json", r#"{"data-root": "/other"}"#),
            ],
            "/other",
        ),
    ] {
        assert_eq!(
            Root::new(&files).docker(Store::Overlay2).unwrap(),
            root,
            "{files:?}"
        );
    }
    let root = Root::new(&[
        (
            "usr/share/containers/storage.conf",
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"/no\"\n",
        ),
        (
            "etc/containers/storage.conf",
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"/data/podman\"\n",
        ),
    ]);
    assert_eq!(root.podman().unwrap().root.to_string(), "/data/podman");
    root.write(
        "etc/containers/storage.conf",
        "[storage]\ngraphroot = \"/g\"\nimagestore = \"/usr/lib/images\"\n",
    );
    assert_eq!(root.podman().unwrap().root.to_string(), "/usr/lib/images");
}

#[test]
fn stores_that_the_engine_would_not_see_are_refused_with_the_setting_and_the_remedy() {
    let status = |version: &str| dpkg("docker-ce", version);
    let (old, middle, new) = (status("5:20.10.24-1"), status("5:28.5.2-1"), status("5:29.1.0-1"));
    let json = "etc/docker/daemon.json";
    let db = "var/lib/dpkg/status";
    let snapshotter = r#"{"features": {"containerd-snapshotter": true}}"#;
    let no_snapshotter = r#"{"features": {"containerd-snapshotter": false}}"#;
    for (store, files, says) in [
        (
            Store::Overlay2,
            vec![(json, snapshotter)],
            vec!["containerd-snapshotter\": true", "--docker-store containerd"],
        ),
        (
            Store::Overlay2,
            vec![(json, r#"{"storage-driver": "btrfs"}"#)],
            vec!["\"storage-driver\": \"btrfs\"", "`overlay2`"],
        ),
        (
            Store::Overlay2,
            vec![(json, r#"{"storage-driver": "overlayfs"}"#)],
            vec!["--docker-store containerd"],
        ),
        (
            Store::Overlay2,
            vec![(json, r#"{"userns-remap": "default"}"#)],
            vec!["userns-remap", "remove the setting"],
        ),
        (
            Store::Overlay2,
            vec![("var/lib/docker/btrfs/x", "")],
            vec!["driver `btrfs`", "two drivers"],
        ),
        (
            Store::Overlay2,
            vec![
                (db, &new),
                ("usr/bin/containerd", ""),
                (
                    "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/x",
                    "",
                ),
            ],
            vec![
                "existing store in `/var/lib/containerd`",
                "--docker-store containerd",
            ],
        ),
        (
            Store::Containerd,
            vec![(db, &old)],
            vec!["Docker 20.10.24", "--docker-store overlay2"],
        ),
        (
            Store::Containerd,
            vec![(db, &middle)],
            vec!["Docker 28.5.2", "containerd-snapshotter\": true", "daemon.json"],
        ),
        (
            Store::Containerd,
            vec![(db, &new), (json, no_snapshotter)],
            vec!["containerd-snapshotter\": false", "set it to true"],
        ),
        (
            Store::Containerd,
            vec![(db, &new), (json, r#"{"storage-driver": "overlay2"}"#)],
            vec!["--docker-store overlay2"],
        ),
        (
            Store::Containerd,
            vec![(db, &new), ("var/lib/docker/overlay2/l/X", "")],
            vec!["images of the driver `overlay2`"],
        ),
    ] {
        let error = Root::new(&files).docker(store).unwrap_err();
        for part in says {
            assert!(error.contains(part), "{files:?}: `{error}` does not say `{part}`");
        }
    }
    for (store, files) in [
        (Store::Overlay2, vec![(db, new.as_str())]),
        (Store::Overlay2, vec![(json, no_snapshotter)]),
        (
            Store::Overlay2,
            vec![
                (json, r#"{"storage-driver": "overlay2"}"#),
                ("var/lib/docker/btrfs/x", ""),
            ],
        ),
        (Store::Containerd, vec![(db, &new)]),
        (Store::Containerd, vec![(db, &middle), (json, snapshotter)]),
    ] {
        Root::new(&files).docker(store).unwrap();
    }
    let error = Root::new(&[("etc/containers/storage.conf", "[storage]\ndriver = \"vfs\"\n")])
        .podman()
        .unwrap_err();
    for part in [
        "/etc/containers/storage.conf",
        "driver = \"vfs\"",
        "driver = \"overlay\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_containerd_root_is_the_one_that_the_daemon_uses() {
    let status = dpkg("docker-ce", "5:29.1.0-1");
    let db = ("var/lib/dpkg/status", status.as_str());
    for (files, root) in [
        (vec![db], "/var/lib/docker/containerd/daemon"),
        (vec![db, ("usr/bin/containerd", "")], "/var/lib/containerd"),
        (
            vec![
                db,
                ("usr/bin/containerd", ""),
                ("etc/containerd/config.toml", "version = 2\nroot = '/data/c'\n"),
            ],
            "/data/c",
        ),
    ] {
        assert_eq!(Root::new(&files).docker(Store::Containerd).unwrap(), root);
    }
}

#[test]
fn configuration_that_cannot_be_understood_is_an_error_with_the_file() {
    let error = Root::new(&[("etc/docker/daemon.json", "{\"data-root\": }")])
        .docker(Store::Overlay2)
        .unwrap_err();
    assert!(error.contains("/etc/docker/daemon.json"), "{error}");
    let error = Root::new(&[("etc/containers/storage.conf", "[storage")])
        .podman()
        .unwrap_err();
    assert!(error.contains("/etc/containers/storage.conf"), "{error}");
}

#[test]
fn masked_units_and_drop_ins_say_nothing() {
    let unit = "[Service]\nExecStart=/usr/sbin/dockerd --data-root /srv/docker\n";
    let root = Root::new(&[
        ("usr/lib/systemd/system/docker.service", unit),
        ("etc/systemd/system/docker.service.d/b.conf", ""),
    ]);
    // Whatever is there that is no regular file: the device of a real root filesystem needs root.
    fs::create_dir_all(root.path().join("dev/null")).unwrap();
    let mask = |name: &str| symlink("/dev/null", root.path().join("etc/systemd/system").join(name)).unwrap();
    mask("docker.service.d/a.conf");
    assert_eq!(root.docker(Store::Overlay2), Ok("/srv/docker".to_owned()));
    mask("docker.service");
    assert_eq!(root.docker(Store::Overlay2), Ok("/var/lib/docker".to_owned()));
}

#[test]
fn a_store_below_a_mount_is_refused_unless_that_is_meant() {
    for (file, content, point) in [
        ("etc/fstab", "/dev/mmcblk0p3 /var ext4 defaults 0 2\n", "/var"),
        (
            "etc/systemd/system/var-lib-docker.mount",
            "[Mount]\nWhat=/dev/sda3\nWhere=/var/lib/docker\n",
            "/var/lib/docker",
        ),
    ] {
        let root = Root::new(&[(file, content)]);
        let error = root.docker(Store::Overlay2).unwrap_err();
        for part in [point, file, "data-root", "--allow-mounted"] {
            assert!(error.contains(part), "{error}");
        }
        let trust = Trust {
            mounts: true,
            ..Trust::default()
        };
        root.target(trust).docker(Store::Overlay2).unwrap();
    }
    // A moved data root that leads to another partition through a symlink.
    let root = Root::new(&[("etc/fstab", "LABEL=data /data ext4 defaults\n")]);
    fs::create_dir_all(root.path().join("var/lib")).unwrap();
    symlink("/data/docker", root.path().join("var/lib/docker")).unwrap();
    assert!(
        root.docker(Store::Overlay2)
            .unwrap_err()
            .contains("`LABEL=data` on `/data`")
    );
    // What is mounted elsewhere, masked or not mounted at boot is no obstacle.
    let root = Root::new(&[(
        "etc/fstab",
        "/dev/sda1 / ext4 d\nproc /proc proc d\n/dev/sdb1 /var ext4 noauto\nx none swap s\n",
    )]);
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    symlink("/dev/null", root.path().join("etc/systemd/system/var.mount")).unwrap();
    root.write(
        "usr/lib/systemd/system/var.mount",
        "[Mount]\nWhere=/var\nWhat=tmpfs\n",
    );
    root.docker(Store::Overlay2).unwrap();
}

#[test]
fn missing_engines_and_systemd_are_errors_unless_they_come_later() {
    let root = Root::new(&[])
        .without("usr/sbin/dockerd")
        .without("usr/bin/podman")
        .without("usr/lib/systemd/systemd");
    for error in [
        root.docker(Store::Overlay2).unwrap_err(),
        root.podman().unwrap_err(),
    ] {
        assert!(
            error.contains("is not installed") && error.contains("--no-target-check"),
            "{error}"
        );
    }
    let error = root
        .target(Trust::default())
        .check_systemd("container `x`")
        .unwrap_err();
    assert!(error.to_string().contains("container `x`"), "{error}");
    let target = root.target(Trust {
        target: true,
        ..Trust::default()
    });
    assert_eq!(target.docker(Store::Overlay2).unwrap().client, "/usr/bin/docker");
    target.podman().unwrap();
    target.check_systemd("x").unwrap();
}

#[test]
fn the_architecture_must_be_that_of_the_programs() {
    let target = Root::new(&[]);
    let target = target.target(Trust::default());
    target
        .check_platform(&Platform::for_machine("x86_64").unwrap())
        .unwrap();
    let error = target
        .check_platform(&Platform::for_machine("aarch64").unwrap())
        .unwrap_err()
        .to_string();
    for part in ["is for x86_64", "linux/arm64", "dockerd", "--no-target-check"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn quadlet_needs_its_generator_and_podman_4_4() {
    let old = dpkg("podman", "4.3.1+ds1-8");
    assert!(
        !Root::new(&[("var/lib/dpkg/status", &old)])
            .podman()
            .unwrap()
            .quadlet
    );
    assert!(Root::new(&[]).podman().unwrap().quadlet);
    let root = Root::new(&[]).without("usr/lib/systemd/system-generators/podman-system-generator");
    assert!(!root.podman().unwrap().quadlet);
}

#[test]
fn netavark_is_found_where_podman_looks() {
    assert!(!Root::new(&[]).podman().unwrap().netavark);
    assert!(
        Root::new(&[("usr/lib/podman/netavark", "")])
            .podman()
            .unwrap()
            .netavark
    );
    assert!(
        Target::read(None, Trust::default())
            .unwrap()
            .podman()
            .unwrap()
            .netavark
    );
}

#[test]
fn units_go_where_a_merged_usr_has_them() {
    let root = Root::new(&[]);
    let directory = |root: &Root| root.target(Trust::default()).unit_directory().unwrap();
    assert_eq!(directory(&root).physical.to_string(), "/lib/systemd/system");
    symlink("usr/lib", root.path().join("lib")).unwrap();
    assert_eq!(directory(&root).physical.to_string(), "/usr/lib/systemd/system");
    assert_eq!(directory(&root).path, "/lib/systemd/system");
    fs::remove_file(root.path().join("lib")).unwrap();
    symlink("../elsewhere", root.path().join("lib")).unwrap();
    let error = Target::read(Some(Rootfs::open(root.path()).unwrap()), Trust::default()).unwrap_err();
    assert!(
        error.to_string().contains("leaves the root filesystem"),
        "{error}"
    );
}

#[test]
fn a_changelog_tells_the_version_of_an_extracted_root() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let root = Root::new(&[("usr/share/doc/podman/x", "")]);
    let file = fs::File::create(root.path().join("usr/share/doc/podman/changelog.Debian.gz")).unwrap();
    let mut encoder = GzEncoder::new(file, Compression::default());
    encoder
        .write_all(b"libpod (4.3.1+ds1-8) unstable; urgency=medium\n")
        .unwrap();
    encoder.finish().unwrap();
    assert_eq!(root.podman().unwrap().version, Some(Version::new(4, 3, 1)));
}

#[test]
fn a_daemon_json_that_dockerd_would_not_start_with_is_an_error() {
    for (text, says) in [
        ("[]", "expected a map"),
        (r#"{"data-root": 7}"#, "`data-root` is 7 and must be a string"),
        (
            r#"{"features": {"containerd-snapshotter": "yes"}}"#,
            "must be true or false",
        ),
    ] {
        let root = Root::new(&[("etc/docker/daemon.json", text)]);
        let error = root.target(Trust::default()).docker(Store::Overlay2).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("/etc/docker/daemon.json"), "{error}");
        assert!(cause.contains(says), "{cause}");
    }
}
