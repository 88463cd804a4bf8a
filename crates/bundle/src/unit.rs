//! Plain systemd units that run a container: for Docker, and for Podman before it had Quadlet (4.4).
//!
//! Nothing is pulled (`--pull=never`: Docker since 20.10, Podman since 2.2) and nothing waits for the network, since
//! the image is in the store already. The forms follow docker-run(1) and what `podman generate systemd --new` writes.

use crate::grammar::Restart;
use crate::run_options::RunOptions;
use crate::systemd_text::{UnitFile, command, text};

/// The lines on top of every generated file.
pub(crate) const HEADER: [&str; 2] = [
    "Written by `vcontainer bundle`. To change it, give a file of your own (`service` in bundle.toml,",
    "--service, CONTAINER_SERVICE_FILE) instead of editing this one.",
];

/// Seconds before a container that ended is started again.
pub(crate) const RESTART_DELAY: &str = "5s";

/// What a generated unit or Quadlet says.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// The container's name.
    pub container: &'a str,
    /// The image as the engine is told to find it.
    pub image: &'a str,
    /// When systemd starts it again.
    pub restart: Restart,
    /// Ports, volumes and so on.
    pub run: &'a RunOptions,
}

/// The unit that runs a container of Docker. `docker` is the path of its command line on the target.
#[must_use]
pub fn docker(service: &Service<'_>, docker: &str) -> UnitFile {
    let Service {
        container,
        image,
        run,
        ..
    } = service;
    let mut unit = UnitFile::new(&HEADER);
    unit.section("Unit")
        .line(
            "Description",
            text(&format!("Docker container {container} ({image})")),
        )
        // Not Requires=: a daemon that fails once at boot would leave the container dead, without a restart. PartOf=
        // stops and restarts it with the daemon all the same.
        .line("Wants", "docker.service")
        .line("PartOf", "docker.service")
        .line("After", "docker.service")
        // A container that keeps ending is tried again every RestartSec, for ever, whatever the target's defaults.
        .line("StartLimitIntervalSec", "0");
    let mut start = words(&[docker, "run", "--rm", "--name", container, "--pull=never"]);
    start.extend(run.engine_arguments());
    start.push((*image).to_owned());
    start.extend(run.command.iter().cloned());
    unit.section("Service")
        .line("Type", "simple")
        .line("Restart", service.restart.to_string())
        .line("RestartSec", RESTART_DELAY)
        // A first start on slow storage takes its time; systemd would kill it after 90 s.
        .line("TimeoutStartSec", "0")
        // What a power cut or a killed daemon left behind has the same name and would be in the way.
        .line(
            "ExecStartPre",
            format!("-{}", command([docker, "rm", "--force", container])),
        )
        .line("ExecStart", command(start))
        // systemd runs this also when the container has ended by itself and is gone: that it is not found then must not
        // turn a clean end into a failure, which `Restart=on-failure` would answer with a start.
        .line("ExecStop", format!("-{}", command([docker, "stop", container])))
        // `docker run` ends with the container's code, which is 128 + SIGTERM after `docker stop`.
        .line("SuccessExitStatus", "143");
    install(&mut unit);
    unit
}

/// The unit that runs a container of a Podman without Quadlet. `podman` is its path on the target.
#[must_use]
pub fn podman(service: &Service<'_>, podman: &str) -> UnitFile {
    let Service {
        container,
        image,
        run,
        ..
    } = service;
    let mut unit = UnitFile::new(&HEADER);
    unit.section("Unit")
        .line(
            "Description",
            text(&format!("Podman container {container} ({image})")),
        )
        .line("RequiresMountsFor", "%t/containers")
        .line("StartLimitIntervalSec", "0");
    let mut start = words(&[
        podman,
        "run",
        "--rm",
        "--replace",
        "--detach",
        "--sdnotify=conmon",
        "--cgroups=no-conmon",
        "--name",
        container,
        "--pull=never",
    ]);
    start.extend(run.engine_arguments());
    start.push((*image).to_owned());
    start.extend(run.command.iter().cloned());
    unit.section("Service")
        .line("Environment", "PODMAN_SYSTEMD_UNIT=%n")
        .line("Type", "notify")
        .line("NotifyAccess", "all")
        .line("Restart", service.restart.to_string())
        .line("RestartSec", RESTART_DELAY)
        .line("TimeoutStartSec", "0")
        .line("ExecStart", command(start))
        .line("ExecStop", command([podman, "stop", "--ignore", container]))
        .line(
            "ExecStopPost",
            format!("-{}", command([podman, "rm", "--force", "--ignore", container])),
        )
        .line("SuccessExitStatus", "143");
    install(&mut unit);
    unit
}

