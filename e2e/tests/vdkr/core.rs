//! What the document lists, on one machine: images in all forms, containers, standard streams, the machine itself.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use anyhow::{Context, Result, ensure};
use e2e::engine::Saved;
use e2e::layout::Image;
use serde_json::json;
use vcontainer_guest::{Arch, Engine};

use crate::user::{User, holds};

/// A container that says something on both streams, and ends with 3 when it is told to.
pub const SERVICE: &str = "trap 'exit 3' TERM; echo started; echo warned >&2; while :; do sleep 0.1; done";

pub fn every_command_works(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::new(engine, arch)?;
    let image = user.image()?;
    user.layout("my-container-oci", &image)?;
    user.call(&["vmemres", "status"])?
        .is(1, "Daemon not running\n", "")?;
    user.call(&["vmemres", "start"])?.success()?;
    let header = user.output(&["images"])?;
    let columns: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(columns.join(" "), "REPOSITORY TAG IMAGE ID CREATED SIZE");
    let imported = user.call(&["vimport", "./my-container-oci/", "myapp:latest"])?;
    imported.is(0, &user.output(&["images"])?, "")?;
    assert_eq!(user.images()?, user.list(&[("myapp:latest", &image)]));

    memory_resident(&user)?;
    programs(&user)?;
    passed_through(&user)?;
    container(&user)?;
    files(&user, &image)?;
    other_sources(&user, &image)?;

    user.stop()?;
    user.call(&["vmemres", "status"])?
        .is(1, "Daemon not running\n", "")?;
    let cleaned = user.call(&["clean"])?;
    cleaned.is(0, "State cleaned. Next run will start fresh.\n", "")?;
    ensure!(
        !user.state().exists(),
        "{} is still there",
        user.state().display()
    );
    user.person.alone()
}

/// `vmemres status`, `vshell`, and who may reach the machine.
fn memory_resident(user: &User) -> Result<()> {
    let state = user.state();
    let socket = state.join("daemon.sock");
    let expected = format!(
        "Daemon running (PID: {})\nSocket: {}\nArchitecture: {}\nEngine: {}\nAccelerator: ",
        user.supervisor(&state)?.as_raw_nonzero(),
        socket.display(),
        user.arch,
        user.engine,
    );
    let status = user.output(&["vmemres", "status"])?;
    let accelerator = status.strip_prefix(&expected).context(status.clone())?;
    ensure!(
        ["tcg", "kvm"]
            .map(|name| format!("{name}\nStays up: until it is stopped\n"))
            .contains(&accelerator.to_owned()),
        "{status}"
    );
    user.prints(&["vmemres", "start"], &status)?;
    for (path, mode) in [(&state, 0o700), (&socket, 0o700)] {
        let permissions = fs::metadata(path)?.permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{}", path.display());
    }
    ensure!(fs::metadata(&socket)?.file_type().is_socket(), "no socket");
    let shell = user
        .command(&["vshell"])
        .outcome_with(b"uname -m\necho warned >&2\nexit 5\n")?;
    shell.is(5, &format!("{}\n", user.arch), "warned\n")
}

/// Programs in containers: their words, streams and exit codes.
fn programs(user: &User) -> Result<()> {
    let machine = format!("{}\n", user.arch);
    let named = user.command_by_name(&["run", "--rm", "myapp:latest", "uname", "-m"]);
    named.outcome()?.is(0, &machine, "")?;
    // FOO is in the image's environment: whatever runs outside of the container doesn't know it.
    let script = r#"printf '[%s]' "$@" "$FOO"; printf 'warned' >&2; exit 7"#;
    let odd = ["a  b", "", ";", "one\ntwo", "'", "\"$FOO\"", "*", "--help", "-a"];
    let words = [&["run", "--rm", "myapp", "sh", "-c", script, "sh"][..], &odd].concat();
    let shown: String = odd
        .iter()
        .chain(&["bar"])
        .map(|word| format!("[{word}]"))
        .collect();
    user.call(&words)?.is(7, &shown, "warned")?;
    // What isn't UTF-8 arrives at the engine, and comes back.
    let tool = user.engine.tool();
    let script = format!(
        "{tool} -a {} inspect --format \"$(printf 'a\\377 b')\" myapp | od -An -tx1",
        user.arch
    );
    let bytes = user.person.command("sh").args(["-euc", &script]).outcome()?;
    bytes.is(0, " 61 ff 20 62 0a\n", "")?;
    let words = ["run", "--rm", "-i", "myapp", "sh", "-c", "sha256sum; exit 255"];
    let input: Vec<u8> = (0..3_000_000_u32).map(|number| (number >> 7) as u8).collect();
    let digest = e2e::layout::digest(&input).replace("sha256:", "");
    user.command(&words)
        .outcome_with(&input)?
        .is(255, &format!("{digest}  -\n"), "")
}

