//! From a request to an image layout.

use std::collections::BTreeMap;
use std::time::SystemTime;

use vcontainer_debian::Installed;
use vcontainer_image::{Compression, DiffId, Digest, Image, Platform};

use crate::below::Below;
use crate::cache::{Cache, Damage, Entry, Hit};
use crate::config::{self, Step};
use crate::definition::{self, Definition, LayerContent};
use crate::diff::added;
use crate::error::Error;
use crate::key::Key;
use crate::layer;
use crate::layout::{Descriptor, LayoutWriter, copy_layers};
use crate::offer::{self, Offer};
use crate::packages::{Packages, respect, without_state};
use crate::request::{Event, Request};
use crate::scan;
use crate::tree::Tree;

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// Its layers, base first.
    pub layers: Vec<BuiltLayer>,
}

/// A layer of what was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Its name; `None` for one of the base.
    pub name: Option<String>,
    /// The digest of its blob.
    pub digest: Digest,
    /// The size of its blob in bytes.
    pub size: u64,
    /// How many objects are in it; `None` for one of the base.
    pub objects: Option<usize>,
    /// Whether it came out of the cache.
    pub is_cached: bool,
}

/// How many packages an event names.
const NAMED: usize = 3;

/// Builds the image.
///
/// # Errors
/// Nothing has been changed at its place then.
pub fn build(request: &Request<'_>, tell: &mut dyn FnMut(Event<'_>)) -> Result<Built, Error> {
    definition::check(request.layers)?;
    request.settings.check()?;
    if let Some(base) = request.base {
        check_platform(base, request.platform)?;
    }
    let mut work = Work::new(request, tell)?;
    if request.layers.is_empty() {
        let tree = request.root.ok_or_else(offer::needs_root)?;
        let history = "vcontainer oci build: root filesystem".to_owned();
        work.write("rootfs", history, tree)?;
    }
    for definition in request.layers {
        work.layer(definition)
            .map_err(|error| error.in_layer(definition))?;
    }
    work.finish()
}

fn check_platform(base: &Image, wanted: &Platform) -> Result<(), Error> {
    let found = base.config_view.platform();
    match (&found.os, &found.architecture) == (&wanted.os, &wanted.architecture) {
        true => Ok(()),
        false => Err(Error::definition(
            format!("base image `{}`", base.origin),
            format!("it is for {found}, and the image is for {wanted}"),
        )),
    }
}

/// An image in the making.
struct Work<'a, 'b> {
    request: &'a Request<'a>,
    tell: &'b mut dyn FnMut(Event<'_>),
    writer: LayoutWriter,
    below: Below,
    /// Names all layers so far, for the key of the next.
    chain: String,
    packages: Packages<'a>,
    steps: Vec<Step>,
    descriptors: Vec<Descriptor>,
    built: Vec<BuiltLayer>,
}

