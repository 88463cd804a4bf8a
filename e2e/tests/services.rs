//! Generated services before their judges: systemd's own parser and Podman's own generator, in root filesystems that
//! have the engines' units.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use e2e::debian::Suite;
use e2e::layout::{Compression, Layout};
use e2e::machine::{Builder, Machine, scratch_directory};
use e2e::probe;
use e2e::trials::Trials;
use e2e::units;
use vcontainer_bundle::config::BundleFile;
use vcontainer_bundle::find::Places;
use vcontainer_bundle::grammar::Runtime;
use vcontainer_bundle::plan::{Plan, PlanOptions};
use vcontainer_bundle::service::ServiceFile;
use vcontainer_bundle::target::{Target, Trust, docker};
use vcontainer_image::{OpenOptions, Platform};
use vcontainer_store::Rootfs;

/// Everything that quoting can get wrong, for either engine.
const OPTIONS: &str = r#"
ports = ["8080:80", "127.0.0.1:53:53/udp"]
volumes = ["/data/my app:/var/lib/myapp:rw", "data:/d"]
environment = { GREETING = "it's $5 or 100% \"quoted\" \\ back", LINES = "a\nb\tc", SEMI = ";", UNI = "größe" }
capabilities = ["NET_ADMIN", "SYS_TIME"]
network = "host"
args = ["--memory", "64m", "--label", "x=a b;c"]
command = ["sh", "-c", "echo \"$GREETING\"; printf '%s\\n' ${X} # done", "end"]
"#;

/// The words of [`OPTIONS`] that need quotes, as systemd shows a command that it has parsed: `%%` is `%` again, and
/// `$$` becomes `$` only when the command is run.
const SHOWN: [&str; 6] = [
    r#" "/data/my app:/var/lib/myapp:rw" "#,
    r#" "GREETING=it's \$\$5 or 100% \"quoted\" \\ back" "#,
    r#" "LINES=a\nb\tc" "#,
    r#" --memory 64m --label "x=a b;c" "#,
    r#" sh -c "echo \"\$\$GREETING\"; printf '%s\\n' \$\${X} # done" end"#,
    " UNI=größe ",
];

fn main() -> ExitCode {
    let mut trials = Trials::new();
    for suite in Suite::WITH_ENGINES {
        trials.engine(suite, "systemd_accepts_every_service", move || {
            let machine = Builder::new(suite).start()?;
            let units = install(&machine, suite)?;
            ensure!(units.len() == 6, "six containers, {units:?}");
            units::verify(&machine, &units)
        });
    }
    // The systemd of later releases does not start on the cgroups of every test machine.
    for suite in [Suite::Bookworm, Suite::Trixie] {
        trials.engine(
            suite,
            "systemd_understands_the_words_that_were_meant",
            move || {
                let machine = Builder::new(suite).start()?;
                let units = install(&machine, suite)?;
                let names: Vec<&str> = units
                    .iter()
                    .filter_map(|unit| Path::new(unit).file_name()?.to_str())
                    .collect();
                machine.write(
                    "/etc/systemd/system/all.target",
                    &format!("[Unit]\nDescription=all\nWants={}\n", names.join(" ")),
                )?;
                let dump = machine
                    .command("setpriv")
                    .args([
                        "--reuid=65534",
                        "--regid=65534",
                        "--clear-groups",
                        "env",
                        "HOME=/tmp",
                        "XDG_RUNTIME_DIR=/tmp",
                    ])
                    .arg(format!(
                        "SYSTEMD_UNIT_PATH={}:/etc/systemd/system:/usr/lib/systemd/system",
                        units::GENERATED
                    ))
                    .args(["/lib/systemd/systemd", "--test", "--user", "--unit=all.target"])
                    .output()?;
                for engine in ["docker", "podman"] {
                    let start = format!("Command Line: /usr/bin/{engine} run ");
                    let line = dump
                        .lines()
                        .find(|line| line.contains(&start) && line.contains(" --memory "))
                        .with_context(|| format!("no `{start}` in the units that systemd has read"))?;
                    // systemd 252 quotes more than later ones.
                    let line = line.replace("\"UNI=größe\"", "UNI=größe");
                    for words in SHOWN {
                        ensure!(line.contains(words), "`{words}` is not in:\n{line}");
                    }
                }
                Ok(())
            },
        );
    }
    trials.run()
}

/// The services of three containers for each engine: without options, with all of them, and one that is to end.
fn services(suite: Suite) -> Result<Vec<ServiceFile>> {
    let scratch = scratch_directory()?;
    let mut layout = Layout::create(scratch.path().join("app-oci"))?;
    let descriptor = layout.add(&probe::image("amd64", &suite.busybox()?), Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    let mut text = String::new();
    for engine in ["docker", "podman"] {
        for (name, rest) in [
            ("plain", "policy = 'autostart'"),
            ("full", &format!("policy = 'on-failure'{OPTIONS}")),
            ("once", "policy = 'no'"),
        ] {
            text.push_str(&format!(
                "[[container]]\nsource = './app-oci'\nname = 'app:1'\ncontainer-name = '{engine}-{name}'\n\
                 runtime = '{engine}'\n{rest}\n"
            ));
        }
    }
    let file = BundleFile::parse(&text, &scratch.path().join("bundle.toml"), Runtime::Docker)?;
    let target = Target::read(Some(Rootfs::open(&suite.path()?)?), Trust::default())?;
    let options = PlanOptions {
        places: Places::default(),
        open: OpenOptions::new(Platform::for_machine("x86_64")?),
        docker_store: docker::Store::Overlay2,
    };
    Ok(Plan::new(&file.requests, &target, &options)?.services)
}

/// Puts the services into the machine and gives the paths of all units.
fn install(machine: &Machine, suite: Suite) -> Result<Vec<String>> {
    let services = services(suite)?;
    let quadlets = services
        .iter()
        .any(|service| service.path.ends_with(".container"));
    ensure!(
        quadlets == (suite != Suite::Bookworm),
        "Podman 4.3 has no Quadlet, later ones have"
    );
    let files = services.iter().map(|service| {
        let text = std::str::from_utf8(&service.content)?;
        Ok((service.path.clone(), text.to_owned()))
    });
    units::install(machine, &files.collect::<Result<Vec<_>>>()?)
}
