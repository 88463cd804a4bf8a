//! What is asked for, and what is told on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vcontainer_debian::{self as debian, Sources};
use vcontainer_image::{Digest, Image, Platform};

use crate::cache::{Cache, Damage};
use crate::compress::Method;
use crate::config::Settings;
use crate::definition::Definition;
use crate::error::Error;
use crate::key::{Inputs, Key, Subject};
use crate::layer::Times;
use crate::tree::Tree;

/// An image to build.
pub struct Request<'a> {
    /// The root filesystem, which `directories` and `files` layers are taken from, or all of it when there are no layers.
    pub root: Option<&'a Tree>,
    /// The image that it is built upon.
    pub base: Option<&'a Image>,
    /// Its layers; none for a single one with the whole root filesystem.
    pub layers: &'a [Definition],
    /// Where the packages of `packages` layers come from.
    pub packages: Option<&'a Sources>,
    /// By layer: the file system after another package manager has installed its packages.
    pub installed: &'a BTreeMap<String, PathBuf>,
    /// By layer: the state of that package manager, to be kept in the cache.
    pub states: &'a BTreeMap<String, Vec<u8>>,
    /// What the caller says about layers besides, for their keys in the cache.
    pub inputs: &'a Inputs,
    /// Where finished layers are kept.
    pub cache: Option<&'a Cache>,
    /// How it is run.
    pub settings: &'a Settings,
    /// What it is for.
    pub platform: &'a Platform,
    /// How layers are compressed.
    pub method: Method,
    /// On how many threads.
    pub threads: usize,
    /// The times in it.
    pub times: Times,
    /// Its tag.
    pub tag: &'a str,
    /// Annotations of its manifest.
    pub annotations: &'a BTreeMap<String, String>,
    /// Where the layout goes.
    pub target: &'a Path,
}

impl Request<'_> {
    /// Names the layers of the base, for the key of the first layer above them.
    pub(crate) fn chain_of_base(&self) -> String {
        let layers = self.base.into_iter().flat_map(|base| &base.layers);
        let digests: Vec<String> = layers.map(|layer| layer.digest.to_string()).collect();
        digests.join(" ")
    }

    /// A layer of this image, to be named.
    pub(crate) fn subject<'s>(
        &'s self,
        definition: &'s Definition,
        closure: Option<&'s [(String, String, String)]>,
        content: Option<Digest>,
        below: &'s str,
    ) -> Subject<'s> {
        Subject {
            definition,
            inputs: self.inputs,
            closure,
            content,
            below,
            platform: self.platform,
            method: self.method,
            epoch: self.times.epoch,
        }
    }
}

/// How far it is.
#[derive(Debug)]
pub enum Event<'a> {
    /// Packages are being found or fetched.
    Packages(debian::Event<'a>),
    /// A layer is taken out of the cache.
    Hit {
        /// Its name.
        layer: &'a str,
        /// Its key.
        key: Key,
    },
    /// A layer is not in the cache.
    Miss {
        /// Its name.
        layer: &'a str,
        /// What is in it: a few packages with their versions, or paths.
        content: String,
    },
    /// A layer is put into the cache.
    Saving {
        /// Its name.
        layer: &'a str,
        /// Its key.
        key: Key,
    },
    /// A layer cannot be put into the cache, which belongs to somebody else.
    NotSaved {
        /// Its name.
        layer: &'a str,
        /// What is wrong.
        error: &'a Error,
    },
    /// An entry of the cache cannot be used: the layer is made again.
    Damaged(&'a Damage),
    /// Packages with maintainer scripts, which were not run.
    Scripts {
        /// The layer.
        layer: &'a str,
        /// Names of packages.
        packages: &'a [String],
    },
    /// All layers are there.
    Done {
        /// How many of packages there are.
        layers: usize,
        /// How many of these came out of the cache.
        hits: usize,
    },
}
