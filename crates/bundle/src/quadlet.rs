//! Quadlet files: `.container` descriptions from which Podman's systemd generator makes a unit at boot.
//!
//! Source: podman-systemd.unit(5). A key that the target's generator does not know makes it drop the whole file, so
//! the keys depend on the version: `Pull=` exists since 4.6 and `DefaultDependencies=` in `[Quadlet]` since 5.3.
//! An unknown *section* is no error to any version.

use crate::run_options::RunOptions;
use crate::systemd_text::{UnitFile, command, text, words};
use crate::target::Version;
use crate::unit::{HEADER, RESTART_DELAY, Service, install};

/// The first version with a generator.
pub const SINCE: Version = Version::new(4, 4, 0);
/// The first version that knows `Pull=`.
const PULL_SINCE: Version = Version::new(4, 6, 0);
/// The first version whose generator makes every container wait for the network.
const WAITS_SINCE: Version = Version::new(5, 2, 0);
/// The first version in which that can be turned off.
const WAIT_SETTING_SINCE: Version = Version::new(5, 3, 0);

/// Whether the units of this version wait for the network whatever the file says.
#[must_use]
pub fn waits_for_the_network(version: Option<Version>) -> bool {
    version.is_some_and(|version| (WAITS_SINCE..WAIT_SETTING_SINCE).contains(&version))
}

/// Why these options cannot be given through a Quadlet, if they cannot. The generator takes an empty word for the end
/// of the line and drops what follows it, and writes a lone `;` without quotes, where systemd takes it for the end of
/// the command (seen with 5.4 and 5.8).
#[must_use]
pub fn obstacle(run: &RunOptions) -> Option<&'static str> {
    let mut words = run.args.iter().chain(&run.command);
    let lost = words.any(|word| word.is_empty() || word == ";");
    lost.then_some(
        "Quadlet cannot pass an argument that is empty or a lone `;`; leave it out of `args` and `command`, or give a \
         .service file",
    )
}

/// The Quadlet file of a container for the Podman of this version (`None`: unknown, but with a generator).
#[must_use]
pub fn container(service: &Service<'_>, version: Option<Version>) -> UnitFile {
    let Service {
        container,
        image,
        run,
        ..
    } = service;
    let mut file = UnitFile::new(&HEADER);
    file.section("Unit")
        .line(
            "Description",
            text(&format!("Podman container {container} ({image})")),
        )
        .line("StartLimitIntervalSec", "0");
    let section = file.section("Container");
    section.line("Image", *image).line("ContainerName", *container);
    // The image is in the store: a start never asks a registry.
    match version {
        Some(version) if version >= PULL_SINCE => section.line("Pull", "never"),
        _ => section.line("PodmanArgs", "--pull=never"),
    };
    // The generator takes these values whole and quotes them itself; `%` and `$` reach systemd as they are.
    for port in &run.ports {
        section.line("PublishPort", whole(port));
    }
    // The generator also makes `RequiresMountsFor=` of a volume's path, without quoting it.
    let (odd, plain): (Vec<_>, Vec<_>) = run
        .volumes
        .iter()
        .partition(|volume| volume.contains(char::is_whitespace));
    for volume in plain {
        section.line("Volume", whole(volume));
    }
    for (name, value) in &run.environment {
        section.line("Environment", command([format!("{name}={value}")]));
    }
    if !run.capabilities.is_empty() {
        section.line("AddCapability", words(&run.capabilities));
    }
    if let Some(network) = &run.network {
        section.line("Network", whole(network));
    }
    let odd = odd.iter().flat_map(|volume| ["--volume", volume.as_str()]);
    let args: Vec<&str> = odd.chain(run.args.iter().map(String::as_str)).collect();
    if !args.is_empty() {
        section.line("PodmanArgs", command(args));
    }
    if !run.command.is_empty() {
        section.line("Exec", command(&run.command));
    }
    file.section("Service")
        .line("Restart", service.restart.to_string())
        .line("RestartSec", RESTART_DELAY)
        .line("TimeoutStartSec", "0");
    install(&mut file);
    if version.is_none_or(|version| version >= WAIT_SETTING_SINCE) {
        // Later generators add a wait for the network, meant for images that are still to be pulled.
        file.section("Quadlet").line("DefaultDependencies", "false");
    }
    file
}

