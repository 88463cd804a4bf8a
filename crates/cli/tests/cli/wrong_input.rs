//! Wrong input: one clear error, a non-zero exit, nothing written.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fixture::{Bench, layout};

/// Runs `bundle --images deploy --rootfs root ARGUMENTS`; it must fail like this and leave the root as it was.
#[track_caller]
fn refused(bench: &Bench, arguments: &[&str], says: &[&str]) {
    let before = bench.tree();
    let ran = bench.run(
        &[
            &[
                "bundle",
                "--images",
                "deploy",
                "--rootfs",
                "root",
                "--no-sync",
                "--quiet",
            ],
            arguments,
        ]
        .concat(),
    );
    let message = ran.stderr();
    assert_eq!(ran.code(), 1, "{message}");
    assert_eq!(ran.stdout(), "");
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    for part in says {
        assert!(message.contains(part), "the message lacks `{part}`:\n{message}");
    }
    assert_eq!(bench.tree(), before);
}

#[test]
fn entries() {
    let bench = Bench::new(&["myapp-latest-oci", "x-1.0-oci"]);
    for (entry, says) in [
        (
            "myapp:dokcer",
            vec![
                "entry `myapp:dokcer`",
                "`dokcer` is not a runtime",
                "docker, podman",
            ],
        ),
        (
            "myapp:docker:sometimes",
            vec!["`sometimes` is not a policy", "on-failure"],
        ),
        (
            "other:docker",
            vec![
                "no image `other`",
                "`other-latest-oci`",
                "bitbake other",
                "`deploy`",
            ],
        ),
        (
            "docker.io/library/redis:7:docker",
            vec!["remote image", "--image docker.io/library/redis:7=DIR"],
        ),
        (
            "myapp:docker:always myapp:docker:no",
            vec!["contradict each other", "`always` and `no`"],
        ),
        (
            "x-1.0-oci:docker:always",
            vec!["`x` cannot be the name of a container"],
        ),
    ] {
        refused(&bench, &[entry], &says);
    }
    refused(&bench, &[], &["nothing to bundle"]);
    refused(&bench, &["--image", "typo=x", "myapp"], &["--image names `typo`"]);
    refused(
        &bench,
        &["--service", "myapp=missing.service", "myapp"],
        &["missing.service", "No such file"],
    );
    refused(
        &bench,
        &["--config", "missing.toml"],
        &["missing.toml", "No such file"],
    );
    bench.write("bad.toml", b"[[container]]\nsource = 'x'\nport = ['80:80']\n");
    refused(
        &bench,
        &["--config", "bad.toml"],
        &["bad.toml", "line 3", "unknown field `port`", "ports"],
    );
}

#[test]
fn images() {
    let bench = Bench::new(&[
        "myapp-latest-oci",
        "cut-latest-oci",
        "bad-latest-oci",
        "gone-latest-oci",
    ]);
    layout(&bench.path("deploy/amd-latest-oci"), "amd", "amd64");
    refused(
        &bench,
        &["amd:docker"],
        &["entry `amd:docker`", "linux/arm64", "linux/amd64"],
    );
    let blobs = |name: &str| -> Vec<std::path::PathBuf> {
        let directory = bench.path(&format!("deploy/{name}-latest-oci/blobs/sha256"));
        let mut paths: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        // The layers, which are the largest.
        paths.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        paths
    };
    fs::remove_file(&blobs("gone")[0]).unwrap();
    refused(&bench, &["gone:docker"], &["is missing"]);
    let cut = &blobs("cut")[0];
    fs::write(cut, &fs::read(cut).unwrap()[..700]).unwrap();
    refused(&bench, &["cut:docker"], &["truncated"]);
    let bad = &blobs("bad")[0];
    let mut content = fs::read(bad).unwrap();
    content[512] ^= 1;
    fs::write(bad, content).unwrap();
    // What is found while layers are read, where an ordinary user may write.
    for (arguments, says) in [
        (vec!["bad:podman"], "has the digest sha256:"),
        (vec!["--max-layer-size", "100", "myapp:docker"], "100"),
    ] {
        refused(
            &bench,
            &[&["--tar", "x.tar"], &arguments[..]].concat(),
            &["layer ", "-latest-oci", says],
        );
        let left: Vec<_> = fs::read_dir(bench.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "only deploy and root should be there: {left:?}");
    }
    bench.write("deploy/text.tar", b"not an archive");
    refused(
        &bench,
        &["--image", "text=deploy/text.tar", "text:docker"],
        &["text.tar", "is not an image"],
    );
}

#[test]
fn targets() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    refused(
        &bench,
        &["--arch", "x86_64", "myapp:docker"],
        &["linux/amd64", "linux/arm64"],
    );
    refused(
        &bench,
        &["--arch", "vax", "myapp:docker"],
        &["`vax` is no known architecture"],
    );
    refused(
        &bench,
        &[
            "--docker-store",
            "containerd",
            "--image=myapp=nowhere",
            "myapp:docker",
        ],
        &["nowhere"],
    );
    bench.write(
        "root/etc/fstab",
        b"/dev/mmcblk0p4 /var/lib/docker ext4 defaults 0 2\n",
    );
    refused(
        &bench,
        &["myapp:docker"],
        &["/dev/mmcblk0p4", "data-root", "--allow-mounted"],
    );
    bench.write("root/etc/containers/storage.conf", b"[storage]\ndriver = 'vfs'\n");
    refused(
        &bench,
        &["myapp:podman"],
        &["driver = \"vfs\"", "/etc/containers/storage.conf"],
    );
    fs::remove_file(bench.path("root/usr/bin/podman")).unwrap();
    refused(
        &bench,
        &["myapp:podman"],
        &["Podman is not installed", "--no-target-check"],
    );
    fs::remove_file(bench.path("root/lib")).unwrap();
    symlink("../elsewhere", bench.path("root/lib")).unwrap();
    refused(
        &bench,
        &["myapp:docker:always", "--allow-mounted"],
        &["`/lib` is a symlink to `../elsewhere`"],
    );
    let ran = bench.run(&["bundle", "--rootfs", "nowhere", "myapp"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("nowhere"), "{}", ran.stderr());
}

#[test]
fn outputs_and_settings() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    let common = ["bundle", "--images=deploy", "--arch=aarch64", "myapp"];
    let ran = bench.run(&[&common[..], &["--tar", "no/such/x.tar"]].concat());
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("no/such/x.tar"), "{}", ran.stderr());
    let ran = bench.run_with(
        &[&common[..], &["--tar", "-"]].concat(),
        &[("SOURCE_DATE_EPOCH", "yesterday")],
    );
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("SOURCE_DATE_EPOCH"), "{}", ran.stderr());
    let ran = bench.run(&["bundle", "--images=deploy", "--tar", "-", "myapp"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("--arch"), "{}", ran.stderr());
    for usage in [
        vec!["bundle", "myapp"],
        vec!["bundle", "--tar", "-", "--no-such-option"],
        vec!["bundle", "--tar", "-", "--max-layer-size", "big", "myapp"],
        vec!["bundle", "--tar", "-", "--max-layer-entries", "0", "myapp"],
        vec!["bundle", "--tar", "-", "--image", "myapp", "myapp"],
        vec!["nonsense"],
    ] {
        assert_eq!(bench.run(&usage).code(), 2, "{usage:?}");
    }
}
