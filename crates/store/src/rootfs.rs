//! A target's root filesystem as a directory on this host, seen the way the target will see it: `/` is the
//! directory, absolute symlinks start there, and nothing outside can be reached.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use vcontainer_image::TreePath;

/// Linux gives up after as many symlinks in one path (`MAXSYMLINKS`, path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Why something in a root filesystem cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The root filesystem itself cannot be opened.
    #[error("cannot open the root filesystem `{}`", path.display())]
    Open {
        /// As it was named.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The named root filesystem is no directory.
    #[error("the root filesystem `{}` is not a directory; name the directory that holds the target's /", .0.display())]
    NotRoot(PathBuf),
    /// A symlink leads out of the root filesystem.
    #[error(
        "`{link}` is a symlink to `{}`, which leaves the root filesystem; \
         make it point to a place inside",
        target.escape_ascii()
    )]
    Leaves {
        /// The symlink.
        link: TreePath,
        /// Its text.
        target: Vec<u8>,
    },
    /// Symlinks that lead to each other.
    #[error("`{0}` leads through more than {MAX_LINKS} symlinks; they probably form a loop")]
    Loop(TreePath),
    /// A component that has something below it is not a directory.
    #[error("`{component}` is {what}, so that `{path}` cannot be below it")]
    NotDirectory {
        /// The component that is in the way.
        component: TreePath,
        /// What it is ("a regular file").
        what: &'static str,
        /// The path that was asked for.
        path: TreePath,
    },
    /// A file is bigger than such a file may be.
    #[error("`{path}` is larger than {limit} bytes, which no file of its kind is")]
    TooLarge {
        /// The file.
        path: TreePath,
        /// The limit that was given, in bytes.
        limit: u64,
    },
    /// An operation on one path failed.
    #[error("cannot {action} `{path}` in the root filesystem")]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// To which path.
        path: TreePath,
        /// What went wrong.
        source: io::Error,
    },
}

/// A confined view of a root filesystem.
///
/// Paths are relative to the target's `/`. Symlinks are followed as the target would follow them, except that `..`
/// above `/` is an error: on a build host such a link is a mistake or an attack.
#[derive(Debug, Clone)]
pub struct Rootfs {
    path: PathBuf,
}

impl Rootfs {
    /// Opens the directory `path` as a target's root filesystem.
    ///
    /// # Errors
    /// It is not there, is not a directory or cannot be reached.
    pub fn open(path: &Path) -> Result<Self, RootfsError> {
        let open_error = |source| RootfsError::Open {
            path: path.to_owned(),
            source,
        };
        let path_given = path;
        let path = fs::canonicalize(path).map_err(open_error)?;
        if !fs::metadata(&path).map_err(open_error)?.is_dir() {
            return Err(RootfsError::NotRoot(path_given.to_owned()));
        }
        Ok(Self { path })
    }

    /// Where it lies on this host, absolute and without symlinks.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host path of a *physical* path, as [`Rootfs::resolve`] gives it.
    #[must_use]
    pub fn host_path(&self, physical: &TreePath) -> PathBuf {
        if physical.is_root() {
            return self.path.clone();
        }
        self.path.join(OsStr::from_bytes(physical.as_bytes()))
    }

    /// Follows every symlink in `path`, the last component's too. Components that do not exist are kept as they are:
    /// the result is where `path` is, or where it would come to lie.
    ///
    /// # Errors
    /// A symlink out of the root filesystem, a loop, something that is no directory on the way.
    pub fn resolve(&self, path: &TreePath) -> Result<TreePath, RootfsError> {
        self.walk(path, true)
    }

    /// Follows the symlinks of all components but the last, which may itself be a symlink.
    ///
    /// # Errors
    /// As [`Rootfs::resolve`].
    pub fn resolve_parent(&self, path: &TreePath) -> Result<TreePath, RootfsError> {
        self.walk(path, false)
    }

