//! A real docker-registry, on the loopback address of a [`Machine`] or of this computer.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::machine::Machine;
use crate::person::Person;
use crate::process::Command;

/// Where it listens, as image references name it.
pub const ADDRESS: &str = "127.0.0.1:5000";

const DATA: &str = "/var/lib/docker-registry";

/// A registry that runs as long as its machine.
pub struct Registry<'a> {
    machine: &'a Machine,
}

impl<'a> Registry<'a> {
    /// Starts it and waits until it says that it listens.
    ///
    /// # Errors
    /// It ends instead.
    pub fn start(machine: &'a Machine) -> Result<Self> {
        machine.write("/etc/docker/registry/test.yml", &configuration(DATA, ADDRESS))?;
        let command = machine.command("docker-registry");
        let (mut server, _) = start(command.args(["serve", "/etc/docker/registry/test.yml"]))?;
        // It ends with its machine. Until then somebody must wait for its exit status.
        thread::spawn(move || server.wait());
        Ok(Self { machine })
    }

    /// Copies an image of a layout that the machine sees into the registry, blobs unchanged, and returns its name.
    ///
    /// # Errors
    /// skopeo fails.
    pub fn push(&self, layout: &str, name: &str) -> Result<String> {
        let reference = format!("{ADDRESS}/{name}:latest");
        self.machine
            .command("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .args([format!("oci:{layout}"), format!("docker://{reference}")])
            .output()?;
        Ok(reference)
    }

    /// Removes the content of a blob: whoever still asks for it fails.
    ///
    /// # Errors
    /// The registry has no such blob.
    pub fn lose(&self, digest: &str) -> Result<()> {
        let hex = digest.trim_start_matches("sha256:");
        let path = format!("{DATA}/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.machine.command("rm").arg(path).output().map(|_| ())
    }
}

/// Who has access to a registry.
#[derive(Default)]
pub struct Access {
    /// Certificate and key of its TLS; without them it has none.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A file of users and passwords, as htpasswd writes it; without it nobody is asked.
    pub users: Option<PathBuf>,
}

/// A registry of a person, on a port of this computer's loopback that was free. It ends with the value.
pub struct HostRegistry<'a> {
    person: &'a Person,
    server: Child,
    port: u16,
}

impl<'a> HostRegistry<'a> {
    /// Starts it and waits until it says that it listens.
    ///
    /// # Errors
    /// It ends instead.
    pub fn start(person: &'a Person) -> Result<Self> {
        Self::start_with(person, &Access::default())
    }

    /// The same for those who may have access. What was pushed to another of the person's registries is there.
    ///
    /// # Errors
    /// It ends instead.
    pub fn start_with(person: &'a Person, access: &Access) -> Result<Self> {
        let data = person.directory("tmp/registry")?;
        let mut configuration = configuration(&data.to_string_lossy(), "127.0.0.1:0");
        if let Some((certificate, key)) = &access.tls {
            let (certificate, key) = (certificate.display(), key.display());
            configuration.push_str(&format!(
                "  tls:\n    certificate: {certificate}\n    key: {key}\n"
            ));
        }
        if let Some(users) = &access.users {
            let users = users.display();
            configuration.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {users}\n"
            ));
        }
        let file = person.write("tmp/registry.yml", configuration)?;
        let (server, address) = start(person.unlimited("docker-registry").arg("serve").arg(file))?;
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("docker-registry listens on {address}"))?;
        Ok(Self { person, server, port })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Copies an image of a layout in the person's `work` (`LAYOUT:TAG`) with all its platforms into the registry.
    ///
    /// # Errors
    /// skopeo fails.
    pub fn push_all(&self, layout: &str, name: &str) -> Result<()> {
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        self.skopeo(&["copy", "--all", "--quiet", "--dest-tls-verify=false"])
            .args([format!("oci:{layout}"), to])
            .output()
            .map(drop)
    }

    /// Copies the image `latest` of a layout in the person's `work` into the registry, blobs unchanged.
    ///
    /// # Errors
    /// skopeo fails.
    pub fn push(&self, layout: &str, name: &str) -> Result<()> {
        let to = format!("docker://127.0.0.1:{}/{name}:latest", self.port);
        self.skopeo(&["copy", "--quiet", "--dest-tls-verify=false"])
            .args([format!("oci:{layout}:latest"), to])
            .output()
            .map(drop)
    }

    /// The configuration of an image (`NAME:TAG`) in the registry.
    ///
    /// # Errors
    /// It isn't there.
    pub fn configuration(&self, name: &str) -> Result<Vec<u8>> {
        self.skopeo(&["inspect", "--config", "--raw", "--tls-verify=false"])
            .arg(format!("docker://127.0.0.1:{}/{name}", self.port))
            .output()
            .map(String::into_bytes)
    }

    fn skopeo(&self, words: &[&str]) -> Command {
        self.person.command("skopeo").arg("--insecure-policy").args(words)
    }
}

impl Drop for HostRegistry<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What a registry is told in its file.
fn configuration(data: &str, address: &str) -> String {
    format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {data}\n\
         http:\n  addr: {address}\n"
    )
}

/// Starts a registry and waits until it says where it listens. Its log is read until it ends.
fn start(command: Command) -> Result<(Child, String)> {
    let mut server = command
        .std()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting docker-registry")?;
    let log = server.stderr.take().context("docker-registry has no log")?;
    let mut log = BufReader::new(log);
    let mut said = String::new();
    let address = loop {
        let mut line = String::new();
        if log
            .read_line(&mut line)
            .context("reading the log of docker-registry")?
            == 0
        {
            bail!("docker-registry ended: {said}");
        }
        let told = line.split("listening on ").nth(1);
        if let Some(address) = told.and_then(|told| told.split(['"', ' ', ',', '\n']).next()) {
            break address.to_owned();
        }
        said.push_str(&line);
    };
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok((server, address))
}
