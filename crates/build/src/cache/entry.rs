//! What the marker file of an entry says: `name=value` lines. The first four are the reference's. Pure.

use vcontainer_image::{Compression, DiffId, Digest};

/// The file that makes a directory an entry.
pub(super) const MARKER: &str = ".oci-layer-cache";

/// A layer in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// All digits of its key.
    pub key: String,
    /// The layer's name.
    pub name: String,
    /// When it was saved, in seconds since 1970.
    pub created: u64,
    /// The machine that it is for, as the caller named it; may be empty.
    pub machine: String,
    /// How the blob is compressed.
    pub compression: Compression,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The digest of the tar stream.
    pub diff_id: DiffId,
    /// How many objects are in it.
    pub objects: usize,
    /// The digest of the package manager's state after this layer, if there is one.
    pub state: Option<Digest>,
}

impl Entry {
    /// The marker's text.
    pub(super) fn text(&self) -> String {
        let short: String = self.key.chars().take(16).collect();
        let compression = self.compression.name();
        let state = self.state.map(|digest| format!("state={digest}\n"));
        format!(
            "cache_key={short}\nlayer_name={}\ncreated={}\nmachine={}\nfull_key={}\ncompression={compression}\n\
             digest={}\nsize={}\ndiff_id={}\nobjects={}\n{}",
            self.name,
            self.created,
            self.machine,
            self.key,
            self.digest,
            self.size,
            self.diff_id.0,
            self.objects,
            state.unwrap_or_default(),
        )
    }

    /// Reads a marker. `None` if it is damaged.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let key = value("full_key")?;
        let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_key || !key.starts_with(value("cache_key")?) {
            return None;
        }
        Some(Self {
            key: key.into(),
            name: value("layer_name")?.into(),
            created: value("created")?.parse().ok()?,
            machine: value("machine")?.into(),
            compression: Compression::of_name(value("compression")?)?,
            digest: value("digest")?.parse().ok()?,
            size: value("size")?.parse().ok()?,
            diff_id: DiffId(value("diff_id")?.parse().ok()?),
            objects: value("objects")?.parse().ok()?,
            state: match value("state") {
                Some(digest) => Some(digest.parse().ok()?),
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_back_and_cut_ones_are_not() {
        let entry = Entry {
            key: Digest::of(b"key").hex(),
            name: "base".into(),
            created: 1_700_000_000,
            machine: String::new(),
            compression: Compression::Zstd,
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: DiffId(Digest::of(b"tar")),
            objects: 3,
            state: Some(Digest::of(b"state")),
        };
        let text = entry.text();
        assert_eq!(Entry::parse(&text), Some(entry.clone()));
        let without = Entry { state: None, ..entry };
        assert_eq!(Entry::parse(&without.text()), Some(without));
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() - 1 {
            let mut lines = lines.clone();
            lines.remove(missing);
            assert_eq!(Entry::parse(&lines.join("\n")), None, "without {}", missing);
        }
    }
}
