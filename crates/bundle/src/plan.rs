//! The plan: which images go into which store under which names, and which services start them.
//!
//! A plan is made from requests and a target before anything is written, and every contradiction ends it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vcontainer_image::{Image, OpenOptions, Reference, ReferenceError, SourceError};
use vcontainer_store::{StoreKind, StoreTarget};

use crate::custom::engine_name;
use crate::find::{FindError, Places};
use crate::grammar::{Restart, Runtime, Source};
use crate::naming;
use crate::request::{ImageSource, Request};
use crate::service::{Engine, ServiceError, ServiceFile, Wanted, service_file};
use crate::target::docker::{self, Docker};
use crate::target::podman::Podman;
use crate::target::{Target, TargetError};

/// How to plan.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Where images are looked for.
    pub places: Places,
    /// How they are opened; `select` is the requests' own.
    pub open: OpenOptions,
    /// Docker's kind of store.
    pub docker_store: docker::Store,
}

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    /// Every image once.
    pub images: Vec<Image>,
    /// The stores, at most one of each engine.
    pub stores: Vec<PlannedStore>,
    /// The services, sorted by path.
    pub services: Vec<ServiceFile>,
    /// What is uncertain about the target, one sentence each. Those about services are with the services.
    pub warnings: Vec<String>,
}

/// A store with the images that go into it.
#[derive(Debug)]
pub struct PlannedStore {
    /// Whose it is.
    pub runtime: Runtime,
    /// Where and in which format.
    pub target: StoreTarget,
    /// The engine's version, if known.
    pub version: Option<crate::target::Version>,
    /// Its images, sorted by name.
    pub images: Vec<PlannedImage>,
}

/// An image of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// Its name and tag there.
    pub name: Reference,
    /// Which of [`Plan::images`].
    pub image: usize,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing was asked for.
    #[error(
        "there is nothing to bundle: give entries such as `myapp:docker:autostart`, or --config bundle.toml"
    )]
    Nothing,
    /// An image was not found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// An image cannot be used.
    #[error("{origin}: cannot use the image")]
    Image {
        /// Which request.
        origin: String,
        /// What is wrong with it.
        source: Box<SourceError>,
    },
    /// No image can have this name.
    #[error("{origin}: the image cannot be named `{name}`; give it a `name` in a bundle.toml")]
    Name {
        /// Which request.
        origin: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The reference pins another image.
    #[error(
        "{origin}: `{}` is not the image that the reference pins: it is {}, not {pinned}",
        path.display(),
        found.join(" or ")
    )]
    Digest {
        /// Which request.
        origin: String,
        /// Where the image was found.
        path: PathBuf,
        /// Its digests.
        found: Vec<String>,
        /// The digest in the reference.
        pinned: String,
    },
    /// The container has a name that no engine takes.
    #[error(
        "{origin}: `{name}` cannot be the name of a container; give another (container-name in bundle.toml)"
    )]
    Container {
        /// Which request.
        origin: String,
        /// The name.
        name: String,
    },
    /// Two requests that cannot both be met.
    #[error("{first} and {second} contradict each other: {what}")]
    Contradiction {
        /// One request.
        first: String,
        /// The other.
        second: String,
        /// A clause that says what cannot be, and what to do.
        what: String,
    },
    /// `--image` or `--service` for something that no request names.
    #[error("{option} names `{source_name}`, which nothing that is to be bundled has as its source")]
    Unused {
        /// The option.
        option: &'static str,
        /// The name.
        source_name: String,
    },
    /// The target does not take it.
    #[error(transparent)]
    Target(Box<TargetError>),
    /// A service cannot be made.
    #[error(transparent)]
    Service(Box<ServiceError>),
}

impl From<TargetError> for PlanError {
    fn from(error: TargetError) -> Self {
        Self::Target(Box::new(error))
    }
}

impl From<ServiceError> for PlanError {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

/// A request with what has been found out about it.
struct Resolved<'a> {
    request: &'a Request,
    name: Reference,
    image: usize,
}

/// Applies `--service NAME=FILE`: the file replaces the generated service of every request for that source.
///
/// # Errors
/// A name that no request has.
pub fn set_services(requests: &mut [Request], services: &BTreeMap<Source, PathBuf>) -> Result<(), PlanError> {
    for (source, file) in services {
        let mut used = false;
        for request in requests.iter_mut() {
            if request.source == ImageSource::Named(source.clone()) {
                request.service = Some(file.clone());
                used = true;
            }
        }
        if !used {
            return Err(PlanError::Unused {
                option: "--service",
                source_name: source.to_string(),
            });
        }
    }
    Ok(())
}

