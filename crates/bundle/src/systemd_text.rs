//! The text of systemd unit files and Quadlets: sections, keys, values, and the quoting of words in them.
//!
//! Source: systemd.syntax(7) (lines, quoting), systemd.service(5), "Command lines" (`$`, `;`), systemd.unit(5),
//! "Specifiers" (`%`).

use std::fmt;

/// A unit file in the making. Sections and lines keep their order; a key may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFile {
    comments: Vec<String>,
    sections: Vec<Section>,
}

/// One section of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    name: &'static str,
    lines: Vec<(&'static str, String)>,
}

impl UnitFile {
    /// An empty file that starts with these comment lines.
    #[must_use]
    pub fn new(comments: &[&str]) -> Self {
        Self {
            comments: comments.iter().map(|line| (*line).to_owned()).collect(),
            sections: Vec::new(),
        }
    }

    /// Starts the next section.
    pub fn section(&mut self, name: &'static str) -> &mut Section {
        let index = self.sections.len();
        self.sections.push(Section {
            name,
            lines: Vec::new(),
        });
        &mut self.sections[index]
    }
}

impl Section {
    /// Adds `key=value`. The value is written as it is: see [`text`], [`words`] and [`command`].
    pub fn line(&mut self, key: &'static str, value: impl Into<String>) -> &mut Self {
        self.lines.push((key, value.into()));
        self
    }
}

impl fmt::Display for UnitFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comment in &self.comments {
            writeln!(f, "# {comment}")?;
        }
        for (index, section) in self.sections.iter().enumerate() {
            if index > 0 || !self.comments.is_empty() {
                writeln!(f)?;
            }
            writeln!(f, "[{}]", section.name)?;
            for (key, value) in &section.lines {
                writeln!(f, "{key}={value}")?;
            }
        }
        Ok(())
    }
}

/// A value that is not split into words: `%` is doubled, so that nothing in it is a specifier.
#[must_use]
pub fn text(value: &str) -> String {
    value.replace('%', "%%")
}

/// Words of a value that systemd splits and that is not a command, such as `Environment=`.
#[must_use]
pub fn words<I: IntoIterator<Item = W>, W: AsRef<str>>(words: I) -> String {
    join(words.into_iter().map(|word| quote(&text(word.as_ref()))))
}

/// The arguments of a command in `ExecStart=` and its like: besides quoting, `$` is doubled, so that nothing is taken
/// for a variable.
#[must_use]
pub fn command<I: IntoIterator<Item = W>, W: AsRef<str>>(arguments: I) -> String {
    join(
        arguments
            .into_iter()
            .map(|word| quote(&text(word.as_ref()).replace('$', "$$"))),
    )
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// Quotes one word where it needs it.
fn quote(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    // A lone semicolon separates commands; `#` and `;` only start a comment at the start of a line, where no value is.
    if !word.is_empty() && word != ";" && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    quoted.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of the last `key=` line of `section` in the text of a unit file written by somebody else, continuation
/// lines joined. `None` if there is none, or if the last one is empty (which resets it).
#[must_use]
pub fn last_value(unit: &str, section: &str, key: &str) -> Option<String> {
    values(unit, section, key).pop().filter(|value| !value.is_empty())
}

/// Every value of `key=` in `section` of a unit file written by somebody else, in order. An empty assignment resets
/// the list, as it does for `ExecStart=`; it is kept as an empty value.
#[must_use]
pub fn values(unit: &str, section: &str, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in logical_lines(unit) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name == section;
        } else if let Some((name, value)) = line.split_once('=')
            && inside
            && name.trim_end() == key
        {
            let value = value.trim();
            if value.is_empty() {
                found.clear();
            }
            found.push(value.to_owned());
        }
    }
    found
}

/// Lines with continuations joined and comments left out. A comment between continued lines does not end them.
fn logical_lines(unit: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in unit.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let mut text = open.take().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(part) => {
                text.push_str(part);
                text.push(' ');
                open = Some(text);
            }
            None => {
                text.push_str(line);
                lines.push(text);
            }
        }
    }
    lines.extend(open);
    lines
}