    fn walk(&self, path: &TreePath, follow_last: bool) -> Result<TreePath, RootfsError> {
        // Components still to walk, next one last; and where we are.
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut here = TreePath::root();
        let mut links = 0;
        // The link whose target is being walked, for the message when it leaves the root.
        let mut link: Option<(TreePath, Vec<u8>)> = None;
        while let Some(name) = todo.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    here = match (here.parent(), link.take()) {
                        (Some(parent), was) => {
                            link = was;
                            parent
                        }
                        (None, Some((link, target))) => return Err(RootfsError::Leaves { link, target }),
                        // Clean paths hold no `..`, so that one always comes from a link.
                        (None, None) => TreePath::root(),
                    };
                    continue;
                }
                _ => {}
            }
            let next = here.join(&name);
            let Some(kind) = self.kind(&next)? else {
                here = next;
                continue;
            };
            if kind.is_symlink() && (follow_last || !todo.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(RootfsError::Loop(path.clone()));
                }
                let target = fs::read_link(self.host_path(&next))
                    .map_err(|source| RootfsError::Io {
                        action: "read the symlink",
                        path: next.clone(),
                        source,
                    })?
                    .into_os_string()
                    .into_vec();
                if target.starts_with(b"/") {
                    here = TreePath::root();
                }
                todo.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                link = Some((next, target));
                continue;
            }
            if !kind.is_dir() && todo.iter().any(|name| !matches!(&name[..], b"" | b".")) {
                return Err(RootfsError::NotDirectory {
                    component: next,
                    what: describe(kind),
                    path: path.clone(),
                });
            }
            here = next;
        }
        Ok(here)
    }

    /// What lies at a physical path, not followed; `None` if nothing does.
    fn kind(&self, physical: &TreePath) -> Result<Option<fs::FileType>, RootfsError> {
        match fs::symlink_metadata(self.host_path(physical)) {
            Ok(metadata) => Ok(Some(metadata.file_type())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(RootfsError::Io {
                action: "look at",
                path: physical.clone(),
                source,
            }),
        }
    }

    /// Type, owner, mode and times of what `path` leads to; `None` if it leads nowhere.
    ///
    /// # Errors
    /// As [`Rootfs::resolve`], and when the metadata cannot be read.
    pub fn metadata(&self, path: &TreePath) -> Result<Option<fs::Metadata>, RootfsError> {
        let physical = self.resolve(path)?;
        match fs::symlink_metadata(self.host_path(&physical)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RootfsError::Io {
                action: "look at",
                path: path.clone(),
                source,
            }),
        }
    }

    /// The content of a regular file of at most `limit` bytes; `None` if there is none.
    ///
    /// # Errors
    /// As [`Rootfs::resolve`]; something else than a regular file, more than `limit` bytes, unreadable.
    pub fn read(&self, path: &TreePath, limit: u64) -> Result<Option<Vec<u8>>, RootfsError> {
        let io_error = |source| RootfsError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        match self.metadata(path)? {
            None => return Ok(None),
            // A FIFO would block for ever, a device could be anything.
            Some(metadata) if !metadata.is_file() => {
                let kind = describe(metadata.file_type());
                return Err(io_error(io::Error::other(format!(
                    "it is {kind}, not a regular file"
                ))));
            }
            Some(_) => {}
        }
        let file = fs::File::open(self.host_path(&self.resolve(path)?)).map_err(io_error)?;
        let mut content = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(io_error)?;
        if content.len() as u64 > limit {
            return Err(RootfsError::TooLarge {
                path: path.clone(),
                limit,
            });
        }
        Ok(Some(content))
    }

    /// The names in a directory, sorted; `None` if nothing is there.
    ///
    /// # Errors
    /// As [`Rootfs::resolve`]; not a directory, unreadable.
    pub fn list(&self, path: &TreePath) -> Result<Option<Vec<Vec<u8>>>, RootfsError> {
        let io_error = |source| RootfsError::Io {
            action: "list",
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(self.host_path(&self.resolve(path)?)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(io_error)?.file_name().into_vec());
        }
        names.sort_unstable();
        Ok(Some(names))
    }
}

