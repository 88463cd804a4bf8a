use std::fs;
use std::process::Command;

use crate::fixture::Bench;

const BOTH: [&str; 6] = ["bundle", "--images", "deploy", "--rootfs", "root", "--no-sync"];

fn with<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, rest].concat()
}

/// Only root, or somebody under fakeroot, may give files to root.
pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

#[test]
fn a_root_filesystem_gets_stores_and_units() {
    if !is_root() {
        use std::io::Write as _;
        // `make test` counts this line; not by a macro, whose output the test harness keeps to itself.
        let line = b"\nSKIPPED a_root_filesystem_gets_stores_and_units: needs root\n";
        return std::io::stdout().write_all(line).unwrap();
    }
    let bench = Bench::new(&["myapp-latest-oci", "mydb-latest-oci"]);
    let ran = bench
        .run(&with(
            &BOTH,
            &["myapp:docker:autostart", "mydb:podman:on-failure"],
        ))
        .good();
    assert_eq!(ran.stdout(), "");
    assert!(
        ran.stderr()
            .contains("Docker: overlay2 store in /var/lib/docker: 1 image, 2 of 2 layers"),
        "{}",
        ran.stderr()
    );
    let unit = bench.read("root/usr/lib/systemd/system/container-myapp.service");
    assert!(
        unit.contains("ExecStart=/usr/bin/docker run --rm --name myapp --pull=never myapp:latest\n"),
        "{unit}"
    );
    let link = bench.path("root/etc/systemd/system/multi-user.target.wants/container-myapp.service");
    assert_eq!(
        fs::read_link(link).unwrap().to_str().unwrap(),
        "/lib/systemd/system/container-myapp.service"
    );
    let quadlet = bench.read("root/etc/containers/systemd/mydb.container");
    assert!(
        quadlet.contains("Pull=never\n") && quadlet.contains("Restart=on-failure\n"),
        "{quadlet}"
    );
    let repositories = bench.read("root/var/lib/docker/image/overlay2/repositories.json");
    assert!(
        repositories.contains("myapp:latest") && !repositories.contains("mydb"),
        "{repositories}"
    );
    let images = bench.read("root/var/lib/containers/storage/overlay-images/images.json");
    assert!(images.contains("localhost/mydb:latest"), "{images}");
    // A second run adds, and shares what is there.
    let ran = bench.run(&with(&BOTH, &["mydb:docker"])).good();
    assert!(
        ran.stderr().contains("1 image, 1 of 2 layers written"),
        "{}",
        ran.stderr()
    );
    let repositories = bench.read("root/var/lib/docker/image/overlay2/repositories.json");
    assert!(
        repositories.contains("myapp:latest") && repositories.contains("mydb:latest"),
        "{repositories}"
    );
}

#[test]
fn a_tar_stream_needs_no_root_filesystem_and_is_the_same_every_time() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    let arguments = [
        "bundle",
        "--images",
        "deploy",
        "--arch",
        "aarch64",
        "--tar",
        "-",
        "myapp:docker:autostart",
    ];
    let ran = bench.run(&with(&arguments, &["--quiet"])).good();
    assert_eq!(ran.stderr(), "");
    bench.write("out.tar", ran.stdout_bytes());
    let list = Command::new("tar")
        .arg("-tf")
        .arg(bench.path("out.tar"))
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for path in [
        "./usr/lib/systemd/system/container-myapp.service",
        "./etc/systemd/system/multi-user.target.wants/container-myapp.service",
        "./var/lib/docker/image/overlay2/repositories.json",
    ] {
        assert!(list.lines().any(|line| line == path), "{path} is not in:\n{list}");
    }
    // Merged-usr targets have symlinks of these names.
    assert!(!list.lines().any(|line| line.starts_with("./lib")), "{list}");
    let again = bench.run(&with(&arguments, &["--jobs", "1"])).good();
    assert!(again.stdout_bytes() == ran.stdout_bytes());
    let other = bench
        .run_with(&arguments, &[("SOURCE_DATE_EPOCH", "1700000000")])
        .good();
    assert!(other.stdout_bytes() != ran.stdout_bytes());
    let file = bench
        .run(&[
            "bundle",
            "--images=deploy",
            "--arch=aarch64",
            "--tar=x.tar.zst",
            "myapp",
        ])
        .good();
    assert_eq!(file.stdout(), "");
    assert!(
        fs::read(bench.path("x.tar.zst"))
            .unwrap()
            .starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
    );
}

#[test]
fn the_architecture_and_the_paths_come_from_the_root_filesystem() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    bench.write("root/etc/docker/daemon.json", br#"{"data-root": "/data/docker"}"#);
    let before = bench.tree();
    let ran = bench
        .run(&with(&BOTH, &["--dry-run", "myapp:docker:always myapp:podman"]))
        .good();
    let plan = ran.stdout();
    for part in [
        "Would write for linux/arm64 into the root filesystem root:",
        "Docker: overlay2 store in /data/docker\n",
        "Podman 5.4.2: overlay store in /var/lib/containers/storage\n",
        "  docker.io/library/myapp:latest  ",
        "  localhost/myapp:latest  ",
        "  /lib/systemd/system/container-myapp.service  runs myapp:latest  Restart=always\n",
    ] {
        assert!(plan.contains(part), "the plan lacks `{part}`:\n{plan}");
    }
    assert_eq!(bench.tree(), before);
}

#[test]
fn a_bundle_file_says_the_same_and_more() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    bench.write(
        "conf/bundle.toml",
        b"arch = 'aarch64'\nimages = ['../deploy']\n[[container]]\nsource = 'myapp'\npolicy = 'autostart'\nports = ['80:80']\n",
    );
    let ran = bench
        .run(&["bundle", "--config", "conf/bundle.toml", "--tar", "-", "-q"])
        .good();
    let text = String::from_utf8_lossy(ran.stdout_bytes()).into_owned();
    assert!(text.contains("--pull=never --publish 80:80 myapp:latest"));
}

#[test]
fn custom_services_are_copied_with_a_warning_about_what_will_not_work() {
    let bench = Bench::new(&["myapp-latest-oci"]);
    let service = b"[Service]\nRestart=unless-stopped\nExecStart=/usr/bin/docker run other:1\n";
    bench.write("my.service", service);
    let arguments = [
        "bundle",
        "--images=deploy",
        "--arch=aarch64",
        "--tar=-",
        "-q",
        "--service=myapp=my.service",
        "myapp",
    ];
    let ran = bench.run(&arguments).good();
    assert!(
        ran.stdout_bytes()
            .windows(service.len())
            .any(|window| window == service)
    );
    for part in [
        "warning: service file `my.service`: `Restart=unless-stopped`",
        "the image `other:1`",
        "`myapp:latest`",
    ] {
        assert!(ran.stderr().contains(part), "{}", ran.stderr());
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let bench = Bench::new(&[]);
    for (arguments, part) in [
        (vec!["--help"], "Exit status:"),
        (vec!["bundle", "--help"], "Examples:"),
        (vec!["inspect", "--help"], "--format"),
    ] {
        let ran = bench.run(&arguments).good();
        assert!(ran.stdout().contains(part), "{}", ran.stdout());
    }
    assert!(
        bench
            .run(&["--version"])
            .good()
            .stdout()
            .starts_with("vcontainer ")
    );
}
