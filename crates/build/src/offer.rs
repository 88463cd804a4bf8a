//! What a layer is made of, found without doing the work: enough for its key.

use std::path::PathBuf;

use vcontainer_debian::{self as debian, Solution};
use vcontainer_image::Digest;

use crate::definition::{Definition, LayerContent};
use crate::error::Error;
use crate::layer::Times;
use crate::packages::Packages;
use crate::request::Request;
use crate::tree::Tree;
use crate::{content, key};

/// What a layer is made of, found without doing the work.
pub(crate) enum Offer {
    /// A tree that is at hand.
    Tree(Tree),
    /// Packages that apt would install.
    Packages(Solution),
    /// A root filesystem in which others have installed packages.
    Installed(PathBuf),
    /// Packages that come from nowhere: only the cache may have them.
    Nowhere,
}

impl Offer {
    /// What there is for a layer.
    pub(crate) fn of(
        definition: &Definition,
        request: &Request<'_>,
        packages: &mut Packages<'_>,
        tell: &mut dyn FnMut(debian::Event<'_>),
    ) -> Result<Self, Error> {
        let wrong = |fault: String| Error::definition(format!("layer `{definition}`"), fault);
        Ok(match &definition.content {
            LayerContent::Packages(names) => {
                if let Some(root) = request.installed.get(&definition.name) {
                    return Ok(Self::Installed(root.clone()));
                }
                let solution = packages.solve(definition, names, tell)?;
                solution.map_or(Self::Nowhere, Self::Packages)
            }
            LayerContent::Directories(paths) => {
                let root = request.root.ok_or_else(needs_root)?;
                Self::Tree(content::selected(root, paths, true).map_err(wrong)?)
            }
            LayerContent::Files(paths) => {
                let root = request.root.ok_or_else(needs_root)?;
                Self::Tree(content::selected(root, paths, false).map_err(wrong)?)
            }
            LayerContent::Host(pairs) => Self::Tree(content::host(pairs)?),
        })
    }

    /// Packages with versions and digests, where apt has found them.
    pub(crate) fn closure(&self) -> Option<Vec<(String, String, String)>> {
        match self {
            Self::Packages(solution) => Some(solution.packages()),
            _ => None,
        }
    }

    /// The digest of what is at hand.
    pub(crate) fn content(&self, times: Times) -> Result<Option<Digest>, Error> {
        match self {
            Self::Tree(tree) => key::content(tree, times).map(Some),
            _ => Ok(None),
        }
    }
}

pub(crate) fn needs_root() -> Error {
    Error::definition("the image", "it needs a root filesystem: give one with --rootfs")
}
