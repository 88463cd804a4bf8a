//! What `cargo metadata` says of every crate that this workspace uses: licence, source, needed Rust version.

use std::path::Path;

use anyhow::{Context, Result, bail};
use e2e::process::Command;
use serde_json::Value;

/// One package of the dependency graph, with what the checks look at.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression from its Cargo.toml.
    pub(crate) licence: Option<String>,
    /// Where cargo got it from; `None` for path dependencies.
    pub(crate) source: Option<String>,
    /// Oldest Rust that it says it needs.
    pub(crate) rust_version: Option<String>,
    /// One of our own.
    pub(crate) is_member: bool,
    /// Names of its direct dependencies of every kind.
    pub(crate) dependencies: Vec<String>,
}

/// Reads the whole graph from `cargo metadata --locked`.
///
/// # Errors
/// Cargo fails (a stale Cargo.lock, say), or its output is not what its documentation promises.
pub(crate) fn read() -> Result<Vec<Package>> {
    let text = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--locked"])
        .output()?;
    parse(&text).context("reading the output of `cargo metadata`")
}

fn parse(text: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let members = list(&metadata["workspace_members"]);
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            Ok(Package {
                name: string(&package["name"]).context("a package without a name")?,
                version: string(&package["version"]).context("a package without a version")?,
                licence: string(&package["license"]),
                source: string(&package["source"]),
                rust_version: string(&package["rust_version"]),
                is_member: members.contains(&package["id"]),
                dependencies: list(&package["dependencies"])
                    .iter()
                    .filter_map(|dependency| string(&dependency["name"]))
                    .collect(),
            })
        })
        .collect()
}

/// The allowed licences: `licenses.allow` of deny.toml, so that there is one list.
///
/// # Errors
/// The file is missing or has no such list.
pub(crate) fn allowed_licences(deny_toml: &Path) -> Result<Vec<spdx::Licensee>> {
    let text =
        std::fs::read_to_string(deny_toml).with_context(|| format!("reading {}", deny_toml.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("parsing {}", deny_toml.display()))?;
    let list = table
        .get("licenses")
        .and_then(|licences| licences.get("allow"))
        .and_then(toml::Value::as_array)
        .with_context(|| format!("{} has no list licenses.allow", deny_toml.display()))?;
    list.iter()
        .map(|entry| {
            let text = entry.as_str().context("licenses.allow must hold strings")?;
            spdx::Licensee::parse(text).with_context(|| format!("licence {text:?} in licenses.allow"))
        })
        .collect()
}

/// Checks licence, source and Rust version of every package that is not ours; returns how many were checked.
///
/// # Errors
/// One line for each thing that is wrong.
pub(crate) fn check(packages: &[Package], allowed: &[spdx::Licensee], floor: &str) -> Result<usize> {
    let foreign: Vec<&Package> = packages.iter().filter(|package| !package.is_member).collect();
    let wrong: Vec<String> = foreign
        .iter()
        .flat_map(|package| problems(package, allowed, version(floor)))
        .collect();
    if wrong.is_empty() {
        Ok(foreign.len())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

fn problems(package: &Package, allowed: &[spdx::Licensee], floor: Vec<u64>) -> Vec<String> {
    let who = format!("{} {}", package.name, package.version);
    let mut wrong = Vec::new();
    match package.licence.as_deref().map(|text| (text, parse_licence(text))) {
        None => wrong.push(format!("{who} names no licence")),
        Some((text, Err(error))) => wrong.push(format!("{who}: licence {text:?}: {error}")),
        Some((text, Ok(expression))) => {
            if !expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted))) {
                wrong.push(format!("{who}: licence {text:?} is not allowed by deny.toml"));
            }
        }
    }
    let from_registry = package.source.as_deref().is_some_and(|source| {
        source.starts_with("registry+https://github.com/rust-lang/crates.io-index")
            || source.starts_with("sparse+https://index.crates.io/")
    });
    if !from_registry {
        let source = package.source.as_deref().unwrap_or("a path");
        wrong.push(format!(
            "{who} comes from {source}; only cargo's public registry is allowed"
        ));
    }
    if let Some(needed) = &package.rust_version
        && version(needed) > floor
    {
        wrong.push(format!(
            "{who} needs Rust {needed}, newer than the workspace's rust-version"
        ));
    }
    wrong
}

/// Older crates write `MIT/Apache-2.0` for `MIT OR Apache-2.0`; the lax mode accepts that.
fn parse_licence(text: &str) -> std::result::Result<spdx::Expression, String> {
    spdx::Expression::parse_mode(text, spdx::ParseMode::LAX).map_err(|error| error.reason.to_string())
}

/// `1.88` as [1, 88, 0]: comparable numbers.
fn version(text: &str) -> Vec<u64> {
    let mut parts: Vec<u64> = text.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    parts.resize(3, 0);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(licence: &str, source: &str, rust_version: &str) -> Package {
        Package {
            name: "some".into(),
            version: "1.0.0".into(),
            licence: Some(licence.into()),
            source: Some(source.into()),
            rust_version: Some(rust_version.into()),
            is_member: false,
            dependencies: Vec::new(),
        }
    }

    fn verdict(licence: &str, source: &str, rust_version: &str) -> std::result::Result<usize, String> {
        let allowed = [spdx::Licensee::parse("MIT").unwrap()];
        check(&[foreign(licence, source, rust_version)], &allowed, "1.88").map_err(|error| error.to_string())
    }

    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

    #[test]
    fn licence_expressions() {
        assert_eq!(verdict("MIT OR GPL-3.0-only", REGISTRY, "1.60"), Ok(1));
        assert_eq!(verdict("MIT/Apache-2.0", REGISTRY, "1.88.0"), Ok(1));
        assert!(
            verdict("MIT AND GPL-3.0-only", REGISTRY, "1.60")
                .unwrap_err()
                .contains("not allowed")
        );
        assert!(verdict("no such licence", REGISTRY, "1.60").is_err());
    }

    #[test]
    fn sources_and_rust_versions() {
        assert!(
            verdict("MIT", "git+https://example.com/some", "1.60")
                .unwrap_err()
                .contains("git+")
        );
        assert!(
            verdict("MIT", REGISTRY, "1.100")
                .unwrap_err()
                .contains("needs Rust 1.100")
        );
    }
}