/// A file type in words, for messages.
pub(crate) fn describe(kind: fs::FileType) -> &'static str {
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::clean(text.as_bytes()).unwrap()
    }

    /// A root with a file and a directory beside it that nothing may reach.
    fn root() -> (tempfile::TempDir, Rootfs) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/usr/lib/systemd")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "s").unwrap();
        let rootfs = Rootfs::open(&dir.path().join("root")).unwrap();
        (dir, rootfs)
    }

    fn resolve(rootfs: &Rootfs, text: &str) -> String {
        match rootfs.resolve(&path(text)) {
            Ok(path) => path.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn symlinks_are_followed_inside_the_root() {
        let (_dir, rootfs) = root();
        symlink("usr/lib", rootfs.path().join("lib")).unwrap();
        symlink("/usr/lib/systemd", rootfs.path().join("units")).unwrap();
        symlink("../lib/./systemd/", rootfs.path().join("usr/s")).unwrap();
        symlink("/data/docker", rootfs.path().join("dangling")).unwrap();
        for (asked, physical) in [
            ("", "/"),
            (
                "lib/systemd/system/x.service",
                "/usr/lib/systemd/system/x.service",
            ),
            ("units", "/usr/lib/systemd"),
            ("usr/s/system", "/usr/lib/systemd/system"),
            ("dangling/overlay2", "/data/docker/overlay2"),
            ("not/there", "/not/there"),
        ] {
            assert_eq!(resolve(&rootfs, asked), physical, "{asked}");
        }
        assert_eq!(rootfs.resolve_parent(&path("lib")).unwrap(), path("lib"));
        assert_eq!(
            rootfs.resolve_parent(&path("units/x")).unwrap(),
            path("usr/lib/systemd/x")
        );
    }

    #[test]
    fn links_out_of_the_root_loops_and_files_on_the_way_are_errors() {
        let (_dir, rootfs) = root();
        symlink("../outside", rootfs.path().join("var")).unwrap();
        symlink("../../../x", rootfs.path().join("usr/lib/deep")).unwrap();
        symlink("a", rootfs.path().join("b")).unwrap();
        symlink("b", rootfs.path().join("a")).unwrap();
        fs::write(rootfs.path().join("file"), "f").unwrap();
        for (asked, text) in [
            (
                "var/lib",
                "error: `/var` is a symlink to `../outside`, which leaves the root filesystem",
            ),
            (
                "usr/lib/deep/y",
                "error: `/usr/lib/deep` is a symlink to `../../../x`, which leaves",
            ),
            ("a/x", "error: `/a/x` leads through more than 40 symlinks"),
            (
                "file/x",
                "error: `/file` is a regular file, so that `/file/x` cannot be below it",
            ),
        ] {
            let got = resolve(&rootfs, asked);
            assert!(got.starts_with(text), "{asked}: {got}");
        }
        assert!(rootfs.read(&path("var/secret"), 10).is_err());
        // An absolute link to the host's path of the secret stays inside, where nothing is.
        symlink(rootfs.path().join("../outside/secret"), rootfs.path().join("abs")).unwrap();
        assert!(rootfs.read(&path("abs"), 10).unwrap().is_none());
    }

    #[test]
    fn reading_is_limited_to_small_regular_files() {
        let (_dir, rootfs) = root();
        fs::write(rootfs.path().join("usr/f"), "12345").unwrap();
        assert_eq!(rootfs.read(&path("usr/f"), 5).unwrap().unwrap(), b"12345");
        assert!(matches!(
            rootfs.read(&path("usr/f"), 4),
            Err(RootfsError::TooLarge { .. })
        ));
        assert!(rootfs.read(&path("usr/none"), 4).unwrap().is_none());
        assert!(rootfs.read(&path("usr/lib"), 4).is_err());
        assert_eq!(
            rootfs.list(&path("usr")).unwrap().unwrap(),
            [b"f".to_vec(), b"lib".to_vec()]
        );
        assert!(rootfs.list(&path("none")).unwrap().is_none());
        assert!(rootfs.metadata(&path("usr")).unwrap().unwrap().is_dir());
    }

    #[test]
    fn only_a_directory_is_a_root_filesystem() {
        let (dir, _) = root();
        assert!(matches!(
            Rootfs::open(&dir.path().join("outside/secret")),
            Err(RootfsError::NotRoot(_))
        ));
        assert!(matches!(
            Rootfs::open(&dir.path().join("none")),
            Err(RootfsError::Open { .. })
        ));
    }
}
