//! Units of containers before their judges in a [`Machine`]: systemd's own parser and Podman's own generator.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::machine::Machine;

const GENERATOR: &str = "/usr/lib/systemd/system-generators/podman-system-generator";

/// Where the generator puts the units that it makes of Quadlets.
pub const GENERATED: &str = "/run/systemd/generator";

/// Writes units and Quadlets (paths and texts) into the machine, lets Podman's generator work if there is a Quadlet, and
/// gives the paths of all units.
///
/// # Errors
/// The generator refuses a Quadlet.
pub fn install(machine: &Machine, files: &[(String, String)]) -> Result<Vec<String>> {
    for (path, text) in files {
        machine.write(path, text)?;
    }
    machine.write(&format!("{GENERATED}/keep"), "")?;
    if files.iter().any(|(path, _)| path.ends_with(".container")) {
        let said = machine.command(GENERATOR).args(["--dryrun"]).outcome()?;
        ensure!(said.status.success(), "the generator refuses: {}", said.stderr);
        machine.command(GENERATOR).args([GENERATED; 3]).run()?;
    }
    files.iter().map(|(path, _)| unit(path)).collect()
}

/// The unit that a file is, or that the generator makes of it.
fn unit(path: &str) -> Result<String> {
    let Some(quadlet) = path.strip_suffix(".container") else {
        return Ok(path.to_owned());
    };
    let name = Path::new(quadlet)
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{path} has no name"))?;
    Ok(format!("{GENERATED}/{name}.service"))
}

/// Has systemd check units.
///
/// # Errors
/// It does not accept them.
pub fn verify(machine: &Machine, units: &[String]) -> Result<()> {
    machine
        .command("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units)
        .run()
}
