//! `bundle.toml`, and the units made from it: systemd must start exactly the words that were asked for.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vcontainer_bundle::config::BundleFile;
use vcontainer_bundle::grammar::{Restart, Runtime};
use vcontainer_bundle::request::Request;
use vcontainer_bundle::unit::Service;
use vcontainer_bundle::{quadlet, unit};
use vcontainer_fuzz::systemd;

fuzz_target!(|text: &str| {
    if let Ok(file) = BundleFile::parse(text, Path::new("conf/bundle.toml"), Runtime::Docker) {
        file.requests.iter().for_each(check);
    }
});

fn check(request: &Request) {
    let run = &request.run;
    let service = Service {
        container: request.container.as_deref().unwrap_or("app"),
        image: "app:latest",
        restart: request.policy.map_or(Restart::No, |policy| policy.restart()),
        run,
    };
    let mut tail: Vec<String> = run.engine_arguments();
    tail.push(service.image.to_owned());
    tail.extend(run.command.iter().cloned());
    for unit in [
        unit::docker(&service, "/usr/bin/docker"),
        unit::podman(&service, "/usr/bin/podman"),
    ] {
        let unit = unit.to_string();
        let [start] = systemd::values(&unit, "Service", "ExecStart")[..] else {
            panic!("{unit}");
        };
        let arguments = systemd::arguments(start);
        let given: Vec<&[u8]> = tail.iter().map(String::as_bytes).collect();
        assert_eq!(arguments[arguments.len() - given.len()..], given, "{unit}");
        assert_eq!(
            systemd::values(&unit, "Install", "WantedBy"),
            ["multi-user.target"]
        );
    }
    for version in [None, Some(vcontainer_bundle::target::Version::new(4, 4, 0))] {
        check_quadlet(&quadlet::container(&service, version).to_string(), &service);
    }
}

/// The generator unquotes the words of `Exec=` and `Environment=` and quotes them again for the unit that it makes;
/// there `%` and `$` are resolved.
fn check_quadlet(file: &str, service: &Service<'_>) {
    let run = service.run;
    let bytes = |words: &[String]| {
        words
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let all = |key: &str| {
        let values = systemd::values(file, "Container", key);
        values
            .iter()
            .flat_map(|value| systemd::arguments(value))
            .collect::<Vec<_>>()
    };
    assert_eq!(all("Exec"), bytes(&run.command), "{file}");
    let environment: Vec<String> = run
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(all("Environment"), bytes(&environment), "{file}");
    assert!(all("PodmanArgs").ends_with(&bytes(&run.args)), "{file}");
    assert_eq!(
        systemd::values(file, "Container", "PublishPort").len(),
        run.ports.len(),
        "{file}"
    );
    // A volume with a blank takes another way to Podman.
    let arguments = all("PodmanArgs");
    let volumes = systemd::values(file, "Container", "Volume").len();
    let others = arguments.iter().filter(|word| *word == b"--volume").count();
    let given = run.args.iter().filter(|word| *word == "--volume").count();
    assert_eq!(volumes + others - given, run.volumes.len(), "{file}");
    assert_eq!(
        systemd::values(file, "Install", "WantedBy"),
        ["multi-user.target"]
    );
}