/// A value that the generator takes whole and that becomes a word of a command.
fn whole(value: &str) -> String {
    text(value).replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Restart;

    fn quadlet(run: &RunOptions, version: Option<Version>) -> String {
        let service = Service {
            container: "mydb",
            image: "localhost/mydb:latest",
            restart: Restart::Always,
            run,
        };
        container(&service, version).to_string()
    }

    #[test]
    fn a_quadlet_of_a_current_podman_is_exactly_this() {
        let run = RunOptions {
            ports: vec!["5432:5432".to_owned()],
            volumes: vec!["/data/db:/var/lib/db:Z".to_owned(), "/my data:/d".to_owned()],
            environment: [
                ("A".to_owned(), "b c".to_owned()),
                ("PASSWORD".to_owned(), "$ec%ret".to_owned()),
            ]
            .into(),
            capabilities: vec!["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()],
            network: Some("host".to_owned()),
            args: vec!["--memory".to_owned(), "64m".to_owned()],
            command: vec!["serve".to_owned(), "all of it".to_owned()],
        };
        assert_eq!(
            quadlet(&run, Some(Version::new(5, 4, 2))),
            "# Written by `vcontainer bundle`. To change it, give a file of your own (`service` in bundle.toml,
# --service, CONTAINER_SERVICE_FILE) instead of editing this one.

[Unit]
Description=Podman container mydb (localhost/mydb:latest)
StartLimitIntervalSec=0

[Container]
Image=localhost/mydb:latest
ContainerName=mydb
Pull=never
PublishPort=5432:5432
Volume=/data/db:/var/lib/db:Z
Environment=\"A=b c\"
Environment=PASSWORD=$$ec%%ret
AddCapability=NET_ADMIN SYS_TIME
Network=host
PodmanArgs=--volume \"/my data:/d\" --memory 64m
Exec=serve \"all of it\"

[Service]
Restart=always
RestartSec=5s
TimeoutStartSec=0

[Install]
WantedBy=multi-user.target

[Quadlet]
DefaultDependencies=false
"
        );
    }

    #[test]
    fn words_that_the_generator_loses_are_obstacles() {
        for (word, lost) in [("", true), (";", true), ("; ", false), ("a;b", false)] {
            let run = RunOptions {
                command: vec!["sh".to_owned(), word.to_owned()],
                ..RunOptions::default()
            };
            assert_eq!(obstacle(&run).is_some(), lost, "{word:?}");
        }
    }

    #[test]
    fn keys_follow_the_version() {
        let run = RunOptions::default();
        for (version, pull, setting) in [
            (Some(Version::new(4, 4, 0)), "PodmanArgs=--pull=never", false),
            (Some(Version::new(4, 5, 1)), "PodmanArgs=--pull=never", false),
            (Some(Version::new(4, 6, 0)), "Pull=never", false),
            (Some(Version::new(5, 2, 5)), "Pull=never", false),
            (Some(Version::new(5, 3, 0)), "Pull=never", true),
            (None, "PodmanArgs=--pull=never", true),
        ] {
            let file = quadlet(&run, version);
            assert!(file.contains(&format!("ContainerName=mydb\n{pull}\n")), "{file}");
            assert_eq!(
                file.contains("[Quadlet]\nDefaultDependencies=false\n"),
                setting,
                "{file}"
            );
        }
        assert!(waits_for_the_network(Some(Version::new(5, 2, 1))));
        assert!(!waits_for_the_network(Some(Version::new(5, 3, 0))) && !waits_for_the_network(None));
    }
}
