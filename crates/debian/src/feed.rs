//! Directories of `.deb` files as sources for apt: the index that apt wants is made here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::digest::digest;
use crate::process::{DPKG_DEB, complaint};

/// The field in our index that tells whether a file is still the one that was read.
const STAMP: &str = "X-Vcontainer-Stamp";

/// Writes an index of all packages in and below the feeds into `directory`, which gets a link to each feed. Says whether
/// the index is another one than before.
pub(crate) fn index(directory: &Path, feeds: &[PathBuf]) -> Result<bool, Error> {
    fs::create_dir_all(directory).map_err(Error::io("make the directory", directory))?;
    let path = directory.join("Packages");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeMap<(&str, &str), &str> = old
        .split("\n\n")
        .filter_map(|record| Some(((field(record, "Filename")?, field(record, STAMP)?), record)))
        .collect();
    let mut new = String::new();
    for (number, feed) in feeds.iter().enumerate() {
        let place = number.to_string();
        link(&directory.join(&place), feed)?;
        for relative in packages(feed)? {
            let file = feed.join(&relative);
            let metadata = file.metadata().map_err(Error::io("read", &file))?;
            let stamp = format!(
                "{}-{}-{}.{}",
                metadata.size(),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec()
            );
            let name = format!("./{place}/{relative}");
            match known.get(&(name.as_str(), stamp.as_str())) {
                Some(record) => new.push_str(record),
                None => new.push_str(&record(&file, &name, metadata.size(), &stamp)?),
            }
            new.push_str("\n\n");
        }
    }
    if new == old && path.exists() {
        return Ok(false);
    }
    let staged = directory.join("Packages.new");
    fs::write(&staged, new).map_err(Error::io("write", &staged))?;
    fs::rename(&staged, &path).map_err(Error::io("write", &path))?;
    Ok(true)
}

/// What apt's index says of one package.
fn record(file: &Path, name: &str, size: u64, stamp: &str) -> Result<String, Error> {
    let output = DPKG_DEB.output(DPKG_DEB.command().arg("--field").arg(file))?;
    if !output.status.success() {
        return Err(Error::Program {
            program: DPKG_DEB.name,
            doing: format!("reading {}", file.display()),
            said: complaint(&output.stderr),
        });
    }
    let fields = String::from_utf8_lossy(&output.stdout);
    let fields = fields.split("\n\n").next().unwrap_or_default().trim_end();
    let sha256 = digest(file).map_err(Error::io("read", file))?;
    Ok(format!(
        "{fields}\nFilename: {name}\nSize: {size}\nSHA256: {sha256}\n{STAMP}: {stamp}"
    ))
}

fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The paths of all packages in and below a directory, sorted.
fn packages(feed: &Path) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(below) = waiting.pop() {
        let directory = feed.join(&below);
        let failed = |error| Error::io("list the feed", &directory)(error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text cannot stand in an index.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = match below.is_empty() {
                true => name,
                false => format!("{below}/{name}"),
            };
            if entry.file_type().map_err(failed)?.is_dir() {
                waiting.push(path);
            } else if path.ends_with(".deb") && !path.contains('\n') {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes a link, in place of one that leads elsewhere.
fn link(place: &Path, feed: &Path) -> Result<(), Error> {
    let target = feed.canonicalize().map_err(Error::io("find the feed", feed))?;
    if fs::read_link(place).is_ok_and(|found| found == target) {
        return Ok(());
    }
    match fs::remove_file(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", place)(error));
        }
        _ => {}
    }
    symlink(&target, place).map_err(Error::io("make the link", place))
}
