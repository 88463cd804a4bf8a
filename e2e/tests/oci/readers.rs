//! umoci, skopeo and GNU tar as independent readers.

use std::fs;

use anyhow::{Result, ensure};
use e2e::machine::scratch_directory;
use e2e::person::Person;
use e2e::process::Command;
use e2e::{tool, tree};

use crate::content;

/// What umoci unpacks is what was there.
pub fn unpack_what_was_there() -> Result<()> {
    let scratch = scratch_directory()?;
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("base.tar"), content::base(b"no program"))?;
    fs::create_dir(path("root"))?;
    Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(path("base.tar"))
        .arg("-C")
        .arg(path("root"))
        .output()?;
    tool::vcontainer(&[
        "oci",
        "build",
        "--arch",
        "aarch64",
        "--tar",
        "--label",
        "note=with spaces",
        "--quiet",
    ])?
    .arg("--rootfs")
    .arg(path("root"))
    .arg("--output")
    .arg(scratch.path())
    .arg("image")
    .output()?;
    let reference = format!("{}:latest", path("image-latest-oci").display());
    Command::new("umoci")
        .args(["unpack", "--image", &reference])
        .arg(path("unpacked"))
        .output()?;
    let mut expected = tree::read(&path("root"))?;
    let mut found = tree::read(&path("unpacked/rootfs"))?;
    // Those of links and special files are all the same (docs/guide/images.md, "Times").
    for entry in expected.values_mut().chain(found.values_mut()) {
        if !entry.kind.starts_with("file") {
            entry.mtime = None;
        }
    }
    let differences = tree::differences(&expected, &found);
    ensure!(differences.is_empty(), "{differences:#?}");
    // skopeo reads every blob and compares its digest.
    Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--quiet",
            &format!("oci:{reference}"),
        ])
        .arg(format!(
            "docker-archive:{}:image:latest",
            path("copy.tar").display()
        ))
        .output()?;
    let shown = Command::new("skopeo")
        .args([
            "inspect",
            "--format",
            "{{.Architecture}} {{len .Layers}} {{.Labels.note}}",
        ])
        .arg(format!("oci:{reference}"))
        .output()?;
    assert_eq!(shown, "arm64 1 with spaces\n");
    // Both tar files hold the layout.
    for (archive, inside) in [
        ("image-latest-oci.tar", "."),
        ("image-latest-oci-dir.tar", "image-latest-oci"),
    ] {
        let place = path("from a tar").join(archive);
        fs::create_dir_all(&place)?;
        Command::new("tar")
            .arg("-xf")
            .arg(path(archive))
            .arg("-C")
            .arg(&place)
            .output()?;
        Command::new("diff")
            .arg("-r")
            .arg(path("image-latest-oci"))
            .arg(place.join(inside))
            .output()?;
    }
    Ok(())
}

/// An ordinary user under fakeroot: the layer has the owners that fakeroot shows.
pub fn fakeroot_keeps_owners() -> Result<()> {
    let person = Person::new()?;
    let script = "mkdir -p root/etc && echo secret > root/etc/shadow && chown 0:42 root/etc/shadow && chmod 640 root/etc/shadow
        mknod root/null c 1 3
        vcontainer oci build --arch x86_64 --rootfs root --quiet shadow";
    person.command("fakeroot").args(["sh", "-euc", script]).output()?;
    let blobs = person.path("work/shadow-latest-oci/blobs/sha256");
    let list = person
        .command("sh")
        .args([
            "-euc",
            "for blob in \"$1\"/*; do tar --numeric-owner -tvzf \"$blob\" 2>/dev/null || true; done",
            "sh",
        ])
        .arg(blobs)
        .output()?;
    let lines: Vec<String> = list
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[1], words[words.len() - 1])
        })
        .collect();
    assert_eq!(
        lines,
        [
            "drwxr-xr-x 0/0 ./",
            "drwxr-xr-x 0/0 etc/",
            "-rw-r----- 0/42 etc/shadow",
            "crw-r--r-- 0/0 null"
        ]
    );
    Ok(())
}
