//! Which layers of an image are in the cache already: before anything is installed.

use vcontainer_debian::{self as debian, Installed};

use crate::cache::{Damage, Hit};
use crate::definition;
use crate::error::Error;
use crate::key::Key;
use crate::offer::Offer;
use crate::packages::Packages;
use crate::request::Request;

/// A layer that was looked up.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Its name.
    pub name: String,
    /// The type of its content.
    pub kind: &'static str,
    /// Its key; `None` when that is not known before the layers below it are there.
    pub key: Option<Key>,
    /// The entry. Its blob has not been read.
    pub hit: Option<Hit>,
    /// What is wrong with the entry that is there.
    pub damage: Option<Damage>,
}

/// Looks up the layers of an image.
///
/// # Errors
/// A definition makes no sense, or what it needs for its key cannot be read.
pub fn lookup(request: &Request<'_>, tell: &mut dyn FnMut(debian::Event<'_>)) -> Result<Vec<Looked>, Error> {
    definition::check(request.layers)?;
    let mut packages = Packages::new(request.packages);
    let mut chain = Some(request.chain_of_base());
    let mut found = Vec::new();
    for definition in request.layers {
        let mut looked = Looked {
            name: definition.name.clone(),
            kind: definition.content.type_name(),
            key: None,
            hit: None,
            damage: None,
        };
        if let (Some(below), Some(cache)) = (&chain, request.cache) {
            let offer = Offer::of(definition, request, &mut packages, tell)
                .map_err(|error| error.in_layer(definition))?;
            let closure = offer.closure();
            let content = offer.content(request.times)?;
            looked.key = request
                .subject(definition, closure.as_deref(), content, below)
                .key();
            match looked.key.map(|key| cache.lookup(&key, &definition.name)) {
                None => {}
                Some(Ok(hit)) => looked.hit = hit,
                Some(Err(damage)) => looked.damage = Some(damage),
            }
            let state = looked.hit.as_ref().and_then(|hit| hit.state.as_ref());
            if let Some(state) = state {
                packages.add(&Installed::new(String::from_utf8_lossy(state).into_owned()));
            }
            // What apt would find for the next layer depends on what it would have installed for this one.
            let goes_on = looked.hit.is_some() || closure.is_none();
            chain = looked.key.filter(|_| goes_on).map(|key| key.full());
        }
        found.push(looked);
    }
    Ok(found)
}
