//! From the source of a request to a path on the build host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::grammar::Source;
use crate::naming;
use crate::request::{ImageSource, Request};

/// Where images are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Directories in which local names are looked up, in this order.
    pub directories: Vec<PathBuf>,
    /// Sources whose path is given directly.
    pub given: BTreeMap<Source, PathBuf>,
}

/// Why there is no path for a source.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing of that name in any directory.
    #[error(
        "{origin}: there is no image `{name}`: none of {} in {}; build it with `bitbake {recipe}`, name its directory \
         with --images DIR, or the image itself with --image {name}=PATH",
        candidates(name),
        quoted(directories)
    )]
    Missing {
        /// Which request.
        origin: String,
        /// What was looked for.
        name: String,
        /// The recipe that makes it.
        recipe: String,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
    },
    /// A remote reference without a local copy.
    #[error(
        "{origin}: `{reference}` is a remote image, and a bundle does not fetch; fetch it (`vcontainer fetch \
         {reference}`) and give the layout with --image {reference}=DIR"
    )]
    Remote {
        /// Which request.
        origin: String,
        /// The reference.
        reference: String,
    },
}

impl Places {
    /// The path of a request's image.
    ///
    /// # Errors
    /// There is none; the error lists what was looked for.
    pub fn find(&self, request: &Request) -> Result<PathBuf, FindError> {
        let source = match &request.source {
            ImageSource::Path(path) => return Ok(path.clone()),
            ImageSource::Named(source) => source,
        };
        if let Some(path) = self.given.get(source) {
            return Ok(path.clone());
        }
        let name = match source {
            Source::Remote(reference) => {
                return Err(FindError::Remote {
                    origin: request.origin.clone(),
                    reference: reference.clone(),
                });
            }
            Source::Local(name) => name,
        };
        let paths = self.directories.iter().flat_map(|directory| {
            naming::candidates(name)
                .into_iter()
                .map(move |file| directory.join(file))
        });
        paths
            .into_iter()
            .find(|path| may_be_image(path))
            .ok_or_else(|| FindError::Missing {
                origin: request.origin.clone(),
                name: name.clone(),
                recipe: naming::recipe(name).to_owned(),
                directories: self.directories.clone(),
            })
    }
}

/// A file, or a directory that is an OCI layout: a folder with the sources of `myapp` may well be called `myapp`.
fn may_be_image(path: &Path) -> bool {
    path.is_file() || path.join("index.json").is_file() || path.join("oci-layout").is_file()
}

fn candidates(name: &str) -> String {
    let names: Vec<String> = naming::candidates(name)
        .into_iter()
        .filter(|name| !name.contains(".tar"))
        .map(|name| format!("`{name}`"))
        .collect();
    format!("{} (or an archive .tar, .tar.gz, .tar.zst)", names.join(", "))
}

fn quoted(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Runtime;
    use std::fs;

    fn request(entry: &str) -> Request {
        Request::from_entry(entry, entry.parse().unwrap(), Runtime::Docker)
    }

    #[test]
    fn directories_and_candidates_are_tried_in_order() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for layout in ["one/b-oci", "two/a-latest-oci", "two/a-oci", "two/b-latest-oci"] {
            fs::create_dir_all(root.path().join(layout)).unwrap();
            fs::write(root.path().join(layout).join("index.json"), "{}").unwrap();
        }
        // A folder that is no layout does not hide the archive of the same name.
        fs::create_dir_all(one.join("c")).unwrap();
        fs::write(one.join("c.tar.gz"), "").unwrap();
        let mut places = Places {
            directories: vec![one.clone(), two.clone()],
            given: BTreeMap::new(),
        };
        assert_eq!(places.find(&request("a")).unwrap(), two.join("a-latest-oci"));
        assert_eq!(places.find(&request("a-oci")).unwrap(), two.join("a-oci"));
        assert_eq!(places.find(&request("b:docker")).unwrap(), one.join("b-oci"));
        assert_eq!(places.find(&request("c")).unwrap(), one.join("c.tar.gz"));
        let error = places
            .find(&request("d-latest-oci:docker:no"))
            .unwrap_err()
            .to_string();
        for part in [
            "entry `d-latest-oci:docker:no`",
            "`bitbake d`",
            "/one`, `",
            "--image d-latest-oci=PATH",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let remote = "docker.io/library/redis:7";
        assert!(
            places
                .find(&request(remote))
                .unwrap_err()
                .to_string()
                .contains("vcontainer fetch")
        );
        places.given.insert(Source::parse(remote).unwrap(), "x".into());
        assert_eq!(
            places.find(&request(&format!("{remote}:always"))).unwrap(),
            Path::new("x")
        );
    }
}