/// Splits a value into words as systemd does: white space, single and double quotes, C escapes. Specifiers and
/// variables are left as they are; an unfinished quote ends with the value.
#[must_use]
pub fn split_words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut chars = value.chars();
    let push = |word: &mut Option<Vec<u8>>, c: char| {
        let mut bytes = [0; 4];
        word.get_or_insert_default()
            .extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
    };
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => unescape(&mut chars, word.get_or_insert_default()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => push(&mut word, c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, None) => push(&mut word, c),
        }
    }
    words.extend(word);
    words
        .into_iter()
        .map(|word| String::from_utf8_lossy(&word).into_owned())
        .collect()
}

/// One escape after its backslash (systemd.syntax(7), "Quoting"). An unknown one stays as it is.
fn unescape(chars: &mut std::str::Chars<'_>, word: &mut Vec<u8>) {
    let mut push = |c: char| {
        let mut bytes = [0; 4];
        word.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
    };
    match chars.next() {
        Some('n') => push('\n'),
        Some('t') => push('\t'),
        Some('r') => push('\r'),
        Some('s') => push(' '),
        Some('x') => {
            let hex: String = chars.clone().take(2).collect();
            match u8::from_str_radix(&hex, 16) {
                Ok(byte) if hex.len() == 2 => {
                    chars.nth(1);
                    word.push(byte);
                }
                _ => word.extend_from_slice(b"\\x"),
            }
        }
        Some(c @ ('"' | '\'' | '\\')) => push(c),
        Some(c) => {
            push('\\');
            push(c);
        }
        None => push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        for (word, written) in [
            ("plain", "plain"),
            ("8080:80", "8080:80"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("it's", "\"it's\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("back\\slash", "\"back\\\\slash\""),
            (";", "\";\""),
            ("a;b", "a;b"),
            ("line\nbreak", "\"line\\nbreak\""),
            ("\u{7}", "\"\\x07\""),
            ("50%", "50%%"),
            ("$HOME", "$$HOME"),
            ("größe", "größe"),
        ] {
            assert_eq!(command([word]), written);
        }
        assert_eq!(words(["A=b c", "D=$E"]), "\"A=b c\" D=$E");
    }

    #[test]
    fn a_unit_is_written_in_order_with_repeated_keys() {
        let mut unit = UnitFile::new(&["first"]);
        unit.section("Unit")
            .line("After", "a.service")
            .line("After", "b.service");
        unit.section("Install").line("WantedBy", "multi-user.target");
        assert_eq!(
            unit.to_string(),
            "# first\n\n[Unit]\nAfter=a.service\nAfter=b.service\n\n[Install]\nWantedBy=multi-user.target\n"
        );
    }

    #[test]
    fn values_of_foreign_units_are_found() {
        let unit = "[Unit]\nRestart=wrong section\n[Service]\n# Restart=comment\nExecStart=/usr/bin/docker run \\\n; \
                    between\n  -p 1:1 \\\n  myapp:latest\nRestart = always \n";
        assert_eq!(
            split_words(&last_value(unit, "Service", "ExecStart").unwrap()),
            ["/usr/bin/docker", "run", "-p", "1:1", "myapp:latest"]
        );
        assert_eq!(last_value(unit, "Service", "Restart").as_deref(), Some("always"));
        assert_eq!(last_value(unit, "Install", "Restart"), None);
        assert_eq!(values("[S]\nA=1\nA=\nA=2\n", "S", "A"), ["", "2"]);
    }

    #[test]
    fn foreign_quoting_is_understood() {
        assert_eq!(
            split_words(r#"a 'b c' "d\"e" f"g h"i \x41\s\q ''"#),
            ["a", "b c", "d\"e", "fg hi", "A \\q", ""]
        );
        assert_eq!(split_words("open 'quote"), ["open", "quote"]);
        assert_eq!(split_words("end\\"), ["end\\"]);
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_split_into_the_same_words(given in prop::collection::vec(any::<String>(), 0..6)) {
            let written = words(&given);
            prop_assert!(!written.contains('\n'));
            let doubled: Vec<String> = given.iter().map(|word| text(word)).collect();
            prop_assert_eq!(split_words(&written), doubled);
        }
    }
}
