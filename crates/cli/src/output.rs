//! What people read: errors, warnings, exit codes.

use std::io::Write as _;
use std::process::ExitCode;

use crate::interruption::Interrupted;

/// How the program ends. Documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Something given is wrong, or could not be read or written.
    Failure = 1,
    /// The command line could not be understood (clap's own code).
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failure of which everything has been said: only the exit status tells it.
#[derive(Debug, thiserror::Error)]
#[error("the exit status tells it")]
pub struct Quiet;

/// Tells an error and what caused it on standard error, and what to exit with.
#[must_use]
pub fn report_error(error: &anyhow::Error) -> ExitCode {
    if error.is::<Quiet>() {
        return Exit::Failure.into();
    }
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    // Nothing more can be told when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    error
        .downcast_ref::<Interrupted>()
        .map_or(Exit::Failure.into(), Interrupted::exit_code)
}

/// Tells something that deserves attention and does not stop the work.
pub fn warn(text: &str) {
    tell(&format!("warning: {text}\n"));
}

/// Tells how the work went. Where nobody can be told (standard error is full, say), the work still counts.
pub fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a result to standard output. A reader that went away (`| head`) is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Lines of cells as columns with two spaces between them; the last column is not padded.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if index + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', width(index) + 2 - cell.chars().count()));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text from an image as it may stand in a terminal: what would move the cursor, colour or reorder is escaped.
#[must_use]
pub fn visible(text: &str) -> String {
    let reorders =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .fold(String::with_capacity(text.len()), |mut line, c| {
            match c.is_control() || reorders(c) {
                true => line.extend(c.escape_default()),
                false => line.push(c),
            }
            line
        })
}

/// A result for programs.
///
/// # Errors
/// It has no JSON form.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    use anyhow::Context as _;
    Ok(serde_json::to_string_pretty(value).context("cannot write JSON")? + "\n")
}

/// A number of things for people: "1 layer", "2 layers".
#[must_use]
pub fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A number of bytes for people.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_plural() {
        let counted = [0, 1, 2].map(|number| count(number, "layer"));
        assert_eq!(counted, ["0 layers", "1 layer", "2 layers"]);
    }

    #[test]
    fn a_foreign_text_cannot_steer_the_terminal() {
        assert_eq!(
            visible("a\x1b[2J\nb\u{202e}größe"),
            "a\\u{1b}[2J\\nb\\u{202e}größe"
        );
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let text = columns(&[row(&["A", "LONGER", ""]), row(&["größe", "x", "end"])]);
        assert_eq!(text, "A      LONGER\ngröße  x       end\n");
    }
}
