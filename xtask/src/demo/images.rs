//! The images of the demo, made by umoci from unpacked Debian packages: a base with busybox and time zones, and two
//! applications on top of it, a shell script and a Lua program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use e2e::process::Command;
use serde_json::Value;
use vcontainer_guest::Engine;

use super::packages;

/// One image, with what a bit-exact copy of it must show.
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    /// Whose image it is.
    pub(super) engine: Engine,
    /// The arguments with which it does once what it does for ever.
    pub(super) once: &'static [&'static str],
    /// Digest of the configuration.
    pub(super) config: String,
    /// Digests of the uncompressed layers.
    pub(super) diff_ids: Vec<String>,
}

const CLOCK: &str = "#!/bin/sh\n\
    # Prints the time of three cities every ten seconds, for ever or once.\n\
    while true; do\n\
    for zone in Asia/Tokyo Europe/Berlin America/New_York; do\n\
    echo \"$zone $(TZ=:/usr/share/zoneinfo/$zone date '+%H:%M:%S') on $(uname -m)\"\n\
    done\n\
    [ \"$1\" = once ] && exit\n\
    sleep 10\n\
    done\n";

const GREETER: &str = "-- Prints a greeting every ten seconds, for ever or once.\n\
    local number = 0\n\
    while true do\n\
    number = number + 1\n\
    local machine = io.popen(\"uname -m\"):read()\n\
    print(\"greeting \" .. number .. \" from \" .. _VERSION .. \" on \" .. machine)\n\
    io.stdout:flush()\n\
    if arg[1] == \"once\" then os.exit() end\n\
    os.execute(\"sleep 10\")\n\
    end\n";

/// Makes both images below `images`, as layouts that `vcontainer bundle` finds by name.
pub(super) fn make(images: &Path, archives: &Path) -> Result<Vec<Container>> {
    if images.exists() {
        fs::remove_dir_all(images).with_context(|| format!("removing {}", images.display()))?;
    }
    let work = images.with_file_name("work");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    let base = work.join("base");
    fs::create_dir_all(images).with_context(|| format!("making {}", images.display()))?;

    let busybox = work.join("busybox");
    merged_usr(&busybox)?;
    packages::unpack(archives, |package| package == "busybox-static", &busybox)?;
    for applet in ["cat", "date", "echo", "env", "ls", "ps", "sh", "sleep", "uname"] {
        symlink("busybox", busybox.join("usr/bin").join(applet)).context("linking busybox")?;
    }
    write(
        &busybox.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n",
        0o644,
    )?;
    let zones = work.join("zones");
    packages::unpack(archives, |package| package == "tzdata", &zones)?;
    umoci(&["init", "--layout"], &base)?;
    umoci(&["new", "--image"], &tagged(&base))?;
    umoci(
        &["config", "--architecture=arm64", "--os=linux", "--image"],
        &tagged(&base),
    )?;
    add_layer(&base, &busybox, "Debian arm64 busybox-static")?;
    add_layer(&base, &zones, "Debian arm64 tzdata")?;

    let clock = work.join("clock");
    write(&clock.join("usr/bin/clock"), CLOCK, 0o755)?;
    let clock_image = images.join("demo-clock");
    copy(&base, &clock_image)?;
    add_layer(&clock_image, &clock, "clock")?;
    umoci(
        &["config", "--config.entrypoint=/usr/bin/clock", "--image"],
        &tagged(&clock_image),
    )?;

    let lua = work.join("lua");
    packages::unpack(
        archives,
        |package| package != "busybox-static" && package != "tzdata",
        &lua,
    )?;
    let greeter = work.join("greeter");
    write(&greeter.join("usr/share/greeter/greeter.lua"), GREETER, 0o644)?;
    let greeter_image = images.join("demo-greeter");
    copy(&base, &greeter_image)?;
    add_layer(&greeter_image, &lua, "Debian arm64 lua5.4 and what it needs")?;
    add_layer(&greeter_image, &greeter, "greeter")?;
    umoci(
        &[
            "config",
            "--config.entrypoint=/usr/bin/lua5.4",
            "--config.cmd=/usr/share/greeter/greeter.lua",
            "--image",
        ],
        &tagged(&greeter_image),
    )?;
    Ok(vec![
        Container {
            purpose: "prints the time of three cities; Docker starts it at boot",
            once: &["once"],
            ..read(&clock_image, "demo-clock", Engine::Docker)?
        },
        Container {
            purpose: "a Lua program that greets; Podman starts it at boot",
            once: &["/usr/share/greeter/greeter.lua", "once"],
            ..read(&greeter_image, "demo-greeter", Engine::Podman)?
        },
    ])
}

/// `/bin`, `/sbin` and `/lib` as links, which Debian's packages rely on.
fn merged_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib"] {
        let path = root.join("usr").join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        symlink(format!("usr/{name}"), root.join(name)).with_context(|| format!("linking {name}"))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("writing {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Command::new("cp")
        .arg("--recursive")
        .arg(from)
        .arg(to)
        .output()
        .map(|_| ())
}

fn tagged(layout: &Path) -> std::path::PathBuf {
    let mut tagged = layout.as_os_str().to_owned();
    tagged.push(":latest");
    tagged.into()
}

fn umoci(words: &[&str], image: &Path) -> Result<()> {
    Command::new("umoci").args(words).arg(image).output().map(|_| ())
}

/// Packs a directory, everything owned by root, and puts it on top of the image.
fn add_layer(layout: &Path, directory: &Path, purpose: &str) -> Result<()> {
    let tar = directory.with_extension("tar");
    Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@1700000000",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--create",
        ])
        .arg("--file")
        .arg(&tar)
        .arg("--directory")
        .arg(directory)
        .arg(".")
        .output()?;
    Command::new("umoci")
        .args(["raw", "add-layer"])
        .arg(format!("--history.created_by={purpose}"))
        .arg("--image")
        .arg(tagged(layout))
        .arg(&tar)
        .output()
        .map(|_| ())
}

/// Reads from the layout what the image is.
fn read(layout: &Path, name: &'static str, engine: Engine) -> Result<Container> {
    let json = |path: &Path| -> Result<Value> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    };
    let blob = |digest: &Value| -> Result<Value> {
        let digest = digest.as_str().context("a descriptor without a digest")?;
        json(&layout.join("blobs").join(digest.replace(':', "/")))
    };
    let index = json(&layout.join("index.json"))?;
    let manifest = blob(&index["manifests"][0]["digest"])?;
    let config = &manifest["config"]["digest"];
    let diff_ids = blob(config)?["rootfs"]["diff_ids"].clone();
    Ok(Container {
        name,
        purpose: "",
        engine,
        once: &[],
        config: config
            .as_str()
            .context("a manifest without a configuration")?
            .to_owned(),
        diff_ids: serde_json::from_value(diff_ids).context("a configuration without layers")?,
    })
}
