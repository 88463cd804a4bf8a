//! Root filesystems whose engines would not see the store, or that lead out of themselves.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use e2e::trials::Trials;

use crate::bench::{Bench, names, small};
use crate::who::Who;

pub fn add(trials: &mut Trials) {
    let mut add =
        |name: &str, test: fn() -> Result<()>| trials.anywhere(&format!("wrong_targets::{name}"), test);
    add("settings_that_hide_the_store", settings);
    add("settings_that_cannot_be_read", malformed);
    add("another_partition", partitions);
    add("an_engine_is_missing", missing);
    add("symlinks_inside_are_followed", symlinks_inside);
    add("symlinks_that_lead_out", symlinks_outside);
    add("corrupt_docker_stores", docker_stores);
    add("corrupt_podman_stores", podman_stores);
    add("corrupt_containerd_stores", containerd_stores);
    add("something_else_where_the_store_should_be", in_the_way);
}

fn bench() -> Result<Bench> {
    let bench = Bench::new()?;
    bench.image("myapp", &small("myapp"))?;
    Ok(bench)
}

fn settings() -> Result<()> {
    for (file, text, entry, says) in [
        (
            "etc/containers/storage.conf",
            "[storage]\ndriver = 'vfs'\n",
            "myapp:podman",
            &["driver = \"vfs\"", "set driver = \"overlay\""][..],
        ),
        (
            "usr/share/containers/storage.conf",
            "[storage]\ndriver = 'btrfs'\n",
            "myapp:podman",
            &["driver = \"btrfs\"", "/usr/share/containers/storage.conf"],
        ),
        (
            "etc/docker/daemon.json",
            r#"{"features": {"containerd-snapshotter": true}}"#,
            "myapp:docker",
            &[
                "containerd-snapshotter",
                "/etc/docker/daemon.json",
                "--docker-store containerd",
            ],
        ),
        (
            "etc/docker/daemon.json",
            r#"{"storage-driver": "vfs"}"#,
            "myapp:docker",
            &["vfs", "overlay2"],
        ),
        (
            "etc/docker/daemon.json",
            r#"{"userns-remap": "default"}"#,
            "myapp:docker",
            &["userns-remap"],
        ),
        (
            "usr/lib/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/sbin/dockerd --storage-driver=devicemapper\n",
            "myapp:docker",
            &["docker.service", "devicemapper"],
        ),
    ] {
        let bench = bench()?;
        bench.write(&format!("root/{file}"), text)?;
        bench.refused(&[entry], says)?;
    }
    let bench = bench()?;
    bench.write(
        "root/etc/docker/daemon.json",
        r#"{"features": {"containerd-snapshotter": false}}"#,
    )?;
    bench.refused(
        &["--docker-store=containerd", "myapp:docker"],
        &["containerd-snapshotter", "--docker-store overlay2"],
    )
}

fn malformed() -> Result<()> {
    for (file, text, entry) in [
        ("etc/containers/storage.conf", "[storage\n", "myapp:podman"),
        ("etc/docker/daemon.json", "{\"data-root\": ", "myapp:docker"),
        ("etc/docker/daemon.json", "{\"data-root\": 7}", "myapp:docker"),
        ("etc/docker/daemon.json", "[]", "myapp:docker"),
    ] {
        let bench = bench()?;
        bench.write(&format!("root/{file}"), text)?;
        bench.refused(&[entry], &[file])?;
    }
    // Not a file at all.
    let bench = bench()?;
    fs::create_dir_all(bench.path("root/etc/docker/daemon.json"))?;
    bench.refused(&["myapp:docker"], &["/etc/docker/daemon.json"])
}

