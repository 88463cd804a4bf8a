//! A Docker store that the target has already, read as data.

use std::path::{Path, PathBuf};

use vcontainer_image::{ChainId, DiffId, Digest};

use super::repositories::Repositories;
use crate::StoreError;
use crate::link::Link;
use crate::store_dir::StoreDir;

/// The store; empty if the target has none.
pub(super) struct Existing(Option<StoreDir>);

impl Existing {
    pub(super) fn new(root: Option<&Path>) -> Self {
        Self(root.map(StoreDir::new))
    }

    /// Its names.
    ///
    /// # Errors
    /// An index that is there and cannot be understood: to replace it would lose names.
    pub(super) fn repositories(&self) -> Result<Repositories, StoreError> {
        const NAME: &str = "image/overlay2/repositories.json";
        let Some(dir) = &self.0 else {
            return Ok(Repositories::default());
        };
        match dir.read(NAME)? {
            None => Ok(Repositories::default()),
            Some(content) => Repositories::parse(&content).map_err(|error| StoreError::Existing {
                path: dir.path(NAME),
                what: format!("it does not have the form of a Docker name index ({error})"),
            }),
        }
    }

    /// The directory name and the link of a layer that can be shared; `None` if the store does not have it, or not
    /// whole: a record that contradicts itself, a directory or a link that is missing, or a `lower` file that does not
    /// lead to the layers below. dockerd could not start a container from such a layer.
    pub(super) fn layer(
        &self,
        chain: ChainId,
        parent: Option<ChainId>,
        diff_id: DiffId,
        lower: &str,
    ) -> Result<Option<(String, Link)>, StoreError> {
        let Some(dir) = &self.0 else { return Ok(None) };
        let record = format!("image/overlay2/layerdb/sha256/{}", chain.0.hex());
        let field = |name: &str| dir.text(&format!("{record}/{name}"));
        let Some(cache_id) = field("cache-id")?.filter(|id| is_name(id)) else {
            return Ok(None);
        };
        let consistent = field("diff")? == Some(diff_id.0.to_string())
            && field("parent")? == parent.map(|parent| parent.0.to_string())
            && field("size")?.is_some_and(|size| size.parse::<u64>().is_ok())
            && dir.metadata(&format!("{record}/tar-split.json.gz"))?.is_some();
        let folder = format!("overlay2/{cache_id}");
        if !consistent || !dir.is_dir(&format!("{folder}/diff"))? {
            return Ok(None);
        }
        let Some(link) = dir
            .text(&format!("{folder}/link"))?
            .as_deref()
            .and_then(Link::parse)
        else {
            return Ok(None);
        };
        let lower_there = dir.text(&format!("{folder}/lower"))?.unwrap_or_default();
        let linked = dir.metadata(&format!("overlay2/l/{link}"))?.is_some();
        Ok((linked && lower_there == lower).then_some((cache_id, link)))
    }

    /// Where the content of a layer directory is on this machine.
    pub(super) fn content(&self, cache_id: &str) -> Option<PathBuf> {
        self.0
            .as_ref()
            .map(|dir| dir.path(&format!("overlay2/{cache_id}/diff")))
    }

    /// Whether a layer directory is marked as one that others may lie upon.
    pub(super) fn is_committed(&self, cache_id: &str) -> Result<bool, StoreError> {
        let Some(dir) = &self.0 else { return Ok(false) };
        Ok(dir.metadata(&format!("overlay2/{cache_id}/committed"))?.is_some())
    }

    /// Whether the store says that a blob has this content: it was verified when it came.
    pub(super) fn knows_blob(&self, blob: Digest, diff_id: DiffId) -> Result<bool, StoreError> {
        let content = self.distribution(&format!("diffid-by-digest/sha256/{}", blob.hex()))?;
        Ok(content.is_some_and(|content| content == diff_id.0.to_string().as_bytes()))
    }

    /// A file of the `distribution` directory.
    pub(super) fn distribution(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(dir) = &self.0 else { return Ok(None) };
        dir.read(&format!("image/overlay2/distribution/{name}"))
    }
}

/// Whether a text from a file can be the name of a directory in `overlay2`.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
