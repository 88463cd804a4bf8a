//! From a name to the files that may hold the image, to the image's name and tag, and to the container's name.
//!
//! All names are derived here, once, so that the image that is imported and the image that a unit runs cannot differ.
//! The cases are listed in `docs/guide/naming.md`, which the tests read.

/// The ending of a layout directory that `image-oci` writes.
const LAYOUT_ENDING: &str = "-oci";

/// Endings of the archives that are looked for when there is no directory.
const ARCHIVE_ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tar.zst"];

/// The file names that a local name may stand for, in the order in which they are looked for.
///
/// A name that ends in `-oci` is the name of a layout directory. Any other name is that of a recipe, whose layout is
/// `<name>-latest-oci` or `<name>-oci`, or a directory of just this name. Archives of the same names come last.
#[must_use]
pub fn candidates(name: &str) -> Vec<String> {
    let directories = if name.ends_with(LAYOUT_ENDING) {
        vec![name.to_owned()]
    } else {
        vec![
            format!("{name}-latest-oci"),
            format!("{name}-oci"),
            name.to_owned(),
        ]
    };
    let archives: Vec<String> = directories
        .iter()
        .flat_map(|stem| {
            ARCHIVE_ENDINGS
                .iter()
                .map(move |ending| format!("{stem}{ending}"))
        })
        .collect();
    directories.into_iter().chain(archives).collect()
}

/// The recipe that makes the layout of a local name.
#[must_use]
pub fn recipe(name: &str) -> &str {
    name.strip_suffix("-latest-oci")
        .or_else(|| name.strip_suffix(LAYOUT_ENDING))
        .unwrap_or(name)
}

/// The name and tag of the image that a local name stands for.
///
/// A recipe's name is the image's name, and the tag is `latest`. Only the legacy form, which names the layout
/// directory itself, carries a tag: `myapp-1.0-oci` is `myapp:1.0`, while `myapp-2` is `myapp-2:latest`.
#[must_use]
pub fn image_name(name: &str) -> (&str, &str) {
    let Some(stem) = name.strip_suffix(LAYOUT_ENDING) else {
        return (name, "latest");
    };
    match stem.rsplit_once('-') {
        Some((name, tag)) if !name.is_empty() && is_version(tag) => (name, tag),
        _ => (stem, "latest"),
    }
}

/// `latest`, a plain number, or `N.N` or `N.N.N` with or without a `v`.
fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.strip_prefix('v').unwrap_or(text).split('.').collect();
    text == "latest"
        || number(text)
        || (matches!(parts.len(), 2 | 3) && parts.iter().all(|part| number(part)))
}

/// The name of the container and of its unit: the last part of the image's name in lower case, with `-` for every
/// character that is no ASCII letter or digit, `_` or `-`.
#[must_use]
pub fn container_name(repository: &str) -> String {
    let last = repository.rsplit('/').next().unwrap_or(repository);
    last.chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') => c,
            _ => '-',
        })
        .collect()
}

/// Whether an engine takes this as a container's name: two or more of `a-z A-Z 0-9 _ . -`, a letter or digit first.
/// Source: Docker's `daemon/names` (`RestrictedNamePattern`); Podman's rule (`libpod/define`, `NameRegex`) is wider.
#[must_use]
pub fn is_container_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Entry, Source};

    const GUIDE: &str = include_str!("../../../docs/guide/naming.md");

    /// The cells of the table that follows the marker `<!-- table: NAME -->`, header left out.
    fn table(name: &str) -> Vec<Vec<String>> {
        let marker = format!("<!-- table: {name} -->");
        let start = GUIDE
            .find(&marker)
            .unwrap_or_else(|| panic!("the guide has no table {name}"));
        let rows: Vec<Vec<String>> = GUIDE[start + marker.len()..]
            .trim_start()
            .lines()
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().replace('`', ""))
                    .collect()
            })
            .collect();
        assert!(rows.len() > 3, "table {name} is empty");
        rows
    }

    #[test]
    fn every_local_name_of_the_guide_gives_what_the_guide_says() {
        for row in table("local names") {
            let [name, looked_for, image, container] = &row[..] else {
                panic!("{row:?}")
            };
            let candidates = candidates(name);
            let wanted: Vec<&str> = looked_for.split(", ").collect();
            assert_eq!(candidates[..wanted.len()], wanted, "{name}");
            assert!(candidates[wanted.len()].ends_with(".tar"), "{name}");
            let (repository, tag) = image_name(name);
            assert_eq!(&format!("{repository}:{tag}"), image, "{name}");
            assert_eq!(&container_name(repository), container, "{name}");
        }
    }

    #[test]
    fn every_entry_of_the_guide_parses_as_the_guide_says() {
        for row in table("entries") {
            let [text, source, runtime, policy, external] = &row[..] else {
                panic!("{row:?}")
            };
            let entry: Entry = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let kind = match &entry.source {
                Source::Local(name) => format!("local {name}"),
                Source::Remote(reference) => format!("remote {reference}"),
            };
            assert_eq!(&kind, source, "{text}");
            let word = |option: Option<&'static str>| option.unwrap_or("-").to_owned();
            assert_eq!(
                &word(entry.runtime.map(|runtime| runtime.word())),
                runtime,
                "{text}"
            );
            assert_eq!(&word(entry.policy.map(|policy| policy.word())), policy, "{text}");
            assert_eq!(&word(entry.external.then_some("yes")), external, "{text}");
        }
    }

    #[test]
    fn every_wrong_entry_of_the_guide_is_refused_with_its_field() {
        for row in table("wrong entries") {
            let [text, says] = &row[..] else { panic!("{row:?}") };
            let error = text.parse::<Entry>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("entry `{text}`: ")), "{error}");
            let plain = error.replace('`', "");
            assert!(plain.contains(says), "`{plain}` does not say `{says}`");
        }
    }

    #[test]
    fn every_key_of_the_guide_is_made_from_its_reference() {
        for row in table("keys") {
            let [reference, key] = &row[..] else {
                panic!("{row:?}")
            };
            assert_eq!(&Source::parse(reference).unwrap().key(), key);
        }
    }

    #[test]
    fn container_names_are_those_that_engines_take() {
        for (name, good) in [
            ("ab", true),
            ("a", false),
            ("-a", false),
            ("a b", false),
            ("a.b_c-d", true),
            ("", false),
        ] {
            assert_eq!(is_container_name(name), good, "{name}");
        }
    }
}