/// Commands that this side knows nothing of are the engine's, and so is every word behind them.
fn passed_through(user: &User) -> Result<()> {
    let (arch, kinds, code) = match user.engine {
        Engine::Docker => (
            user.arch.name(),
            "Images\nContainers\nLocal Volumes\nBuild Cache\n",
            1,
        ),
        Engine::Podman => (user.arch.debian(), "Images\nContainers\nLocal Volumes\n", 125),
    };
    user.prints(&["system", "df", "--format", "{{.Type}}"], kinds)?;
    let format = match user.engine {
        Engine::Docker => "{{.Architecture}}",
        Engine::Podman => "{{.Host.Arch}}",
    };
    let words = ["--", "--log-level", "error", "info", "--format", format];
    user.prints(&words, &format!("{arch}\n"))?;
    holds(
        &user.output(&["images", "--help"])?,
        &[&format!("{} image", user.engine)],
    )?;
    let unknown = user.call(&["no-such-command"])?;
    assert_eq!(unknown.status.code(), Some(code), "{unknown:?}");
    holds(&unknown.stderr, &["no-such-command"])
}

/// One container from its start to its removal.
fn container(user: &User) -> Result<()> {
    let id = user.output(&["run", "-d", "--name", "service", "myapp", "sh", "-c", SERVICE])?;
    ensure!(id.trim().len() == 64, "{id}");
    let image = match user.engine {
        Engine::Docker => "myapp",
        Engine::Podman => "localhost/myapp:latest",
    };
    let format = "{{.Names}} {{.Image}}";
    user.prints(&["ps", "--format", format], &format!("service {image}\n"))?;
    let words = [
        "exec",
        "service",
        "sh",
        "-c",
        "echo \"$FOO\"; printf warned >&2; exit 9",
    ];
    user.call(&words)?.is(9, "bar\n", "warned")?;
    let read = ["exec", "-i", "service", "cat"];
    user.command(&read)
        .outcome_with(b"through\0cat")?
        .is(0, "through\0cat", "")?;
    // Without -i, nothing of it is taken.
    user.command(&["exec", "service", "cat"])
        .outcome_with(b"lost")?
        .is(0, "", "")?;
    user.call(&["logs", "service"])?.is(0, "started\n", "warned\n")?;
    // Podman kills after ten seconds and warns of it, and an emulated machine can be as slow as that.
    user.prints(&["stop", "-t", "300", "service"], "service\n")?;
    user.prints(&["ps", "-q"], "")?;
    let code = ["inspect", "--format", "{{.State.ExitCode}}", "service"];
    user.prints(&code, "3\n")?;
    user.prints(&["start", "service"], "service\n")?;
    user.prints(&["ps", "--format", "{{.Names}}"], "service\n")?;
    user.remove_running("service")?;
    user.prints(&["ps", "-aq"], "")
}

