//! Options and operands of a command, by the rules of pflag, which both engines use.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// One option of a command.
pub(super) struct Found {
    /// Where its word stands, and how many words it has.
    pub at: usize,
    pub words: usize,
    /// `--name` without the dashes, or the letter.
    pub name: String,
    pub value: Option<OsString>,
}

impl Found {
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// Whether a switch is on.
    pub fn on(&self) -> bool {
        self.value
            .as_ref()
            .is_none_or(|value| matches!(value.to_str(), Some("1" | "t" | "T" | "true" | "TRUE" | "True")))
    }
}

/// The options of a command and its operands, by the rules of pflag.
pub(super) struct Scan {
    pub options: Vec<Found>,
    pub operands: Vec<usize>,
}

/// Goes through `words` from `start`. With `stop`, everything from the first operand on is operands.
pub(super) fn scan(
    words: &[OsString],
    start: usize,
    switches: &[&str],
    short_switches: &[u8],
    stop: bool,
) -> Scan {
    let mut found = Scan {
        options: Vec::new(),
        operands: Vec::new(),
    };
    let mut at = start;
    while at < words.len() {
        let word = words[at].as_bytes();
        if word == b"--" {
            found.operands.extend(at + 1..words.len());
            break;
        }
        if !word.starts_with(b"-") || word == b"-" {
            if stop {
                found.operands.extend(at..words.len());
                break;
            }
            found.operands.push(at);
            at += 1;
            continue;
        }
        let mut count = 1;
        if let Some(long) = word.strip_prefix(b"--") {
            let (name, mut value) = match long.iter().position(|byte| *byte == b'=') {
                Some(equals) => (
                    &long[..equals],
                    Some(OsStr::from_bytes(&long[equals + 1..]).to_owned()),
                ),
                None => (long, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            if value.is_none() && !switches.contains(&name.as_str()) {
                value = words.get(at + 1).cloned();
                count = 2;
            }
            found.options.push(Found {
                at,
                words: count,
                name,
                value,
            });
        } else {
            let letters = &word[1..];
            for (position, letter) in letters.iter().enumerate() {
                let rest = &letters[position + 1..];
                let name = char::from(*letter).to_string();
                let mut push = |value, words| {
                    found.options.push(Found {
                        at,
                        words,
                        name: name.clone(),
                        value,
                    });
                };
                let attached = rest.strip_prefix(b"=");
                if short_switches.contains(letter) {
                    push(attached.map(|value| OsStr::from_bytes(value).to_owned()), 1);
                    if attached.is_some() {
                        break;
                    }
                    continue;
                }
                if rest.is_empty() {
                    count = 2;
                    push(words.get(at + 1).cloned(), 2);
                } else {
                    push(Some(OsStr::from_bytes(attached.unwrap_or(rest)).to_owned()), 1);
                }
                break;
            }
        }
        at += count;
    }
    found
}