impl Plan {
    /// Makes the plan: finds and opens the images, derives their names, reads what the target needs.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(requests: &[Request], target: &Target, options: &PlanOptions) -> Result<Self, PlanError> {
        if requests.is_empty() {
            return Err(PlanError::Nothing);
        }
        if let Some(source) = options.places.given.keys().find(|source| {
            let named = ImageSource::Named((*source).clone());
            requests.iter().all(|request| request.source != named)
        }) {
            return Err(PlanError::Unused {
                option: "--image",
                source_name: source.to_string(),
            });
        }
        let mut opened = Opened::default();
        let resolved = requests
            .iter()
            .map(|request| resolve(request, options, &mut opened))
            .collect::<Result<Vec<_>, _>>()?;
        let mut plan = Self {
            images: opened.images,
            stores: Vec::new(),
            services: Vec::new(),
            warnings: Vec::new(),
        };
        // After the images: that an image is for another architecture is the more telling error.
        target.check_platform(&options.open.platform)?;
        for runtime in Runtime::ALL {
            let of_runtime: Vec<&Resolved<'_>> = resolved
                .iter()
                .filter(|resolved| resolved.request.runtime == runtime)
                .collect();
            if of_runtime.is_empty() {
                continue;
            }
            let (docker, podman): (Docker, Podman);
            let engine = match runtime {
                Runtime::Docker => {
                    docker = target.docker(options.docker_store)?;
                    Engine::Docker(&docker)
                }
                Runtime::Podman => {
                    podman = target.podman()?;
                    Engine::Podman(&podman)
                }
            };
            plan.add(&of_runtime, engine, target, options.docker_store)?;
        }
        plan.check_paths()?;
        Ok(plan)
    }

    /// Adds the store and the services of one engine.
    fn add(
        &mut self,
        resolved: &[&Resolved<'_>],
        engine: Engine<'_>,
        target: &Target,
        docker_store: docker::Store,
    ) -> Result<(), PlanError> {
        let (kind, root, version, netavark) = match engine {
            Engine::Docker(docker) => {
                self.warnings.extend(docker.warnings.iter().cloned());
                let kind = match docker_store {
                    docker::Store::Overlay2 => StoreKind::DockerOverlay2,
                    docker::Store::Containerd => StoreKind::DockerContainerd,
                };
                (kind, docker.root.clone(), docker.version, false)
            }
            Engine::Podman(podman) => {
                let kind = StoreKind::PodmanOverlay;
                (kind, podman.root.clone(), podman.version, podman.netavark)
            }
        };
        let existing = target
            .rootfs()
            .map(|rootfs| rootfs.host_path(&root))
            .filter(|path| path.is_dir());
        let images = self.names(resolved)?;
        let bundled: Vec<Reference> = images.iter().map(|image| image.name.clone()).collect();
        for wanted in wanted(resolved)? {
            self.services
                .push(service_file(&wanted, engine, target, &bundled)?);
        }
        self.stores.push(PlannedStore {
            runtime: engine.runtime(),
            target: StoreTarget {
                kind,
                root,
                existing,
                netavark,
            },
            version,
            images,
        });
        Ok(())
    }

    /// The images of one store, every name once.
    fn names(&self, resolved: &[&Resolved<'_>]) -> Result<Vec<PlannedImage>, PlanError> {
        let mut by_name: BTreeMap<String, &Resolved<'_>> = BTreeMap::new();
        for this in resolved {
            let name = engine_name(&this.name, Runtime::Podman);
            if let Some(other) = by_name.insert(name.clone(), this)
                && self.images[other.image].manifest.digest != self.images[this.image].manifest.digest
            {
                return Err(contradiction(
                    other,
                    this,
                    format!(
                        "both give an image the name `{name}`, and the images differ; give one another name or tag"
                    ),
                ));
            }
        }
        Ok(by_name
            .into_values()
            .map(|resolved| PlannedImage {
                name: resolved.name.clone(),
                image: resolved.image,
            })
            .collect())
    }

    /// Two services in one file: a Docker container and one of a Podman without Quadlet may have one name.
    fn check_paths(&mut self) -> Result<(), PlanError> {
        self.services.sort_by(|a, b| a.path.cmp(&b.path));
        for pair in self.services.windows(2) {
            if let [a, b] = pair
                && a.physical == b.physical
            {
                let name = |service: &ServiceFile| {
                    format!(
                        "container `{}` of {}",
                        service.container,
                        service.runtime.engine()
                    )
                };
                return Err(PlanError::Contradiction {
                    first: name(a),
                    second: name(b),
                    what: format!(
                        "both have the unit `{}`; give one another name (container-name in bundle.toml)",
                        a.path
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Images opened so far, by path and selection.
#[derive(Default)]
struct Opened {
    images: Vec<Image>,
    index: BTreeMap<(PathBuf, Option<String>), usize>,
}

fn resolve<'a>(
    request: &'a Request,
    options: &PlanOptions,
    opened: &mut Opened,
) -> Result<Resolved<'a>, PlanError> {
    let name = image_name(request)?;
    let path = options.places.find(request)?;
    let key = (path.clone(), request.select.clone());
    let image = match opened.index.get(&key) {
        Some(index) => *index,
        None => {
            let mut open = options.open.clone();
            open.select.clone_from(&request.select);
            let image = vcontainer_image::open(&path, &open).map_err(|source| PlanError::Image {
                origin: request.origin.clone(),
                source: Box::new(source),
            })?;
            opened.images.push(image);
            opened.index.insert(key, opened.images.len() - 1);
            opened.images.len() - 1
        }
    };
    check_digest(request, &name, &opened.images[image], &path)?;
    Ok(Resolved { request, name, image })
}

/// The name and tag of a request's image, in the form of its engine.
fn image_name(request: &Request) -> Result<Reference, PlanError> {
    let text = match (&request.name, &request.source) {
        (Some(name), _) => name.clone(),
        (None, ImageSource::Named(Source::Remote(reference))) => {
            // The registry is part of what was asked for, in either engine.
            return parse(request, reference, Reference::parse);
        }
        (None, ImageSource::Named(Source::Local(name))) => {
            let (name, tag) = naming::image_name(name);
            format!("{name}:{tag}")
        }
        (None, ImageSource::Path(path)) => path.display().to_string(),
    };
    match request.runtime {
        Runtime::Docker => parse(request, &text, Reference::parse),
        Runtime::Podman => parse(request, &text, Reference::local_podman),
    }
}

fn parse(
    request: &Request,
    text: &str,
    parser: fn(&str) -> Result<Reference, ReferenceError>,
) -> Result<Reference, PlanError> {
    parser(text).map_err(|source| PlanError::Name {
        origin: request.origin.clone(),
        name: text.to_owned(),
        source,
    })
}

/// A reference with a digest asks for exactly that image, by its manifest or by the index that it was chosen from.
fn check_digest(request: &Request, name: &Reference, image: &Image, path: &Path) -> Result<(), PlanError> {
    let digests = image
        .index
        .iter()
        .chain([&image.manifest])
        .map(|document| document.digest);
    match name.digest() {
        Some(pinned) if digests.clone().all(|digest| digest != pinned) => Err(PlanError::Digest {
            origin: request.origin.clone(),
            path: path.to_owned(),
            found: digests.map(|digest| digest.to_string()).collect(),
            pinned: pinned.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The services that the requests of one engine ask for, each container once.
fn wanted<'a>(resolved: &[&'a Resolved<'a>]) -> Result<Vec<Wanted<'a>>, PlanError> {
    let mut by_container: BTreeMap<String, &Resolved<'_>> = BTreeMap::new();
    for this in resolved {
        let request = this.request;
        if request.policy.is_none() && request.service.is_none() {
            continue;
        }
        let name = container_name(this)?;
        if let Some(other) = by_container.get(&name) {
            agree(other, this, &name)?;
        } else {
            by_container.insert(name, this);
        }
    }
    Ok(by_container
        .into_iter()
        .map(|(container, resolved)| Wanted {
            container,
            image: resolved.name.clone(),
            restart: restart(resolved.request),
            run: &resolved.request.run,
            custom: resolved.request.service.as_deref(),
        })
        .collect())
}

fn restart(request: &Request) -> Restart {
    request.policy.map_or(Restart::No, |policy| policy.restart())
}

fn container_name(resolved: &Resolved<'_>) -> Result<String, PlanError> {
    let name = match &resolved.request.container {
        Some(name) => name.clone(),
        None => naming::container_name(&resolved.name.canonical_name()),
    };
    if naming::is_container_name(&name) {
        return Ok(name);
    }
    Err(PlanError::Container {
        origin: resolved.request.origin.clone(),
        name,
    })
}

/// Makes sure that two requests for one container's service ask for the same.
fn agree(one: &Resolved<'_>, two: &Resolved<'_>, container: &str) -> Result<(), PlanError> {
    let (a, b) = (one.request, two.request);
    let what = if engine_name(&one.name, Runtime::Podman) != engine_name(&two.name, Runtime::Podman) {
        format!(
            "both start a container `{container}`, one from `{}` and one from `{}`; give one another name \
             (container-name in bundle.toml)",
            engine_name(&one.name, a.runtime),
            engine_name(&two.name, b.runtime)
        )
    } else if a.service != b.service {
        format!("container `{container}` can have only one service file")
    } else if a.service.is_some() && (a.policy.is_none() || b.policy.is_none()) {
        // The file itself says when the container starts again.
        return Ok(());
    } else if restart(a) != restart(b) {
        let word = |request: &Request| request.policy.map_or("none", |policy| policy.word());
        format!(
            "container `{container}` can have only one policy, not both `{}` and `{}`",
            word(a),
            word(b)
        )
    } else if a.run != b.run {
        format!("container `{container}` has different run options in them")
    } else {
        return Ok(());
    };
    Err(contradiction(one, two, what))
}

fn contradiction(first: &Resolved<'_>, second: &Resolved<'_>, what: String) -> PlanError {
    PlanError::Contradiction {
        first: first.request.origin.clone(),
        second: second.request.origin.clone(),
        what,
    }
}

#[cfg(test)]
mod tests;
