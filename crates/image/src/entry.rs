//! One entry of a layer: what it is, where it lies and what belongs to it.

use std::fmt;

/// A path inside a layer or a tree: relative, clean, never leaving its root.
///
/// Bytes, not text: names in layers need not be UTF-8. The empty path is the root itself. No component is empty,
/// `.` or `..`; there is no leading or trailing slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Why bytes are not a path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreePathError {
    /// A `..` would leave the root.
    #[error("path `{0}` leaves the root of the layer")]
    Escapes(String),
    /// A NUL byte cannot be part of a file name.
    #[error("path `{0}` contains a NUL byte")]
    Nul(String),
}

impl TreePath {
    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Cleans `raw` as the engines do: a leading `/` is dropped, `.` and empty components vanish, `a/..` folds.
    ///
    /// # Errors
    /// A path whose `..` would leave the root, or a NUL byte.
    pub fn clean(raw: &[u8]) -> Result<Self, TreePathError> {
        if raw.contains(&0) {
            return Err(TreePathError::Nul(String::from_utf8_lossy(raw).into_owned()));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(TreePathError::Escapes(String::from_utf8_lossy(raw).into_owned()));
                    }
                }
                name => parts.push(name),
            }
        }
        Ok(Self(parts.join(&b'/')))
    }

    /// The bytes, without leading or trailing slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, outermost first; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// The path without its last component; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// This path with one more component.
    ///
    /// # Panics
    /// In debug builds, when `name` is not a single plain component: callers pass components of clean paths.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'));
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A point in time as file systems and tar headers have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1 000 000 000.
    pub nanoseconds: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The full name with its namespace, such as `security.capability`.
    pub name: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// What belongs to every file system object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits including setuid, setgid and sticky (`0o7777` at most).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with its size in bytes.
    File {
        /// Bytes of content that follow.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link with its target as written, never resolved.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// Another name for an earlier entry of the same layer.
    Hardlink {
        /// The earlier entry.
        target: TreePath,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One entry of a layer's tar stream, names and numbers resolved from PAX and GNU records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// The name exactly as the archive resolves it (PAX, GNU or header; directories with their trailing slash).
    /// tar-split records it.
    pub raw_name: Vec<u8>,
    /// The cleaned name.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Owner, mode, time, extended attributes.
    pub meta: Meta,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_confined() {
        for (raw, clean) in [
            (&b"./"[..], &b""[..]),
            (b"/", b""),
            (b"./a//b/./c/", b"a/b/c"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"a/../b", b"b"),
            (b"\xff\xfe", b"\xff\xfe"),
        ] {
            assert_eq!(TreePath::clean(raw).unwrap().as_bytes(), clean);
        }
        for raw in [&b".."[..], b"a/../../b", b"/../x", b"a\0b"] {
            assert!(TreePath::clean(raw).is_err());
        }
    }

    #[test]
    fn parents_and_joins_are_inverse() {
        let path = TreePath::clean(b"a/b").unwrap();
        assert_eq!(path.name(), Some(&b"b"[..]));
        assert_eq!(path.parent().unwrap().join(b"b"), path);
        assert_eq!(path.parent().unwrap().parent().unwrap(), TreePath::root());
        assert_eq!(TreePath::root().parent(), None);
    }
}
