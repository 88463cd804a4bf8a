//! The rule between the workspace's own crates: who may depend on whom.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::dependencies::Package;

/// For each library crate: the crates of this workspace that it may depend on (ARCHITECTURE.md says why).
/// `cli`, `xtask`, `e2e` and `benches` stand on top and may use anything below.
const ARROWS: &[(&str, &[&str])] = &[
    ("vcontainer-image", &[]),
    ("vcontainer-store", &["vcontainer-image"]),
    ("vcontainer-bundle", &["vcontainer-image", "vcontainer-store"]),
    ("vcontainer-build", &["vcontainer-debian", "vcontainer-image"]),
    ("vcontainer-fetch", &["vcontainer-build", "vcontainer-image"]),
    ("vcontainer-view", &["vcontainer-build", "vcontainer-image"]),
    ("vcontainer-wire", &[]),
    ("vcontainer-agent", &["vcontainer-wire"]),
    ("vcontainer-debian", &[]),
    ("vcontainer-guest", &["vcontainer-build", "vcontainer-debian"]),
    ("vcontainer-vm", &["vcontainer-guest", "vcontainer-wire"]),
];

/// Crates on top: nothing in [`ARROWS`] may depend on them.
const TOP: &[&str] = &["vcontainer", "xtask", "e2e", "benches"];

/// Checks every arrow between members of the workspace.
///
/// # Errors
/// An arrow that the table does not allow, or a crate that the table does not know.
pub(crate) fn check_arrows(packages: &[Package]) -> Result<()> {
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let members: Vec<&Package> = packages.iter().filter(|package| package.is_member).collect();
    let mut wrong = Vec::new();
    for package in &members {
        let name = package.name.as_str();
        if TOP.contains(&name) {
            continue;
        }
        let Some(allowed) = table.get(name) else {
            wrong.push(format!(
                "crate {name} is not in the table of xtask/src/workspace.rs: add it there"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let is_ours = members.iter().any(|member| &member.name == dependency);
            if is_ours && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!(
                    "{name} depends on {dependency}, which the architecture does not allow"
                ));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            licence: None,
            source: None,
            rust_version: None,
            is_member: true,
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn arrows_point_down_only() {
        let good = [
            member("vcontainer-image", &["serde"]),
            member("vcontainer-store", &["vcontainer-image"]),
        ];
        check_arrows(&good).unwrap();
        let bad = [
            member("vcontainer-image", &["vcontainer-store"]),
            member("vcontainer-store", &[]),
        ];
        let error = check_arrows(&bad).unwrap_err().to_string();
        assert!(
            error.contains("vcontainer-image depends on vcontainer-store"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_crate_must_be_entered() {
        let error = check_arrows(&[member("vcontainer-new", &[])])
            .unwrap_err()
            .to_string();
        assert!(error.contains("vcontainer-new"), "{error}");
    }
}