pub(crate) fn install(unit: &mut UnitFile) {
    unit.section("Install").line("WantedBy", "multi-user.target");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RunOptions {
        RunOptions {
            ports: vec!["127.0.0.1:8080:80".to_owned()],
            volumes: vec!["/data/my app:/data:rw".to_owned()],
            environment: [("GREETING".to_owned(), "it's $5 or 100%".to_owned())].into(),
            capabilities: vec!["NET_ADMIN".to_owned()],
            network: Some("host".to_owned()),
            args: vec!["--device=/dev/ttyS0".to_owned()],
            command: vec!["sh".to_owned(), "-c".to_owned(), "echo \"$X\"; date".to_owned()],
        }
    }

    #[test]
    fn a_docker_unit_is_exactly_this() {
        let run = RunOptions::default();
        let service = Service {
            container: "myapp",
            image: "myapp:latest",
            restart: Restart::Always,
            run: &run,
        };
        assert_eq!(
            docker(&service, "/usr/bin/docker").to_string(),
            "# Written by `vcontainer bundle`. To change it, give a file of your own (`service` in bundle.toml,
# --service, CONTAINER_SERVICE_FILE) instead of editing this one.

[Unit]
Description=Docker container myapp (myapp:latest)
Wants=docker.service
PartOf=docker.service
After=docker.service
StartLimitIntervalSec=0

[Service]
Type=simple
Restart=always
RestartSec=5s
TimeoutStartSec=0
ExecStartPre=-/usr/bin/docker rm --force myapp
ExecStart=/usr/bin/docker run --rm --name myapp --pull=never myapp:latest
ExecStop=-/usr/bin/docker stop myapp
SuccessExitStatus=143

[Install]
WantedBy=multi-user.target
"
        );
    }

    #[test]
    fn run_options_become_quoted_words() {
        let run = options();
        let service = Service {
            container: "myapp",
            image: "myapp:latest",
            restart: Restart::OnFailure,
            run: &run,
        };
        let unit = docker(&service, "/usr/bin/docker").to_string();
        assert!(unit.contains("Restart=on-failure\n"), "{unit}");
        let start = "ExecStart=/usr/bin/docker run --rm --name myapp --pull=never --publish 127.0.0.1:8080:80 --volume \
                     \"/data/my app:/data:rw\" --env \"GREETING=it's $$5 or 100%%\" --cap-add NET_ADMIN --network host \
                     --device=/dev/ttyS0 myapp:latest sh -c \"echo \\\"$$X\\\"; date\"\n";
        assert!(unit.contains(start), "{unit}");
    }

    #[test]
    fn a_podman_unit_is_exactly_this() {
        let run = RunOptions::default();
        let service = Service {
            container: "mydb",
            image: "localhost/mydb:latest",
            restart: Restart::No,
            run: &run,
        };
        assert_eq!(
            podman(&service, "/usr/bin/podman").to_string(),
            "# Written by `vcontainer bundle`. To change it, give a file of your own (`service` in bundle.toml,
# --service, CONTAINER_SERVICE_FILE) instead of editing this one.

[Unit]
Description=Podman container mydb (localhost/mydb:latest)
RequiresMountsFor=%t/containers
StartLimitIntervalSec=0

[Service]
Environment=PODMAN_SYSTEMD_UNIT=%n
Type=notify
NotifyAccess=all
Restart=no
RestartSec=5s
TimeoutStartSec=0
ExecStart=/usr/bin/podman run --rm --replace --detach --sdnotify=conmon --cgroups=no-conmon --name mydb \
--pull=never localhost/mydb:latest
ExecStop=/usr/bin/podman stop --ignore mydb
ExecStopPost=-/usr/bin/podman rm --force --ignore mydb
SuccessExitStatus=143

[Install]
WantedBy=multi-user.target
"
        );
    }
}
