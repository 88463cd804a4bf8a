//! The lists of packages: fetched when they are too old, and told apart.

use std::fs::{self, File};
use std::process::Command;

use super::configuration::{configuration, feed_line, mirror_line};
use super::{Apt, Event, Mirror, Release, Sources};
use crate::digest::digest_of;
use crate::process::{APT_GET, complaint};
use crate::{Error, feed};

/// Why a mirror doesn't serve a release.
pub(super) struct Failure {
    /// What apt said.
    pub(super) said: String,
    /// Whether the lists are there that were fetched before, and nothing speaks against them.
    pub(super) leaves_lists: bool,
}

impl Apt {
    /// Fetches the lists that are too old. The inner error is why the mirror doesn't serve the release.
    pub(super) fn refresh(
        &mut self,
        sources: &Sources,
        from: Option<(&Release, &Mirror)>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Result<(), Failure>, Error> {
        let mut lines = from.map_or_else(String::new, |(release, mirror)| mirror_line(release, mirror));
        let mut is_other_feed = false;
        if !sources.feeds.is_empty() {
            let feed = self.directory.join("feed");
            is_other_feed = feed::index(&feed, &sources.feeds)?;
            let line = feed_line(&feed);
            self.write("etc/feed.list", &line)?;
            lines.push_str(&line);
        }
        let configuration = configuration(&self.directory, sources);
        self.write("etc/sources.list", &lines)?;
        self.write("apt.conf", &configuration)?;
        let marker = self.directory.join("refreshed");
        let state = format!("{lines}{configuration}");
        let is_same = fs::read_to_string(&marker).is_ok_and(|found| found == state);
        let age = fs::metadata(&marker)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        // A feed is as it is: only a mirror's lists grow old.
        let is_fresh = is_same && (from.is_none() || age.is_some_and(|age| age < sources.max_age));
        if !is_fresh || is_other_feed {
            // apt takes all lists of a mirror or none, so that those of the last time are whole. It holds for nothing else
            // until all has been fetched.
            let leaves_lists = is_same && !is_fresh && !is_other_feed;
            if !leaves_lists {
                let _ = fs::remove_file(&marker).ok();
            }
            let mut command = self.command();
            if is_fresh {
                let list = self.directory.join("etc/feed.list");
                let only = format!("Dir::Etc::SourceList={}", list.display());
                command.args(["-o", &only, "-o", "APT::Get::List-Cleanup=0"]);
            } else if let Some((_, mirror)) = from {
                tell(Event::Lists(mirror));
            }
            if let Err(mut failure) = update(command.args(["-q", "update"]))? {
                failure.leaves_lists &= leaves_lists;
                return Ok(Err(failure));
            }
            self.write("refreshed", &state)?;
            if let (true, Some(age)) = (is_fresh, age) {
                // The mirror's lists are as old as they were.
                let time = std::time::SystemTime::now().checked_sub(age);
                let file = File::options().write(true).open(&marker);
                let set = file.and_then(|file| time.map_or(Ok(()), |time| file.set_modified(time)));
                set.map_err(Error::io("write", &marker))?;
            }
        }
        self.take_lists()?;
        Ok(Ok(()))
    }

    /// Answers come from the lists that are there.
    pub(super) fn take_lists(&mut self) -> Result<(), Error> {
        self.stamp = self.stamp_of_lists()?;
        self.forget_old_solutions();
        Ok(())
    }

    /// Names, sizes and times of the lists.
    fn stamp_of_lists(&self) -> Result<String, Error> {
        use std::os::unix::fs::MetadataExt as _;
        let directory = self.directory.join("lists");
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let entry = entry.map_err(Error::io("list", &directory))?;
            let path = entry.path();
            // A list of a feed is a link to it.
            let metadata = path.metadata().map_err(Error::io("read", &path))?;
            if metadata.is_file() {
                found.push(format!(
                    "{} {} {}.{}",
                    entry.file_name().to_string_lossy(),
                    metadata.size(),
                    metadata.mtime(),
                    metadata.mtime_nsec()
                ));
            }
        }
        found.sort();
        Ok(digest_of(found.iter().map(String::as_str)))
    }

    /// Solutions for other lists are of no use any more.
    fn forget_old_solutions(&self) {
        let Ok(entries) = fs::read_dir(self.directory.join("solved")) else {
            return;
        };
        for entry in entries.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&self.stamp) {
                // Nothing depends on it.
                let _ = fs::remove_file(entry.path()).ok();
            }
        }
    }
}

/// The inner error is what apt said.
fn update(command: &mut Command) -> Result<Result<(), Failure>, Error> {
    let output = APT_GET.output(command)?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = complaint(&output.stderr);
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let unsigned = [
        "NO_PUBKEY",
        "public key is not available",
        "Missing key",
        "not signed",
    ];
    if says(&unsigned) && !says(&["does not have a Release file"]) {
        return Ok(Err(Failure {
            said: format!(
                "its signature cannot be checked with the keys of debian-archive-keyring (a newer version of that \
                 package may have them): {said}"
            ),
            leaves_lists: false,
        }));
    }
    // A mirror that answers and is wrong is another matter than one that cannot be reached.
    let all = String::from_utf8_lossy(&output.stderr);
    let is_wrong = ["ignature", "GPG", "mismatch", "xpired", "changed its"];
    let leaves_lists = !is_wrong.iter().any(|word| all.contains(word));
    Ok(Err(Failure { said, leaves_lists }))
}