/// tag, save, rmi, load and import, with files of this computer and with standard input and output.
fn files(user: &User, image: &Image) -> Result<()> {
    let (myapp, other) = (user.shown("myapp:latest"), user.shown("other:1"));
    let both = user.list(&[("myapp:latest", image), ("other:1", image)]);
    let work = user.person.path("work");
    user.prints(&["tag", "myapp", "other:1"], "")?;
    assert_eq!(user.images()?, both);
    let saved = user.output(&["save", "-o", "my app.tar", "other:1"])?;
    ensure!(saved.starts_with("Saved to my app.tar ("), "{saved}");
    assert_eq!(Saved::in_archive(&work.join("my app.tar"))?, Saved::of(image));
    let called = format!("{} -a {}", user.engine.tool(), user.arch);
    let shell = |script: String| user.person.command("sh").args(["-euc", &script]).output();
    assert_eq!(shell(format!("{called} save myapp | gzip > myapp.tar.gz"))?, "");
    assert_eq!(Saved::in_archive(&work.join("myapp.tar.gz"))?, Saved::of(image));
    holds(&user.output(&["rmi", "myapp", "other:1"])?, &[&myapp, &other])?;
    assert_eq!(user.images()?, user.list(&[]));
    let loaded = |name| format!("Loaded image: {name}\n");
    assert_eq!(user.output(&["load", "-i", "my app.tar"])?, loaded(&other));
    assert_eq!(shell(format!("{called} load < myapp.tar.gz"))?, loaded(&myapp));
    assert_eq!(user.images()?, both);

    user.rootfs("rootfs.tar", "from-import")?;
    let id = user.output(&["import", "rootfs.tar", "plain:1"])?;
    ensure!(id.starts_with("sha256:") && id.trim().len() == 71, "{id}");
    let line = format!("{} {}", user.shown("plain:1"), id.trim());
    ensure!(
        user.images()?.contains(&line),
        "{line} is not in {:?}",
        user.images()?
    );
    let layer = e2e::layout::digest(&fs::read(work.join("rootfs.tar"))?);
    let layers = [
        "image",
        "inspect",
        "--format",
        "{{range .RootFS.Layers}}{{.}} {{end}}",
        "plain:1",
    ];
    user.prints(&layers, &format!("{layer} \n"))
}

/// vimport of whatever else holds an image, and vrun.
fn other_sources(user: &User, image: &Image) -> Result<()> {
    let mut program = image.clone();
    program.config = json!({"Env": ["PATH=/bin"], "Entrypoint": ["/bin/echo", "entered"], "Cmd": ["cmd"]});
    user.oci_archive("app.oci.tar", image)?;
    user.docker_archive("program.tar", &program)?;
    user.rootfs("rootfs.tar.gz", "from-vimport")?;
    user.call(&["vimport", "app.oci.tar", "archive:1"])?.success()?;
    user.call(&["vimport", "program.tar", "program:1"])?.success()?;
    user.call(&["vimport", "rootfs.tar.gz"])?.success()?;
    let images = user.images()?;
    let expected = user.list(&[("archive:1", image), ("program:1", &program)]);
    ensure!(expected.is_subset(&images), "{expected:?} are not in {images:?}");
    let arch = [
        "image",
        "inspect",
        "--format",
        "{{.Architecture}}",
        "imported:latest",
    ];
    user.prints(&arch, &format!("{}\n", user.arch.debian()))?;
    let cat = ["vrun", "imported:latest", "/bin/busybox", "cat", "/from-vimport"];
    user.prints(&cat, "this is from-vimport\n")?;
    user.prints(&["vrun", "program:1", "echo", "x y"], "x y\n")?;
    of_packages(user)?;
    user.prints(&["ps", "-aq"], "")
}

/// An image of real packages, in layers, with health check and volume.
fn of_packages(user: &User) -> Result<()> {
    let mut build = user.person.command("vcontainer");
    if let Ok(mirror) = std::env::var("VCONTAINER_MIRROR") {
        build = build.env("VCONTAINER_MIRROR", &mirror);
    }
    build
        .args(["oci", "build", "--quiet", "--arch", user.arch.name()])
        .args(["--suite", "trixie", "--layer", "base:packages:base-files+netbase"])
        .args([
            "--layer",
            "shell:packages:busybox",
            "--env",
            "GREETING=good morning",
        ])
        .args(["--health-cmd", "true", "--volume", "/data", "--cmd", "busybox sh"])
        .arg("packaged")
        .output()?;
    user.call(&["vimport", "packaged-latest-oci", "packaged:1"])?
        .success()?;
    let script = "echo $GREETING; busybox grep ^NAME= /etc/os-release; busybox test -s /etc/protocols";
    user.prints(
        &["vrun", "packaged:1", "busybox", "sh", "-euc", script],
        "good morning\nNAME=\"Debian GNU/Linux\"\n",
    )
}