fn partitions() -> Result<()> {
    let bench = bench()?;
    bench.write("root/etc/docker/daemon.json", r#"{"data-root": "/data/docker"}"#)?;
    bench.write("root/etc/fstab", "/dev/mmcblk0p4 /data ext4 defaults 0 2\n")?;
    bench.refused(
        &["myapp:docker"],
        &["/dev/mmcblk0p4", "/data", "data-root", "--allow-mounted"],
    )?;
    bench.write("root/etc/fstab", "")?;
    bench.write(
        "root/usr/lib/systemd/system/var-lib-containers.mount",
        "[Mount]\nWhat=/dev/sda5\nWhere=/var/lib/containers\n",
    )?;
    bench.refused(
        &["myapp:podman"],
        &["/dev/sda5", "/var/lib/containers", "graphroot", "--allow-mounted"],
    )?;
    // A data root elsewhere on the same file system is where the store goes.
    bench
        .bundle(Who::writer(), &["--rootfs=root", "myapp:docker"])?
        .success()?;
    ensure!(
        bench
            .path("root/data/docker/image/overlay2/repositories.json")
            .is_file()
    );
    ensure!(!bench.path("root/var/lib/docker").exists());
    Ok(())
}

fn missing() -> Result<()> {
    let bench = bench()?;
    fs::remove_file(bench.path("root/usr/bin/podman"))?;
    bench.refused(
        &["myapp:podman"],
        &["Podman is not installed", "/usr/bin/podman", "--no-target-check"],
    )?;
    fs::remove_file(bench.path("root/usr/sbin/dockerd"))?;
    bench.refused(
        &["myapp:docker"],
        &["Docker is not installed", "dockerd", "--no-target-check"],
    )?;
    fs::remove_file(bench.path("root/usr/lib/systemd/systemd"))?;
    bench.write("root/usr/sbin/dockerd", "#!/bin/sh\n")?;
    bench.refused(
        &["--arch=arm64", "myapp:docker:always"],
        &["no systemd", "--no-target-check"],
    )
}

fn symlinks_inside() -> Result<()> {
    let bench = bench()?;
    // /var is on another place of the root filesystem, by an absolute and by a relative link.
    for (number, target) in ["/data/var", "data/var"].into_iter().enumerate() {
        let root = format!("moved{number}");
        bench.copy("root", &root)?;
        fs::create_dir(bench.path(&format!("{root}/data")))?;
        fs::rename(
            bench.path(&format!("{root}/var")),
            bench.path(&format!("{root}/data/var")),
        )?;
        symlink(target, bench.path(&format!("{root}/var")))?;
        bench
            .bundle(
                Who::writer(),
                &["--rootfs", &root, "myapp:docker:always", "myapp:podman"],
            )?
            .success()?;
        for file in [
            "data/var/lib/docker/image/overlay2/repositories.json",
            "data/var/lib/containers/storage/overlay-images/images.json",
            "usr/lib/systemd/system/container-myapp.service",
        ] {
            ensure!(
                bench.path(&format!("{root}/{file}")).is_file(),
                "{root} lacks {file}"
            );
        }
        ensure!(bench.path(&format!("{root}/var")).is_symlink());
        ensure!(bench.path(&format!("{root}/lib")).is_symlink());
    }
    Ok(())
}

fn symlinks_outside() -> Result<()> {
    for (place, entry) in [
        ("var", "myapp:docker"),
        ("var/lib", "myapp:podman"),
        ("var/lib/docker", "myapp:docker"),
        ("var/lib/containers", "myapp:podman"),
        ("lib", "myapp:docker:always"),
        ("etc/containers", "myapp:podman:always"),
        ("etc/systemd", "myapp:docker:always"),
    ] {
        for up in ["../../../../../../../../../..", "../../outside"] {
            let bench = bench()?;
            let path = bench.path(&format!("root/{place}"));
            if path.is_symlink() {
                fs::remove_file(&path)?;
            } else if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            fs::create_dir(bench.path("outside"))?;
            // As many levels up as lead out, whatever the depth.
            let target = match up {
                "../../outside" => format!("{}outside", "../".repeat(place.split('/').count())),
                _ => format!("{up}{}", bench.path("outside").display()),
            };
            symlink(&target, &path)?;
            bench.refused_in_directory(&[entry], &[&format!("`/{place}` is a symlink to `{target}`")])?;
            bench.refused(&[entry], &["is a symlink to"])?;
            ensure!(names(&bench.path("outside"))?.is_empty());
        }
    }
    // A loop.
    let bench = bench()?;
    symlink("containers", bench.path("root/var/lib/containers"))?;
    bench.refused(&["myapp:podman"], &["/var/lib/containers", "loop"])?;
    // An absolute link leads into the root filesystem, though such a place is outside, too.
    let bench = Bench::new()?;
    bench.image("myapp", &small("myapp"))?;
    fs::create_dir(bench.path("outside"))?;
    symlink(bench.path("outside"), bench.path("root/var/lib/docker"))?;
    let outcome = bench.bundle(Who::writer(), &["--rootfs=root", "myapp:docker"])?;
    ensure!(names(&bench.path("outside"))?.is_empty(), "{}", outcome.stderr);
    Ok(())
}

/// A bench whose root filesystem holds the image `old` in the store of this entry.
fn filled(words: &[&str]) -> Result<Bench> {
    let bench = bench()?;
    bench.image("old", &small("old"))?;
    bench
        .bundle(Who::writer(), &[&["--rootfs=root"], words].concat())?
        .success()?;
    // Under fakeroot owners are only pretended, and the directories are closed to nobody.
    Ok(bench)
}

const GARBAGE: &[&[u8]] = &[
    b"",
    b"{",
    b"garbage",
    b"[[]]",
    b"{\"Repositories\": 7}",
    b"\xff\xfe\0",
    b"[{}]",
];

fn docker_stores() -> Result<()> {
    let bench = filled(&["old:docker"])?;
    let file = "var/lib/docker/image/overlay2/repositories.json";
    for garbage in GARBAGE {
        bench.write(&format!("root/{file}"), garbage)?;
        let outcome = bench.bundle(Who::writer(), &["--rootfs=root", "--dry-run", "myapp:docker"])?;
        ensure!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        bench.refused_in_directory(&["myapp:docker"], &["repositories.json", "store"])?;
    }
    // A layer that the list of layers has and the directory has not.
    let bench = filled(&["old:docker"])?;
    let layers = bench.path("root/var/lib/docker/overlay2");
    for name in names(&layers)?.iter().filter(|name| name.len() == 64) {
        fs::remove_dir_all(layers.join(name))?;
    }
    let outcome = bench.bundle(Who::writer(), &["--rootfs=root", "myapp:docker"])?;
    if !outcome.status.success() {
        crate::bench::check_refusal(&outcome, &["layer"])?;
    }
    Ok(())
}

fn podman_stores() -> Result<()> {
    for file in ["overlay-layers/layers.json", "overlay-images/images.json"] {
        let bench = filled(&["old:podman"])?;
        for garbage in GARBAGE
            .iter()
            .filter(|garbage| **garbage != b"{\"Repositories\": 7}" && **garbage != b"")
        {
            bench.write(&format!("root/var/lib/containers/storage/{file}"), garbage)?;
            bench.refused_in_directory(&["myapp:podman"], &[file, "store"])?;
        }
    }
    Ok(())
}

fn containerd_stores() -> Result<()> {
    let bench = filled(&["--docker-store=containerd", "old:docker"])?;
    let mut databases = Vec::new();
    let found = e2e::tree::read(&bench.path("root/var/lib"))?;
    for path in found.keys().filter(|path| path.ends_with(".db")) {
        databases.push(format!("root/var/lib/{path}"));
    }
    ensure!(databases.len() == 2, "{databases:?}");
    for database in databases {
        let whole = fs::read(bench.path(&database))?;
        let name = database.rsplit('/').next().unwrap_or_default();
        for bad in [&b"garbage"[..], &whole[..whole.len() / 3], &[0; 65536]] {
            bench.write(&database, bad)?;
            bench.refused_in_directory(&["--docker-store=containerd", "myapp:docker"], &[name])?;
        }
        bench.write(&database, whole)?;
    }
    Ok(())
}

fn in_the_way() -> Result<()> {
    for (place, entry) in [
        ("var/lib/docker", "myapp:docker"),
        ("var/lib/docker/overlay2", "myapp:docker"),
        ("var/lib/containers", "myapp:podman"),
        ("var/lib/containers/storage/overlay", "myapp:podman"),
        ("etc/containers/systemd", "myapp:podman:always"),
        ("etc/systemd", "myapp:docker:always"),
    ] {
        let bench = bench()?;
        bench.write(&format!("root/{place}"), "a file")?;
        bench.refused_in_directory(&[entry], &[&format!("/{place}")])?;
    }
    Ok(())
}