impl<'a, 'b> Work<'a, 'b> {
    /// Begins with the layers of the base.
    fn new(request: &'a Request<'a>, tell: &'b mut dyn FnMut(Event<'_>)) -> Result<Self, Error> {
        let mut writer = LayoutWriter::new(request.target)?;
        let mut below = Below::new(writer.directory())?;
        let mut descriptors = Vec::new();
        if let Some(base) = request.base {
            descriptors = copy_layers(&mut writer, base)?;
            for layer in &base.layers {
                below.add(writer.blob(layer.digest), layer.compression);
            }
        }
        let built = descriptors.iter().map(|descriptor| BuiltLayer {
            name: None,
            digest: descriptor.digest,
            size: descriptor.size,
            objects: None,
            is_cached: false,
        });
        Ok(Self {
            request,
            tell,
            below,
            chain: request.chain_of_base(),
            packages: Packages::new(request.packages),
            steps: Vec::new(),
            built: built.collect(),
            descriptors,
            writer,
        })
    }

    /// One layer: out of the cache, or made and put there.
    fn layer(&mut self, definition: &'a Definition) -> Result<(), Error> {
        let request = self.request;
        let tell = &mut *self.tell;
        let offer = Offer::of(definition, request, &mut self.packages, &mut |event| {
            tell(Event::Packages(event));
        })?;
        let closure = offer.closure();
        let content = match request.cache {
            Some(_) => offer.content(request.times)?,
            None => None,
        };
        let subject = request.subject(definition, closure.as_deref(), content, &self.chain);
        let named = match &definition.content {
            LayerContent::Packages(names) => named(names, &subject.versions()),
            _ => definition.content_text().to_owned(),
        };
        let cached = request.cache.zip(subject.key());
        if let Some((cache, key)) = cached {
            if self.restore(definition, cache, key)? {
                return Ok(());
            }
            (self.tell)(Event::Miss {
                layer: &definition.name,
                content: named,
            });
        }
        let (tree, state) = self.content(definition, offer)?;
        let layer = self.write(&definition.name, history(definition), &tree)?;
        // What is in a layer depends on those below, so all of them name what lies above.
        self.chain = format!("{} {}", self.chain, layer.diff_id.0);
        if let Some((cache, key)) = cached {
            (self.tell)(Event::Saving {
                layer: &definition.name,
                key,
            });
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let entry = Entry {
                key: key.full(),
                name: definition.name.clone(),
                created: now.map_or(0, |now| now.as_secs()),
                machine: request.inputs.machine.clone(),
                compression: request.method.compression(),
                digest: layer.digest,
                size: layer.size,
                diff_id: layer.diff_id,
                objects: layer.objects,
                state: state.as_deref().map(Digest::of),
            };
            let saved = cache.save(&key, &entry, &self.writer.blob(layer.digest), state.as_deref());
            match saved {
                // The layer is right; somebody else's cache is in a state that they must mend.
                Err(error) if error.is_permission() => (self.tell)(Event::NotSaved {
                    layer: &definition.name,
                    error: &error,
                }),
                saved => saved?,
            }
            self.chain = key.full();
        }
        Ok(())
    }

    /// What is in a layer, and the package manager's state after it.
    fn content(&mut self, definition: &Definition, offer: Offer) -> Result<(Tree, Option<Vec<u8>>), Error> {
        let given = self.request.states.get(&definition.name);
        match offer {
            Offer::Tree(tree) => Ok((tree, given.cloned())),
            Offer::Installed(root) => {
                let mut tree = scan::directory(&root)?;
                without_state(&mut tree);
                Ok((tree, given.cloned()))
            }
            Offer::Packages(solution) => {
                let tell = &mut *self.tell;
                let directory = self.writer.directory();
                let (mut unpacked, installed) =
                    self.packages
                        .unpack(definition, &solution, directory, &mut |event| {
                            tell(Event::Packages(event));
                        })?;
                if !unpacked.with_scripts.is_empty() {
                    (self.tell)(Event::Scripts {
                        layer: &definition.name,
                        packages: &unpacked.with_scripts,
                    });
                }
                respect(self.below.tree()?, &mut unpacked);
                without_state(&mut unpacked.tree);
                self.packages.add(&installed);
                Ok((unpacked.tree, Some(installed.as_str().as_bytes().to_vec())))
            }
            Offer::Nowhere => Err(Error::definition(
                format!("layer `{definition}`"),
                "its packages come from nowhere: name a Debian release with --suite, or a directory of .deb files with --feed",
            )),
        }
    }

    /// Takes a layer out of the cache, if it is there and whole.
    fn restore(&mut self, definition: &'a Definition, cache: &Cache, key: Key) -> Result<bool, Error> {
        let hit = match cache.lookup(&key, &definition.name) {
            Ok(None) => return Ok(false),
            Ok(Some(hit)) => match self.writer.add_cached(cache, &hit)? {
                Ok(()) => hit,
                Err(damage) => {
                    self.forget(cache, &damage);
                    return Ok(false);
                }
            },
            Err(damage) => {
                self.forget(cache, &damage);
                return Ok(false);
            }
        };
        (self.tell)(Event::Hit {
            layer: &definition.name,
            key,
        });
        self.use_hit(definition, hit, key);
        Ok(true)
    }

    fn forget(&mut self, cache: &Cache, damage: &Damage) {
        (self.tell)(Event::Damaged(damage));
        // What has to stay is told when the layer cannot be saved.
        let _ = cache.remove(&damage.directory);
    }

    fn use_hit(&mut self, definition: &Definition, hit: Hit, key: Key) {
        let entry = hit.entry;
        self.below.add(self.writer.blob(entry.digest), entry.compression);
        if let Some(state) = hit.state {
            let status = String::from_utf8_lossy(&state).into_owned();
            self.packages.add(&Installed::new(status));
        }
        let written = Written {
            digest: entry.digest,
            size: entry.size,
            diff_id: entry.diff_id,
            objects: entry.objects,
        };
        self.record(
            &definition.name,
            history(definition),
            &written,
            entry.compression,
            true,
        );
        self.chain = key.full();
    }

    /// Writes what a tree has more than the layers so far.
    fn write(&mut self, name: &str, created_by: String, tree: &Tree) -> Result<Written, Error> {
        let request = self.request;
        let tree = added(self.below.tree()?, tree)?;
        let layer = layer::write(
            &tree,
            request.times,
            request.method,
            request.threads,
            self.writer.directory(),
            request.is_given_up,
        )?;
        let written = Written {
            digest: layer.digest,
            size: layer.size,
            diff_id: layer.diff_id,
            objects: tree.len(),
        };
        self.writer.add_file(layer.file, layer.digest)?;
        self.below.lay_over(&tree);
        self.record(name, created_by, &written, request.method.compression(), false);
        Ok(written)
    }

    fn record(
        &mut self,
        name: &str,
        created_by: String,
        layer: &Written,
        compression: Compression,
        is_cached: bool,
    ) {
        self.steps.push(Step {
            diff_id: layer.diff_id,
            created_by,
        });
        self.descriptors.push(Descriptor {
            media_type: compression.oci_media_type().into(),
            digest: layer.digest,
            size: layer.size,
        });
        self.built.push(BuiltLayer {
            name: Some(name.into()),
            digest: layer.digest,
            size: layer.size,
            objects: Some(layer.objects),
            is_cached,
        });
    }

    fn finish(self) -> Result<Built, Error> {
        let request = self.request;
        let config = config::document(
            request.base.map(|base| base.config.bytes.as_slice()),
            request.settings,
            request.platform,
            request.times.created(),
            &self.steps,
        )?;
        let manifest = self.writer.finish(
            &config,
            &self.descriptors,
            request.platform,
            request.tag,
            request.annotations,
        )?;
        let of_packages = |layer: &&BuiltLayer| {
            request.layers.iter().any(|definition| {
                Some(&definition.name) == layer.name.as_ref()
                    && matches!(definition.content, LayerContent::Packages(_))
            })
        };
        let packages: Vec<&BuiltLayer> = self.built.iter().filter(of_packages).collect();
        (self.tell)(Event::Done {
            layers: packages.len(),
            hits: packages.iter().filter(|layer| layer.is_cached).count(),
        });
        Ok(Built {
            manifest,
            layers: self.built,
        })
    }
}

/// A layer whose blob lies in the layout.
struct Written {
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    objects: usize,
}

fn history(definition: &Definition) -> String {
    format!("vcontainer oci build: {}", definition.public_text())
}

/// The first packages with their versions, and how many there are besides.
fn named(names: &[String], versions: &BTreeMap<&str, &str>) -> String {
    let mut words: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| match versions.get(name.as_str()) {
            Some(version) => format!("{name}={version}"),
            None => name.clone(),
        })
        .collect();
    if names.len() > NAMED {
        words.push(format!("...+{} more", names.len() - NAMED));
    }
    words.join(" ")
}
