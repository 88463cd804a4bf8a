//! How registries are reached, as the command line, the environment and the files of this machine say it.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use vcontainer_fetch::Network;
use vcontainer_fetch::credentials::AuthFiles;
use vcontainer_fetch::proxy::Proxies;
use vcontainer_fetch::retry::Retries;
use vcontainer_fetch::trust::Trust;

use crate::args::Fetch;

/// Everything that the user and the machine say about the network.
///
/// # Errors
/// A value that cannot be meant.
pub fn of(args: &Fetch) -> Result<Network> {
    for host in &args.plain_http {
        ensure!(
            !host.is_empty() && !host.contains('/'),
            "--plain-http `{host}` is no registry: write HOST or HOST:PORT, as the reference has it"
        );
    }
    Ok(Network {
        credentials: AuthFiles {
            given: args.authfile.clone().filter(|path| !path.as_os_str().is_empty()),
            usual: auth_files(),
        },
        trust: Trust {
            given: args.ca.clone(),
            machine: path("SSL_CERT_FILE"),
            directories: certificate_directories(),
        },
        proxies: Proxies {
            http: variable("http_proxy"),
            https: variable("https_proxy"),
            no_proxy: variable("no_proxy").unwrap_or_default(),
        },
        plain_http: args.plain_http.iter().cloned().collect(),
        retries: Retries {
            tries: args.tries,
            ..Retries::default()
        },
        ..Network::default()
    })
}

/// Where podman and skopeo keep credentials, then docker. Source: containers-auth.json(5).
fn auth_files() -> Vec<PathBuf> {
    let runtime = path("XDG_RUNTIME_DIR").map(|runtime| runtime.join("containers/auth.json"));
    // Without a session, podman takes this one.
    let runtime = runtime.unwrap_or_else(|| {
        let user = rustix::process::getuid().as_raw();
        PathBuf::from(format!("/run/containers/{user}/auth.json"))
    });
    let podman = configuration().map(|folder| folder.join("containers/auth.json"));
    let docker = path("DOCKER_CONFIG").or_else(|| Some(path("HOME")?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    [Some(runtime), podman, docker].into_iter().flatten().collect()
}

/// Source: containers-certs.d(5), and Docker's own place.
fn certificate_directories() -> Vec<PathBuf> {
    let own = configuration().map(|folder| folder.join("containers/certs.d"));
    let machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(machine).collect()
}

fn configuration() -> Option<PathBuf> {
    path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")))
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// A variable that is written in small letters, or in capitals.
fn variable(name: &str) -> Option<String> {
    let value = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    value(name).or_else(|| value(&name.to_uppercase()))
}
