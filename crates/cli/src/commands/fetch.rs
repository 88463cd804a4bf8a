//! `vcontainer fetch`.

mod network;
mod progress;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use vcontainer_bundle::grammar::Source;
use vcontainer_fetch::{Error, Network, Request, fetch, resolve};
use vcontainer_image::{Platform, Reference};

use super::oci::naming;
use super::packages::own_directory;
use crate::args::Fetch;
use crate::interruption::Interruption;
use crate::output::{bytes, count, print};
use progress::Shown;

/// Fetches an image from a registry.
///
/// # Errors
/// It cannot be had; nothing has changed at its place then. A reference without a digest is always an error.
pub fn run(args: &Fetch) -> Result<()> {
    let reference: Reference = args.reference.parse()?;
    let network = network::of(args)?;
    let shown = Shown::new(
        args.quiet,
        std::io::stderr().is_terminal(),
        Interruption::watch()?,
    );
    let Some(digest) = reference.digest() else {
        return Err(without_digest(args, &reference, &network, &shown));
    };
    let platform = platform(args)?;
    let place = Place::of(args, &reference)?;
    let cache = match &args.cache {
        Some(cache) => cache.clone(),
        None => own_directory("XDG_CACHE_HOME", ".cache")?.join("registry"),
    };
    let request = Request {
        digest,
        platform,
        cache: cache.clone(),
        offline: args.offline,
        mirrors: args.mirror.clone(),
        target: (!args.cache_only).then(|| place.layout.clone()),
        tag: place.tag.clone(),
        reference,
    };
    let result = fetch(&request, &network, &shown);
    shown.finish();
    let fetched = match (result, shown.signal()) {
        (Err(Error::GivenUp), Some(interrupted)) => return Err(interrupted.into()),
        (result, _) => result?,
    };
    if args.layout_name.is_none() && !args.cache_only {
        naming::link_latest(&args.output, &place.name, &place.tag)?;
    }
    if args.quiet {
        return Ok(());
    }
    print(&format!(
        "{} ({}): {}, {}\n{}\n",
        request.target.as_ref().unwrap_or(&cache).display(),
        fetched.platform,
        count(fetched.layers, "layer"),
        bytes(fetched.bytes),
        fetched.manifest
    ))
}

fn platform(args: &Fetch) -> Result<Option<Platform>> {
    let Some(arch) = args.arch.as_ref().filter(|arch| !arch.is_empty()) else {
        return Ok(None);
    };
    let platform = Platform::for_machine(arch).context("--arch cannot be used")?;
    Ok(Some(platform.with_variant(args.variant.as_deref())))
}

/// Where the layout goes, and how the image is called there.
struct Place {
    layout: PathBuf,
    name: String,
    tag: String,
}

impl Place {
    fn of(args: &Fetch, reference: &Reference) -> Result<Self> {
        let own = format!(
            "{}:{}",
            reference.path().rsplit('/').next().unwrap_or_default(),
            reference.tag_or_latest()
        );
        let (name, tag) = naming::name_and_tag(args.name.as_ref().unwrap_or(&own))?;
        let layout = naming::place(&args.output, name, tag, args.layout_name.as_deref())?;
        Ok(Self {
            layout,
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

/// What to do about a reference without a digest: the line that a recipe needs.
fn without_digest(args: &Fetch, reference: &Reference, network: &Network, shown: &Shown) -> anyhow::Error {
    let written = &args.reference;
    // The key is made of the reference as the recipe names it.
    let key = Source::Remote(written.clone()).key();
    let line = |digest: &str| format!("CONTAINER_DIGESTS[{key}] = \"{digest}\"");
    let why = format!("`{written}` has no digest: what its tag stands for can change, so it is not fetched");
    let resolved = match args.offline {
        true => Err(anyhow!("nothing may be asked with --offline")),
        false => resolve(reference, network, shown).map_err(anyhow::Error::from),
    };
    shown.finish();
    match resolved {
        Ok(digest) => anyhow!(
            "{why}. Now it is {digest}; pin that in the recipe:\n\n{}\n\nor here:\n\nvcontainer fetch {written}@{digest}",
            line(&digest.to_string())
        ),
        Err(error) => error.context(format!(
            "{why}. Its digest cannot be found out now; `skopeo inspect docker://{reference} | jq -r .Digest` tells it. Pin \
             that in the recipe:\n\n{}\n",
            line("sha256:…")
        )),
    }
}
