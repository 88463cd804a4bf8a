//! Entries, options and bundle.toml files that are wrong or contradict each other.

use anyhow::Result;
use e2e::layout::{Compression, Layout};
use e2e::process::Command;
use e2e::trials::Trials;

use crate::bench::{Bench, check_refusal, small};
use crate::who::Who;

pub fn add(trials: &mut Trials) {
    let mut add =
        |name: &str, test: fn() -> Result<()>| trials.anywhere(&format!("wrong_requests::{name}"), test);
    add("entries", entries);
    add("one_name_for_different_images", names);
    add("one_unit_for_different_containers", units);
    add("contradictory_policies", policies);
    add("bundle_toml", bundle_toml);
    add("service_files", services);
    add("options", options);
    add("outputs", outputs);
}

/// A bench with these small images, all different.
fn with(images: &[&str]) -> Result<Bench> {
    let bench = Bench::new()?;
    for name in images {
        bench.image(name, &small(name))?;
    }
    Ok(bench)
}

fn entries() -> Result<()> {
    let bench = with(&["myapp"])?;
    for (entry, says) in [
        ("myapp:dokcer", &["`dokcer`", "docker, podman", "on-failure"][..]),
        (
            "myapp:docker:autostrat",
            &["`autostrat`", "autostart, always, unless-stopped, on-failure, no"],
        ),
        ("myapp:docker:podman", &["`podman`", "one field too many"]),
        ("myapp:docker:", &["field 3 is empty"]),
        (":docker", &["no name"]),
        ("../myapp:docker", &["`../myapp`", "--image NAME=../myapp"]),
        ("my app:docker", &["`my`"]),
        ("myapp;reboot:docker", &["is not a name"]),
        ("$(reboot):docker", &["is not a name"]),
    ] {
        bench.refused(&[entry], says)?;
    }
    bench.refused(&[], &["nothing to bundle", "myapp:docker:autostart"])?;
    bench.refused(&[""], &["nothing to bundle"])?;
    bench.refused(&["--image=typo=deploy", "myapp"], &["--image names `typo`"])?;
    bench.refused(
        &["--image=myapp=a", "--image=myapp=b", "myapp"],
        &["--image names `myapp` twice"],
    )
}

fn names() -> Result<()> {
    let bench = with(&["myapp", "other"])?;
    let config = |runtime: &str| {
        format!(
            "[[container]]\nsource = 'myapp'\nruntime = '{runtime}'\n\
             [[container]]\nsource = 'other'\nname = 'myapp:latest'\nruntime = '{runtime}'\n"
        )
    };
    for (runtime, name) in [
        ("docker", "docker.io/library/myapp:latest"),
        ("podman", "localhost/myapp:latest"),
    ] {
        bench.write("bundle.toml", config(runtime))?;
        bench.refused(
            &["--config=bundle.toml"],
            &["bundle.toml", "contradict each other", name, "the images differ"],
        )?;
    }
    // The same name and the same content is one image.
    bench.image("again", &small("myapp"))?;
    bench.write("bundle.toml", config("docker").replace("'other'", "'again'"))?;
    let words = ["--rootfs=root", "--tar=out/x.tar", "--config=bundle.toml"];
    bench.bundle(Who::Ordinary, &words)?.success()?;
    Ok(())
}

fn units() -> Result<()> {
    let bench = with(&["myapp", "other"])?;
    bench.write(
        "bundle.toml",
        "[[container]]\nsource = 'myapp'\npolicy = 'always'\n\
         [[container]]\nsource = 'other'\npolicy = 'always'\ncontainer-name = 'myapp'\n",
    )?;
    bench.refused(&["--config=bundle.toml"], &["contradict each other", "`myapp`"])?;
    // Docker's unit and one of a Podman that is too old for Quadlet have one path.
    let status = "Package: podman\nStatus: install ok installed\nVersion: 4.3.1+ds1-8\n";
    bench.write("root/var/lib/dpkg/status", status)?;
    bench.refused(
        &["myapp:docker:always", "myapp:podman:always"],
        &[
            "contradict each other",
            "container-myapp.service",
            "container-name",
        ],
    )
}

