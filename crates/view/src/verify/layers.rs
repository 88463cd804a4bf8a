//! The layers of an image: whether each is a tar stream that engines can put over those below it.

use vcontainer_build::{Kind, Tree, Unpacker};
use vcontainer_image::{Compression, Digest, ImageConfig, Manifest, RawFile};

use super::Verifier;
use crate::error::{LayerFault, chain};
use crate::read::{Limits, count, through};

/// Bytes that are enough to know a compression by.
const MAGIC_BYTES: usize = 8;

impl Verifier<'_> {
    pub(super) fn layers(&mut self, manifest: &Manifest, config: Option<&ImageConfig>) {
        // Over a layer that cannot be read nothing can be applied; what comes then is only read.
        let mut below = match Unpacker::of_names() {
            Ok(unpacker) => Some(unpacker.limited(self.limits.objects)),
            Err(error) => {
                self.wrong("layers", chain(&error));
                None
            }
        };
        for (number, descriptor) in manifest.layers.iter().enumerate() {
            let what = format!(
                "layer {} of {} {}",
                number + 1,
                manifest.layers.len(),
                descriptor.digest
            );
            let expected = config.and_then(|config| config.rootfs.diff_ids.get(number));
            if let Err(error) = Compression::of_media_type(&descriptor.media_type) {
                let fault = format!("its media type is `{}`: {error}", descriptor.media_type);
                self.wrong(what.as_str(), fault);
            }
            let Some(file) = self.blob(descriptor, &what) else {
                below = None;
                continue;
            };
            let found = apply(&file, &mut below, self.limits);
            match (found, expected) {
                (Ok(found), Some(expected)) if found != expected.0 => {
                    let expected = expected.0;
                    self.wrong(what, LayerFault::DiffId { found, expected }.to_string());
                }
                (Ok(_), _) => {}
                (Err(fault), _) => {
                    below = None;
                    self.wrong(what, chain(&fault));
                }
            }
        }
    }
}

/// Puts a layer over those below, or only reads it through where there are none. Gives its diff ID.
fn apply(file: &RawFile, below: &mut Option<Unpacker>, limits: Limits) -> Result<Digest, LayerFault> {
    let compression = Compression::sniff(&file.start(MAGIC_BYTES)?)
        .map_err(|error| LayerFault::Apply(error.to_string()))?;
    let (measured, ()) = through(file.open()?, compression, limits, |stream| match below {
        None => count(stream, limits.objects).map(drop),
        Some(below) => below
            .add(stream, Compression::None, "tar stream")
            .map_err(|error| LayerFault::Apply(chain(&error))),
    })?;
    if let Some(misplaced) = below.as_ref().and_then(|below| misplaced(below.tree())) {
        return Err(LayerFault::Apply(misplaced));
    }
    Ok(measured.diff_id.0)
}

/// What would lie in something that is no directory. Engines follow links on the way.
fn misplaced(tree: &Tree) -> Option<String> {
    tree.iter().find_map(|(path, _)| {
        let parent = path.parent()?;
        match tree.get(&parent)?.kind {
            Kind::Directory | Kind::Symlink(_) => None,
            _ => Some(format!("`{path}` would lie in `{parent}`, which is no directory")),
        }
    })
}
