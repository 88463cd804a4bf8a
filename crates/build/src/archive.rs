//! A layout as one tar file, the same for the same layout.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use vcontainer_image::TreePath;

use crate::compress::Method;
use crate::error::{Error, OnPath as _};
use crate::layer::{self, Times};
use crate::scan;
use crate::staging::folder_of;
use crate::tree::{Kind, Tree};

/// Writes the layout at `layout` as tar file to `target`: its files at the top level, or in a directory called `inside`.
///
/// # Errors
/// The layout cannot be read or the file not be written; what was at `target` is still there then.
pub fn write(layout: &Path, inside: Option<&str>, times: Times, target: &Path) -> Result<(), Error> {
    let mut tree = Tree::default();
    for (path, node) in scan::directory(layout)?.iter() {
        let place = match inside {
            Some(name) => {
                let components: Vec<&[u8]> = std::iter::once(name.as_bytes())
                    .chain(path.components())
                    .collect();
                TreePath::of_components(&components)
            }
            None if path.is_root() => continue,
            None => path.clone(),
        };
        let mut node = node.clone();
        (node.meta.uid, node.meta.gid) = (0, 0);
        node.meta.xattrs.clear();
        node.meta.mode = match node.kind {
            Kind::Directory => 0o755,
            _ => 0o644,
        };
        tree.insert(place, node);
    }
    // Files of a layout are as old as the build: that must not show.
    let times = Times {
        epoch: Some(times.epoch.unwrap_or(0)),
    };
    let file = layer::write(&tree, times, Method::plain(), 1, folder_of(target), &|| false)?.file;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .at("setting the mode of", target)?;
    file.as_file().sync_all().at("writing out", target)?;
    let persisted = file.persist(target).map_err(|error| error.error);
    persisted.at("renaming to", target).map(drop)
}