fn policies() -> Result<()> {
    let bench = with(&["myapp"])?;
    bench.refused(
        &["myapp:docker:always", "myapp:docker:no"],
        &[
            "`myapp:docker:always`",
            "`myapp:docker:no`",
            "contradict each other",
        ],
    )?;
    bench.write("bundle.toml", "[[container]]\nsource = 'myapp'\npolicy = 'no'\n")?;
    bench.refused(
        &["--config=bundle.toml", "myapp:docker:on-failure"],
        &[
            "bundle.toml",
            "`myapp:docker:on-failure`",
            "contradict each other",
        ],
    )?;
    // The same twice is no contradiction.
    let words = [
        "--rootfs=root",
        "--tar=out/x.tar",
        "myapp:docker:always",
        "myapp:docker:always",
    ];
    bench.bundle(Who::Ordinary, &words)?.success()?;
    Ok(())
}

fn bundle_toml() -> Result<()> {
    let bench = with(&["myapp"])?;
    bench.refused(&["--config=missing.toml"], &["missing.toml", "No such file"])?;
    for (text, says) in [
        ("[[container]\n", &["line 1"][..]),
        (
            "[[container]]\nsource = 'myapp'\nport = ['80']\n",
            &["line 3", "`port`", "ports"],
        ),
        ("[[container]]\nname = 'myapp'\n", &["source"]),
        ("[[container]]\nsource = 7\n", &["line 2", "string"]),
        (
            "[[container]]\nsource = 'myapp'\nruntime = 'containerd'\n",
            &["line 3", "containerd", "docker", "podman"],
        ),
        (
            "[[container]]\nsource = 'myapp'\npolicy = 'sometimes'\n",
            &["line 3", "sometimes", "on-failure"],
        ),
        (
            "[[container]]\nsource = './nowhere'\nname = 'x'\n",
            &["nowhere", "No such file"],
        ),
        ("[[container]]\nsource = './deploy/myapp-latest-oci'\n", &["name"]),
        (
            "[[container]]\nsource = 'myapp'\nname = 'No Such:Name'\n",
            &["No Such:Name"],
        ),
        (
            "[[container]]\nsource = 'myapp'\nports = ['80:80']\n",
            &["policy"],
        ),
        (
            "[[container]]\nsource = 'myapp'\nselect = 'v9'\n",
            &["`v9`", "latest"],
        ),
        ("arch = 'vax'\n[[container]]\nsource = 'myapp'\n", &["`vax`"]),
        ("", &["nothing to bundle"]),
        (
            "[[container]]\nsource = 'myapp'\npolicy = 'always'\ncommand = [\"a\\u0000b\"]\n",
            &["myapp"],
        ),
    ] {
        bench.write("bundle.toml", text)?;
        bench.refused(&["--config=bundle.toml"], says)?;
    }
    bench.write("bundle.toml", b"\xff\xfe")?;
    bench.refused(&["--config=bundle.toml"], &["bundle.toml"])
}

fn services() -> Result<()> {
    let bench = with(&["myapp"])?;
    bench.refused(
        &["--service=myapp=nowhere.service", "myapp:docker"],
        &["nowhere.service", "`myapp`", "No such file"],
    )?;
    bench.refused(
        &["--service=myapp=deploy", "myapp:docker"],
        &["`deploy`", "`myapp`"],
    )?;
    bench.refused(
        &["--service=typo=x.service", "myapp:docker"],
        &["--service names `typo`"],
    )
}

