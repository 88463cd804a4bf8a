//! `vimport`: an image of this computer into the machine's engine.

use std::path::Path;

use anyhow::{Context as _, Error, Result, bail};
use vcontainer_guest::{Arch, Engine};
use vcontainer_image::{Image, OpenOptions, Platform, Reference, SourceError, Timestamp};
use vcontainer_wire::{Exec, ExitStatus};

use crate::engine::machine::Machine;
use crate::engine::session::{self, Feed, Outputs};
use crate::engine::{image_stream, program::Tool};

/// An image that has been looked at and fits the machine.
pub struct Found {
    image: Image,
    /// What it will be called, in the engine's own spelling.
    name: String,
}

impl Found {
    /// An image that fits, under this name.
    #[must_use]
    pub fn new(image: Image, name: String) -> Self {
        Self { image, name }
    }
}

/// Looks at what lies at `path`, before any machine is started.
///
/// # Errors
/// No image, a damaged one, one for another architecture, or a name that cannot be.
pub fn find(path: &Path, name: &str, tool: Tool, arch: Arch) -> Result<Found> {
    let name = full_name(name, tool.engine)?;
    let mut options = OpenOptions::new(Platform::for_machine(arch.debian())?);
    options.created = created()?;
    options.scratch = std::env::var_os("TMPDIR")
        .filter(|folder| !folder.is_empty())
        .map(Into::into);
    let mut opened = vcontainer_image::open(path, &options);
    if matches!(opened, Err(SourceError::Ambiguous { .. })) {
        // One of several: the one that is called as it shall be called, if there is one.
        options.select = Some(name.clone());
        if let Ok(image) = vcontainer_image::open(path, &options) {
            opened = Ok(image);
        }
    }
    let image = opened.map_err(|error| explained(error, path, tool, arch))?;
    Ok(Found { image, name })
}

/// The name as the engine will show it.
fn full_name(name: &str, engine: Engine) -> Result<String> {
    let reference = match engine {
        Engine::Docker => Reference::parse(name)?,
        Engine::Podman => Reference::local_podman(name)?,
    };
    if reference.digest().is_some() {
        bail!("`{name}` has a digest: an import gets a name with a tag, such as myapp:latest");
    }
    let tagged = reference.with_tag(reference.tag_or_latest())?;
    Ok(match engine {
        Engine::Docker => tagged.familiar(),
        Engine::Podman => tagged.to_string(),
    })
}

/// `SOURCE_DATE_EPOCH`, else now: when a root filesystem became an image.
fn created() -> Result<Timestamp> {
    if let Some(time) = crate::settings::given_source_date_epoch()? {
        return Ok(time);
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
        nanoseconds: 0,
    })
}

/// An error with what to do, as far as this command knows more than the source.
fn explained(error: SourceError, path: &Path, tool: Tool, arch: Arch) -> Error {
    let called = tool.name();
    let others: Vec<Arch> = match &error {
        SourceError::Platform { available, .. } => Arch::ALL
            .into_iter()
            .filter(|other| {
                available
                    .iter()
                    .any(|platform| platform.architecture == other.debian())
            })
            .collect(),
        SourceError::RootFsPlatform { found, .. } => found.parse().into_iter().collect(),
        SourceError::ConfigPlatform { actual, .. } => actual.architecture.parse().into_iter().collect(),
        SourceError::NotAnImage { .. } => {
            let layouts = layouts_in(path);
            if layouts.is_empty() {
                return error.into();
            }
            return Error::new(error).context(format!(
                "`{}` holds images and is none: import one of {}, such as `{called} vimport {}`",
                path.display(),
                layouts.join(", "),
                path.join(&layouts[0]).display()
            ));
        }
        _ => return error.into(),
    };
    let advice = match others.first() {
        Some(other) => format!(": use `{called} --arch {other}` for it"),
        None => String::new(),
    };
    Error::new(error).context(format!("the image cannot run on {arch}{advice}"))
}

/// The names of OCI layouts in a folder, as builds deploy them.
fn layouts_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("index.json").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.truncate(10);
    names
}

/// Unpacks the OCI layout on standard input on the state disk, copies it into Podman's store as `$1`, and leaves
/// nothing behind, nor what a killed one has left.
const PODMAN_IMPORT: &str = r#"
set -e
for old in /var/lib/containers/.vimport.*; do
    [ -d "/proc/${old##*.}" ] || rm -rf "$old"
done
scratch=/var/lib/containers/.vimport.$$
trap 'rm -rf "$scratch"' EXIT
trap 'exit 143' HUP INT TERM
mkdir "$scratch"
tar -C "$scratch" -xf -
skopeo --insecure-policy copy --quiet --preserve-digests "oci:$scratch" "containers-storage:$1"
"#;

/// Sends the image and lets the engine import it.
///
/// # Errors
/// The machine breaks, or the image cannot be read. What the engine says against it goes to `outputs`.
pub fn import(machine: &Machine, found: Found, outputs: &mut Outputs<'_>) -> Result<ExitStatus> {
    let engine = machine.engine();
    let argv: Vec<Vec<u8>> = match engine {
        Engine::Docker => ["docker", "load", "--quiet"]
            .map(|word| word.as_bytes().to_vec())
            .into(),
        Engine::Podman => ["sh", "-c", PODMAN_IMPORT, "vimport", &found.name]
            .map(|word| word.as_bytes().to_vec())
            .into(),
    };
    let exec = Exec {
        argv,
        needs_engine: true,
        ..Exec::default()
    };
    let feed: Feed = Box::new(move |input| {
        image_stream::write(&found.image, &found.name, engine, input)
            .with_context(|| format!("cannot import `{}`", found.image.origin))
    });
    session::run(machine.mux(), exec, Some(feed), outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_engine_shows_them() {
        for (name, docker, podman) in [
            ("myapp", "myapp:latest", "localhost/myapp:latest"),
            ("myapp:1", "myapp:1", "localhost/myapp:1"),
            (
                "docker.io/library/redis:7",
                "redis:7",
                "docker.io/library/redis:7",
            ),
            (
                "example.com/a/b",
                "example.com/a/b:latest",
                "example.com/a/b:latest",
            ),
        ] {
            assert_eq!(full_name(name, Engine::Docker).unwrap(), docker);
            assert_eq!(full_name(name, Engine::Podman).unwrap(), podman);
        }
        for wrong in [
            "",
            "My",
            "a b",
            "x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(full_name(wrong, Engine::Docker).is_err(), "{wrong}");
        }
    }
}
