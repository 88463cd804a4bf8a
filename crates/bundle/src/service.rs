//! The service of a container: which file starts it, where it goes, and what is in it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use vcontainer_image::{Reference, TreePath};

use crate::custom::{self, Kind, engine_name};
use crate::grammar::{Restart, Runtime};
use crate::run_options::RunOptions;
use crate::target::docker::Docker;
use crate::target::podman::Podman;
use crate::target::{Target, TargetError};
use crate::{quadlet, unit};

/// A service file is text that people write.
const FILE_LIMIT: u64 = 1 << 20;
const QUADLET_DIRECTORY: &str = "/etc/containers/systemd";
const WANTS_DIRECTORY: &str = "/etc/systemd/system/multi-user.target.wants";

/// What the requests for one container come to.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The container's name.
    pub container: String,
    /// Its image.
    pub image: Reference,
    /// When systemd starts it again; what a custom file says instead is in that file.
    pub restart: Restart,
    /// How it is started.
    pub run: &'a RunOptions,
    /// The user's own file.
    pub custom: Option<&'a Path>,
}

/// A file that starts a container at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFile {
    /// The engine.
    pub runtime: Runtime,
    /// The container's name.
    pub container: String,
    /// The image that it runs, as the engine knows it.
    pub image: String,
    /// The path by which the target knows the file.
    pub path: String,
    /// Where it is written.
    pub physical: TreePath,
    /// What is written.
    pub content: Vec<u8>,
    /// The link that enables it: where it is written, and its target. A Quadlet has none, its generator reads the file.
    pub enabled_by: Option<(TreePath, String)>,
    /// What it does when the container ends; `None` for a custom file, which says so itself.
    pub restart: Option<Restart>,
    /// The user's file that it is a copy of.
    pub copy_of: Option<PathBuf>,
    /// What will not work as it seems to, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a container can have no service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The target does not allow it.
    #[error(transparent)]
    Target(Box<TargetError>),
    /// The user's own file cannot be read.
    #[error("cannot read the service file `{}` of container `{container}`", path.display())]
    Read {
        /// The container.
        container: String,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The user's own file, or a run option, is of no use with this engine.
    #[error("container `{container}`: {what}")]
    Unusable {
        /// The container.
        container: String,
        /// A sentence.
        what: String,
    },
}

impl From<TargetError> for ServiceError {
    fn from(error: TargetError) -> Self {
        Self::Target(Box::new(error))
    }
}

/// The engine that runs a container.
#[derive(Debug, Clone, Copy)]
pub enum Engine<'a> {
    /// Docker on the target.
    Docker(&'a Docker),
    /// Podman on the target.
    Podman(&'a Podman),
}

impl Engine<'_> {
    /// Which one.
    #[must_use]
    pub const fn runtime(&self) -> Runtime {
        match self {
            Self::Docker(_) => Runtime::Docker,
            Self::Podman(_) => Runtime::Podman,
        }
    }

    const fn has_quadlet(&self) -> bool {
        matches!(self, Self::Podman(podman) if podman.quadlet)
    }
}

/// Makes the service file of a container. `bundled` are all images of its engine, for warnings about custom files.
///
/// # Errors
/// A custom file that cannot be read or used, a target that has no place for the file.
pub fn service_file(
    wanted: &Wanted<'_>,
    engine: Engine<'_>,
    target: &Target,
    bundled: &[Reference],
) -> Result<ServiceFile, ServiceError> {
    let container = &wanted.container;
    target.check_systemd(&format!("container `{container}`"))?;
    let runtime = engine.runtime();
    let image = engine_name(&wanted.image, runtime);
    let mut warnings = Vec::new();
    let (kind, content) = match wanted.custom {
        Some(path) => {
            let (kind, content) = custom_file(path, container, engine)?;
            warnings = custom::warnings(&String::from_utf8_lossy(&content), kind, runtime, bundled);
            (kind, content)
        }
        None => {
            let kind = if engine.has_quadlet() {
                Kind::Quadlet
            } else {
                Kind::Service
            };
            if kind == Kind::Quadlet
                && let Some(what) = quadlet::obstacle(wanted.run)
            {
                return Err(ServiceError::Unusable {
                    container: container.clone(),
                    what: what.to_owned(),
                });
            }
            let service = unit::Service {
                container,
                image: &image,
                restart: wanted.restart,
                run: wanted.run,
            };
            let text = match engine {
                Engine::Docker(docker) => unit::docker(&service, docker.client),
                Engine::Podman(podman) if podman.quadlet => quadlet::container(&service, podman.version),
                Engine::Podman(podman) => unit::podman(&service, podman.program),
            };
            (kind, text.to_string().into_bytes())
        }
    };
    if kind == Kind::Quadlet {
        warnings.extend(quadlet_warnings(container, engine, target)?);
    }
    let (path, physical, enabled_by) = place(kind, container, target)?;
    Ok(ServiceFile {
        runtime,
        container: container.clone(),
        image,
        path,
        physical,
        content,
        enabled_by,
        restart: wanted.custom.is_none().then_some(wanted.restart),
        copy_of: wanted.custom.map(Path::to_owned),
        warnings,
    })
}

type Place = (String, TreePath, Option<(TreePath, String)>);

/// The target's path of the file, where it is written, and its enabling link.
fn place(kind: Kind, container: &str, target: &Target) -> Result<Place, TargetError> {
    if kind == Kind::Quadlet {
        let name = format!("{container}.container");
        let physical = target.resolve(QUADLET_DIRECTORY)?.join(name.as_bytes());
        return Ok((format!("{QUADLET_DIRECTORY}/{name}"), physical, None));
    }
    let directory = target.unit_directory()?;
    let name = format!("container-{container}.service");
    let path = format!("{}/{name}", directory.path);
    let link = target.resolve(WANTS_DIRECTORY)?.join(name.as_bytes());
    let physical = directory.physical.join(name.as_bytes());
    Ok((path.clone(), physical, Some((link, path))))
}

fn custom_file(path: &Path, container: &str, engine: Engine<'_>) -> Result<(Kind, Vec<u8>), ServiceError> {
    let wrong = |what: String| ServiceError::Unusable {
        container: container.to_owned(),
        what,
    };
    let kind = custom::kind(path, engine.runtime()).map_err(wrong)?;
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut content));
    read.map_err(|source| ServiceError::Read {
        container: container.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    if content.len() as u64 > FILE_LIMIT {
        return Err(wrong(format!(
            "the service file `{}` is larger than 1 MiB",
            path.display()
        )));
    }
    if kind == Kind::Quadlet && !engine.has_quadlet() {
        return Err(wrong(format!(
            "the service file `{}` is a Quadlet, and the target's Podman has no Quadlet (it came with 4.4); give a \
             .service file",
            path.display()
        )));
    }
    Ok((kind, content))
}

fn quadlet_warnings(
    container: &str,
    engine: Engine<'_>,
    target: &Target,
) -> Result<Vec<String>, TargetError> {
    let mut warnings = Vec::new();
    let unit = format!("{container}.service");
    if target.has_packaged_unit(&unit)? {
        warnings.push(format!(
            "its Quadlet makes the unit `{unit}`, which replaces the one that the target has already; give the \
             container another name (container-name in bundle.toml)"
        ));
    }
    if let Engine::Podman(Podman {
        version: Some(version),
        ..
    }) = engine
        && quadlet::waits_for_the_network(Some(*version))
    {
        warnings.push(format!(
            "the generator of Podman {version} makes every container wait for network-online.target; 5.3 can do without"
        ));
    }
    Ok(warnings)
}
