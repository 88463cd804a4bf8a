//! The list of what a commit has still to do, kept in the root filesystem so that the next run can end a commit that
//! was interrupted. `docs/formats/journal.md` describes it for people.
//!
//! The file is text, one step a line, paths with bytes outside `!`–`~` and `%` itself as `%XX`:
//!
//! ```text
//! vcontainer journal 1
//! area var/lib                      a staging directory in /var/lib (the first is the one in /)
//! place 0 17 var/lib/docker         rename item 17 of area 0 to /var/lib/docker
//! exchange 0 18 4711 var/lib/x      exchange item 18, a directory with inode number 4711, with /var/lib/x
//! time 1700000000 0 var/lib         set the modification time of the directory /var/lib
//! end
//! ```

use vcontainer_image::{Timestamp, TreePath};

const HEAD: &str = "vcontainer journal 1";

/// A thing that was staged: item `number` of the staging area `area`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub area: usize,
    pub number: u64,
}

/// One step of a commit. Each may be done again after it was done or half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Moves a staged item to its place, over a file or a symlink that is there.
    Place { slot: Slot, to: TreePath },
    /// Exchanges a staged directory with the one in its place.
    Exchange { slot: Slot, inode: u64, to: TreePath },
}

/// A whole commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Journal {
    /// The directories that have a staging directory in them; the root is the first.
    pub areas: Vec<TreePath>,
    pub steps: Vec<Step>,
    /// Directories whose modification time is set at the end.
    pub times: Vec<(TreePath, Timestamp)>,
}

/// Why a journal cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum JournalError {
    #[error("it is not a journal of this version of vcontainer")]
    Version,
    #[error("it has no end")]
    Incomplete,
    #[error("line {0} makes no sense")]
    Line(usize),
}

impl Journal {
    pub fn encode(&self) -> String {
        let mut lines = vec![HEAD.to_owned()];
        lines.extend(
            self.areas
                .iter()
                .map(|area| format!("area {}", encode_path(area))),
        );
        lines.extend(self.steps.iter().map(|step| match step {
            Step::Place { slot, to } => format!("place {} {} {}", slot.area, slot.number, encode_path(to)),
            Step::Exchange { slot, inode, to } => {
                format!(
                    "exchange {} {} {inode} {}",
                    slot.area,
                    slot.number,
                    encode_path(to)
                )
            }
        }));
        lines.extend(
            self.times.iter().map(|(path, time)| {
                format!("time {} {} {}", time.seconds, time.nanoseconds, encode_path(path))
            }),
        );
        lines.push("end\n".to_owned());
        lines.join("\n")
    }

    pub fn decode(text: &[u8]) -> Result<Self, JournalError> {
        let text = std::str::from_utf8(text).map_err(|_| JournalError::Version)?;
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(HEAD) {
            return Err(JournalError::Version);
        }
        let mut journal = Self::default();
        for (index, line) in lines {
            if line == "end" {
                return Ok(journal);
            }
            journal.decode_line(line).ok_or(JournalError::Line(index + 1))?;
        }
        Err(JournalError::Incomplete)
    }

    fn decode_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "area" => self.areas.push(decode_path(words.next()?)?),
            "place" => {
                let slot = self.decode_slot(&mut words)?;
                self.steps.push(Step::Place {
                    slot,
                    to: decode_path(words.next()?)?,
                });
            }
            "exchange" => {
                let slot = self.decode_slot(&mut words)?;
                let inode = words.next()?.parse().ok()?;
                self.steps.push(Step::Exchange {
                    slot,
                    inode,
                    to: decode_path(words.next()?)?,
                });
            }
            "time" => {
                let seconds = words.next()?.parse().ok()?;
                let nanoseconds = words.next()?.parse().ok().filter(|ns| *ns < 1_000_000_000)?;
                self.times
                    .push((decode_path(words.next()?)?, Timestamp { seconds, nanoseconds }));
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    fn decode_slot<'t>(&self, words: &mut impl Iterator<Item = &'t str>) -> Option<Slot> {
        let area = words
            .next()?
            .parse()
            .ok()
            .filter(|area| *area < self.areas.len())?;
        Some(Slot {
            area,
            number: words.next()?.parse().ok()?,
        })
    }
}

/// A path as one word. The root is `.`, which no clean path is.
pub(super) fn encode_path(path: &TreePath) -> String {
    use std::fmt::Write as _;
    if path.is_root() {
        return ".".to_owned();
    }
    let mut text = String::new();
    for byte in path.as_bytes() {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

pub(super) fn decode_path(text: &str) -> Option<TreePath> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    // What is not clean was not written by us, and would not be confined.
    let path = TreePath::clean(&bytes).ok()?;
    (path.as_bytes() == bytes || bytes == b".").then_some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_path() -> impl Strategy<Value = TreePath> {
        prop::collection::vec(any::<u8>().prop_filter("no NUL", |byte| *byte != 0), 0..20)
            .prop_filter_map("clean", |bytes| TreePath::clean(&bytes).ok())
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let slot = (0..2_usize, any::<u64>()).prop_map(|(area, number)| Slot { area, number });
        (slot, any::<Option<u64>>(), any_path()).prop_map(|(slot, inode, to)| match inode {
            Some(inode) => Step::Exchange { slot, inode, to },
            None => Step::Place { slot, to },
        })
    }

    fn any_time() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
    }

    proptest! {
        #[test]
        fn journals_survive_encoding(
            areas in prop::collection::vec(any_path(), 2..4),
            steps in prop::collection::vec(any_step(), 0..8),
            times in prop::collection::vec((any_path(), any_time()), 0..4),
        ) {
            let journal = Journal { areas, steps, times };
            prop_assert_eq!(Journal::decode(journal.encode().as_bytes()), Ok(journal));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Journal::decode(&bytes);
            let _ = Journal::decode(&[b"vcontainer journal 1\n", &bytes[..]].concat());
        }
    }

    #[test]
    fn the_example_of_the_description_is_a_journal() {
        let page = include_str!("../../../../../docs/formats/journal.md");
        let example = page
            .split("```text\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let journal = Journal::decode(example.as_bytes()).unwrap();
        assert_eq!(
            (journal.areas.len(), journal.steps.len(), journal.times.len()),
            (2, 2, 1)
        );
        assert_eq!(journal.encode(), example);
    }

    #[test]
    fn damaged_journals_are_refused() {
        let head = "vcontainer journal 1\n";
        for (text, error) in [
            ("vcontainer journal 2\nend\n".to_owned(), JournalError::Version),
            (String::new(), JournalError::Version),
            (format!("{head}area .\nplace 0 1 a\n"), JournalError::Incomplete),
            (format!("{head}area .\nplace 1 1 a\nend\n"), JournalError::Line(3)),
            (
                format!("{head}area .\nplace 0 1 a b\nend\n"),
                JournalError::Line(3),
            ),
            (format!("{head}area ../x\nend\n"), JournalError::Line(2)),
            (format!("{head}area a/%2E%2E/b\nend\n"), JournalError::Line(2)),
            (format!("{head}area %0\nend\n"), JournalError::Line(2)),
            (format!("{head}area a%00\nend\n"), JournalError::Line(2)),
        ] {
            assert_eq!(Journal::decode(text.as_bytes()), Err(error), "{text}");
        }
    }
}