fn options() -> Result<()> {
    let bench = with(&["myapp"])?;
    bench.refused(&["--arch=vax", "myapp"], &["`vax` is no known architecture"])?;
    bench.refused(&["--arch=x86_64", "myapp"], &["linux/amd64", "linux/arm64"])?;
    for usage in [
        &["--no-such-option"][..],
        &["--max-layer-size=big", "myapp"],
        &["--max-layer-size=0", "myapp"],
        &["--jobs=0", "myapp"],
        &["--runtime=lxc", "myapp"],
        &["--docker-store=vfs", "myapp"],
        &["--image=myapp", "myapp"],
    ] {
        let outcome = bench.bundle(
            Who::Ordinary,
            &[&["--rootfs=root", "--tar=out/x.tar"], usage].concat(),
        )?;
        assert_eq!(outcome.status.code(), Some(2), "{usage:?}: {}", outcome.stderr);
        bench.nothing_left()?;
    }
    let outcome = bench.bundle(Who::Ordinary, &["myapp"])?;
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.stderr.contains("--rootfs"), "{}", outcome.stderr);
    let outcome = bench
        .command_with(
            Who::Ordinary,
            &["SOURCE_DATE_EPOCH=yesterday"],
            &[
                "./vcontainer",
                "bundle",
                "--images=deploy",
                "--rootfs=root",
                "--tar=out/x.tar",
                "myapp",
            ],
        )
        .outcome()?;
    check_refusal(&outcome, &["SOURCE_DATE_EPOCH", "yesterday"])?;
    bench.nothing_left()?;
    bench.refused_by(Who::Ordinary, &["--tar=out/x.tar", "myapp"], &["--arch aarch64"])
}

fn outputs() -> Result<()> {
    let bench = with(&["myapp"])?;
    let refused = |words: &[&str], says: &[&str]| bench.refused_by(Who::Ordinary, words, says);
    refused(
        &["--rootfs=nowhere", "--tar=out/x.tar", "myapp"],
        &["nowhere", "No such file"],
    )?;
    refused(
        &["--rootfs=vcontainer", "--tar=out/x.tar", "myapp"],
        &["vcontainer", "not a directory"],
    )?;
    refused(
        &["--rootfs=root", "--tar=no/such/x.tar", "myapp"],
        &["no/such/x.tar"],
    )?;
    refused(&["--rootfs=root", "--tar=out", "myapp"], &["out"])?;
    // An ordinary user who does not pretend, in a directory that is somebody else's, and in one of the user's own.
    let outcome = bench.bundle(Who::Ordinary, &["--rootfs=root", "myapp"])?;
    if e2e::privilege::is_root() {
        let into = ["--rootfs=root", "--tar=root/x.tar", "myapp"];
        refused(&into, &["root/x.tar", "Permission denied"])?;
        check_refusal(
            &outcome,
            &["cannot write into the root filesystem /", "fakeroot", "--tar"],
        )?;
    }
    bench.give("root")?;
    refused(&["--rootfs=root", "myapp"], &["fakeroot", "pseudo", "--tar"])?;
    bench.write("closed/file", "")?;
    let _ = Command::new("chmod")
        .arg("0")
        .arg(bench.path("closed"))
        .output()?;
    refused(
        &[
            "--rootfs=root",
            "--tar=out/x.tar",
            "--image=myapp=closed/file",
            "myapp",
        ],
        &["closed/file", "Permission denied"],
    )?;
    refused(
        &[
            "--rootfs=root",
            "--tar=out/x.tar",
            "--temp-dir=nowhere",
            "--image=myapp=packed.tar.gz",
            "myapp",
        ],
        &["packed.tar.gz"],
    )?;
    // Layout with several images and none chosen.
    let mut layout = Layout::create(bench.path("deploy/several"))?;
    for (tag, content) in [("one", "1"), ("two", "2")] {
        let descriptor = layout.add(&small(content), Compression::Zstd)?;
        layout.name(&descriptor, Some(tag))?;
    }
    refused(
        &["--rootfs=root", "--tar=out/x.tar", "several"],
        &["several images", "one", "two"],
    )
}
