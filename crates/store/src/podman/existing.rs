//! A Podman store that the target has already, read as data.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vcontainer_image::{DiffId, Meta};

use super::records::{Record, Records, text};
use crate::StoreError;
use crate::link::Link;
use crate::store_dir::StoreDir;

/// The store; empty if the target has none.
pub(super) struct Existing {
    dir: Option<StoreDir>,
    /// `layers.json`.
    pub layers: Records,
    /// `images.json`.
    pub images: Records,
}

impl Existing {
    /// Reads the indexes.
    ///
    /// # Errors
    /// An index that is there and cannot be understood: to replace it would lose images.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, StoreError> {
        let dir = root.map(StoreDir::new);
        let index = |name: &str| -> Result<Records, StoreError> {
            let Some(dir) = &dir else {
                return Ok(Records::default());
            };
            let Some(content) = dir.read(name)? else {
                return Ok(Records::default());
            };
            Records::parse(&content).map_err(|error| StoreError::Existing {
                path: dir.path(name),
                what: format!("it does not have the form of an index of containers/storage ({error})"),
            })
        };
        let layers = index("overlay-layers/layers.json")?;
        let images = index("overlay-images/images.json")?;
        Ok(Self { dir, layers, images })
    }

    /// Whether the store has something of this name.
    pub(super) fn has(&self, name: &str) -> Result<bool, StoreError> {
        let Some(dir) = &self.dir else { return Ok(false) };
        Ok(dir.metadata(name)?.is_some())
    }

    /// The link of a layer that can be shared, with mode and owner of its content's root; `None` if the store does not
    /// have it, or not whole.
    pub(super) fn layer(
        &self,
        id: &str,
        parent: Option<&str>,
        diff_id: DiffId,
        lower: &str,
    ) -> Result<Option<(Link, Meta)>, StoreError> {
        let (Some(dir), Some(record)) = (&self.dir, self.layers.get(id)) else {
            return Ok(None);
        };
        let consistent = text(record, "diff-digest") == Some(&diff_id.0.to_string())
            && text(record, "parent").filter(|parent| !parent.is_empty()) == parent
            && record.get("diff-size").is_some_and(Value::is_u64)
            && !is_incomplete(record);
        let Some(content) = dir
            .metadata(&format!("overlay/{id}/diff"))?
            .filter(|content| content.is_dir())
        else {
            return Ok(None);
        };
        let Some(link) = dir
            .text(&format!("overlay/{id}/link"))?
            .as_deref()
            .and_then(Link::parse)
        else {
            return Ok(None);
        };
        let lower_there = dir.text(&format!("overlay/{id}/lower"))?.unwrap_or_default();
        let linked = dir.metadata(&format!("overlay/l/{link}"))?.is_some();
        let root = Meta {
            mode: content.mode() & 0o7777,
            uid: content.uid(),
            gid: content.gid(),
            ..Meta::default()
        };
        Ok((consistent && linked && lower_there == lower).then_some((link, root)))
    }

    /// Where the content of a layer is on this machine.
    pub(super) fn content(&self, id: &str) -> Option<PathBuf> {
        self.dir
            .as_ref()
            .map(|dir| dir.path(&format!("overlay/{id}/diff")))
    }
}

/// Whether Podman was interrupted while it wrote the layer; it deletes such a layer at its next start.
fn is_incomplete(record: &Record) -> bool {
    let flag = record.get("flags").and_then(|flags| flags.get("incomplete"));
    flag.is_some_and(|flag| flag != &Value::Bool(false))
}
