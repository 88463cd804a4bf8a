//! A real docker-registry on the loopback address of a [`Machine`].

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::machine::Machine;

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
        let configuration = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {DATA}\n\
             http:\n  addr: {ADDRESS}\n"
        );
        machine.write("/etc/docker/registry/test.yml", &configuration)?;
        let mut server = machine
            .command("docker-registry")
            .args(["serve", "/etc/docker/registry/test.yml"])
            .std()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting docker-registry")?;
        let mut log = BufReader::new(
            server
                .stderr
                .take()
                .context("docker-registry has no log to read")?,
        );
        let mut said = String::new();
        while !said.contains("listening on") {
            if log
                .read_line(&mut said)
                .context("reading the log of docker-registry")?
                == 0
            {
                bail!("docker-registry ended: {said}");
            }
        }
        // It ends with its machine. Until then somebody must read its log and, at the end, its exit status.
        thread::spawn(move || {
            let _ = std::io::copy(&mut log, &mut std::io::sink());
            let _ = server.wait();
        });
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
