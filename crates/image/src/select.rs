//! Which of the images in a source is meant: by name, then by platform.

use crate::digest::Digest;
use crate::error::SourceError;
use crate::platform::Platform;
use crate::reference::Reference;

/// One image that a source offers, with what is needed to go on reading it.
#[derive(Debug, Clone)]
pub(crate) struct Offer<T> {
    /// The names that the source gives to it, as written: tags or references.
    pub names: Vec<String>,
    /// The entry of the source that leads to it; several platforms below one index share one entry.
    pub entry: usize,
    /// The digests that name it: its manifest, and the index above it.
    pub digests: Vec<Digest>,
    /// What it is for.
    pub platform: Platform,
    /// How to go on.
    pub payload: T,
}

/// The offer for `platform` and `select`. Offers of one name are platforms of one image; the best platform wins.
pub(crate) fn choose<'a, T>(
    origin: &str,
    offers: &'a [Offer<T>],
    platform: &Platform,
    select: Option<&str>,
) -> Result<&'a Offer<T>, SourceError> {
    let selected: Vec<&Offer<T>> = offers
        .iter()
        .filter(|offer| select.is_none_or(|select| offer.is_called(select)))
        .collect();
    if selected.is_empty() {
        return Err(match select {
            Some(wanted) if !offers.is_empty() => SourceError::NoSuchName {
                origin: origin.to_owned(),
                wanted: wanted.to_owned(),
                available: labels(offers.iter()),
            },
            _ => SourceError::Empty {
                origin: origin.to_owned(),
            },
        });
    }
    let fitting: Vec<(u32, &Offer<T>)> = selected
        .iter()
        .filter_map(|offer| Some((platform.rank(&offer.platform)?, *offer)))
        .collect();
    let mut best: Vec<&Offer<T>> = Vec::new();
    for (rank, offer) in &fitting {
        let better = fitting
            .iter()
            .any(|(other_rank, other)| other_rank < rank && other.names == offer.names);
        if !better {
            best.push(offer);
        }
    }
    let Some(first) = best.first() else {
        let mut available: Vec<Platform> = selected.iter().map(|offer| offer.platform.clone()).collect();
        available.sort();
        available.dedup();
        return Err(SourceError::Platform {
            origin: origin.to_owned(),
            wanted: platform.clone(),
            available,
        });
    };
    // Equal platforms below one index: the first, as in the engines. Different images: the user has to say which.
    if best
        .iter()
        .any(|offer| offer.entry != first.entry && offer.digests.first() != first.digests.first())
    {
        return Err(SourceError::Ambiguous {
            origin: origin.to_owned(),
            platform: platform.clone(),
            names: labels(best.into_iter()),
        });
    }
    Ok(first)
}

/// The full names among `names` as written; a bare tag is no name.
pub(crate) fn references<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Reference> {
    let mut references: Vec<Reference> = names.filter_map(full_name).collect();
    references.sort();
    references.dedup();
    references
}

impl<T> Offer<T> {
    /// Whether `select` means this offer: one of its digests, a name as written, the same name in another spelling,
    /// or the tag of one of its names.
    fn is_called(&self, select: &str) -> bool {
        let same_tag = |a: &Reference, b: &Reference| {
            a.canonical_name() == b.canonical_name()
                && a.tag_or_latest() == b.tag_or_latest()
                && (a.digest().is_none() || a.digest() == b.digest())
        };
        let spellings = [Reference::parse(select), Reference::local_podman(select)];
        self.digests.iter().any(|digest| digest.to_string() == select)
            || self.names.iter().any(|name| {
                name == select
                    || full_name(name).is_some_and(|name| {
                        name.tag() == Some(select)
                            || spellings.iter().flatten().any(|wanted| same_tag(wanted, &name))
                    })
            })
    }
}

/// `name` as a reference, if it is one: `1.0` or `latest` alone is a tag.
fn full_name(name: &str) -> Option<Reference> {
    name.contains(['/', ':']).then(|| Reference::parse(name).ok())?
}

/// What the offers can be selected by: their names, else the digest.
fn labels<'a, T: 'a>(offers: impl Iterator<Item = &'a Offer<T>>) -> Vec<String> {
    let mut labels: Vec<String> = offers
        .flat_map(|offer| {
            if offer.names.is_empty() {
                offer.digests.first().map(Digest::to_string).into_iter().collect()
            } else {
                offer.names.clone()
            }
        })
        .collect();
    labels.sort();
    labels.dedup();
    labels
}
