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

    /// The path of these components, outermost first.
    ///
    /// # Panics
    /// In debug builds, as [`TreePath::join`].
    #[must_use]
    pub fn of_components(names: &[&[u8]]) -> Self {
        debug_assert!(names.iter().all(|name| is_component(name)));
        Self(names.join(&b'/'))
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
        debug_assert!(is_component(name));
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }
}

fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')
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

impl Timestamp {
    /// The time in UTC as RFC 3339, the form of every time in image JSON: whole seconds, or nine decimals.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        const DAY: i64 = 86_400;
        let (days, second) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY));
        // Days to civil date in the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let fraction = match self.nanoseconds {
            0 => String::new(),
            nanoseconds => format!(".{nanoseconds:09}"),
        };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }
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
    fn times_are_written_as_rfc_3339() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 5, "2023-11-14T22:13:20.000000005Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(time.rfc3339(), text);
        }
    }

    #[test]
    fn parents_and_joins_are_inverse() {
        let path = TreePath::clean(b"a/b").unwrap();
        assert_eq!(path.name(), Some(&b"b"[..]));
        assert_eq!(TreePath::of_components(&[b"a", b"b"]), path);
        assert_eq!(TreePath::of_components(&[]), TreePath::root());
        assert_eq!(path.parent().unwrap().join(b"b"), path);
        assert_eq!(path.parent().unwrap().parent().unwrap(), TreePath::root());
        assert_eq!(TreePath::root().parent(), None);
    }
}
