//! What the user asks for: `name:type:content`, one for each layer (user's document, "Layer Definition Format").

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vcontainer_image::TreePath;

use crate::error::Error;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, unique in an image.
    pub name: String,
    /// What is in it.
    pub content: LayerContent,
    text: String,
}

/// What is in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerContent {
    /// Packages with what they depend on.
    Packages(Vec<String>),
    /// Directories of the root filesystem, with all that is in them.
    Directories(Vec<TreePath>),
    /// Single files of the root filesystem.
    Files(Vec<TreePath>),
    /// Files or directories of the build machine, and where they go.
    Host(Vec<(PathBuf, TreePath)>),
}

impl LayerContent {
    /// The word for it in a definition.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Packages(_) => "packages",
            Self::Directories(_) => "directories",
            Self::Files(_) => "files",
            Self::Host(_) => "host",
        }
    }
}

impl Definition {
    /// A layer by the type of its content and the items, as a definition would have them.
    ///
    /// # Errors
    /// As for a definition.
    pub fn new(name: &str, kind: &str, items: &[String]) -> Result<Self, Error> {
        let text = format!("{name}:{kind}:{}", items.join("+"));
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        Self::of_items(name, kind, &items, &text)
    }

    /// The content as it was written.
    #[must_use]
    pub fn content_text(&self) -> &str {
        self.text.splitn(3, ':').nth(2).unwrap_or_default()
    }

    /// The definition without paths of the build machine: what may stand in an image.
    #[must_use]
    pub fn public_text(&self) -> String {
        match &self.content {
            LayerContent::Host(pairs) => {
                let places: Vec<String> = pairs.iter().map(|(_, place)| place.to_string()).collect();
                format!("{}:host:{}", self.name, places.join("+"))
            }
            _ => self.text.clone(),
        }
    }

    /// The same with relative paths of the build machine below a directory.
    #[must_use]
    pub fn relative_to(mut self, directory: &Path) -> Self {
        if let LayerContent::Host(pairs) = &mut self.content {
            for (source, _) in pairs {
                *source = directory.join(&*source);
            }
        }
        self
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Definition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |fault: String| Error::definition(format!("layer `{text}`"), fault);
        let mut fields = text.splitn(3, ':');
        let (Some(name), Some(kind), Some(content)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(wrong(
                "it has too few fields: write name:type:content, such as app:directories:/opt/app".into(),
            ));
        };
        Self::of_items(name, kind, &items(content), text)
    }
}

impl Definition {
    fn of_items(name: &str, kind: &str, items: &[&str], text: &str) -> Result<Self, Error> {
        let wrong = |fault: String| Error::definition(format!("layer `{text}`"), fault);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(wrong(format!(
                "`{name}` is no name of a layer: use letters, digits, `-`, `_` and `.`"
            )));
        }
        if items.is_empty() {
            return Err(wrong("it has no content".into()));
        }
        let content = match kind {
            "packages" => LayerContent::Packages(names(items).map_err(wrong)?),
            "directories" => LayerContent::Directories(paths(items).map_err(wrong)?),
            "files" => LayerContent::Files(paths(items).map_err(wrong)?),
            "host" => LayerContent::Host(pairs(items).map_err(wrong)?),
            kind => {
                return Err(wrong(format!(
                    "`{kind}` is no type of layer: use packages, directories, files or host"
                )));
            }
        };
        Ok(Self {
            name: name.into(),
            content,
            text: text.into(),
        })
    }
}

/// Checks what concerns all layers of an image.
///
/// # Errors
/// Two have one name.
pub fn check(definitions: &[Definition]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for definition in definitions {
        if !names.insert(&definition.name) {
            return Err(Error::definition(
                format!("layer `{definition}`"),
                format!("there is another layer `{}`: names are unique", definition.name),
            ));
        }
    }
    Ok(())
}

fn path(text: &str) -> Result<TreePath, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is no absolute path"));
    }
    match TreePath::clean(text.as_bytes()) {
        Ok(path) if !path.is_root() => Ok(path),
        Ok(_) => Err(format!(
            "`{text}` is the root of everything: that is what an image without layers has"
        )),
        Err(error) => Err(format!("`{text}`: {error}")),
    }
}

/// Items with `+` between them. Two in a row belong to an item: `g+++libstdc++6` is `g++` and `libstdc++6`.
fn items(content: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let mut end = rest.len();
        let mut at = 0;
        while let Some(found) = rest.get(at..).and_then(|rest| rest.find('+')) {
            at += found;
            if rest.get(at..).is_some_and(|rest| rest.starts_with("++")) {
                at += 2;
                continue;
            }
            end = at;
            break;
        }
        let (name, tail) = rest.split_at(end);
        if !name.is_empty() {
            names.push(name);
        }
        rest = tail.strip_prefix('+').unwrap_or(tail);
    }
    names
}

/// Checks names of packages: nothing in them may mean something else to a package manager (an option, a version, a removal).
fn names(items: &[&str]) -> Result<Vec<String>, String> {
    items
        .iter()
        .map(|item| {
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'~');
            let is_name = item.bytes().all(plain)
                && item.starts_with(|first: char| first.is_ascii_alphanumeric())
                && !item.ends_with('-');
            match is_name {
                true => Ok((*item).to_owned()),
                false => Err(format!("`{item}` is no name of a package")),
            }
        })
        .collect()
}

fn paths(items: &[&str]) -> Result<Vec<TreePath>, String> {
    items.iter().map(|item| path(item)).collect()
}

/// `SOURCE:PLACE`, split at the last colon.
fn pairs(items: &[&str]) -> Result<Vec<(PathBuf, TreePath)>, String> {
    items
        .iter()
        .map(|item| match item.rsplit_once(':') {
            Some((source, place)) if !source.is_empty() => {
                Ok((OsStr::from_bytes(source.as_bytes()).into(), path(place)?))
            }
            _ => Err(format!("`{item}` is no pair: write SOURCE:PLACE")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read() {
        let read = |text: &str| text.parse::<Definition>().unwrap();
        let clean = |text: &str| TreePath::clean(text.as_bytes()).unwrap();
        let base = read("base:packages:base-files+base-passwd+netbase");
        assert_eq!(base.name, "base");
        assert_eq!(
            base.content,
            LayerContent::Packages(vec!["base-files".into(), "base-passwd".into(), "netbase".into()])
        );
        let packages = |text: &str| match read(text).content {
            LayerContent::Packages(names) => names.join(" "),
            _ => String::new(),
        };
        assert_eq!(packages("a:packages:g+++libstdc++6+make+"), "g++ libstdc++6 make");
        assert_eq!(packages("a:packages:g++"), "g++");
        assert_eq!(
            read("a:directories:/usr/include/c+++/etc").content,
            LayerContent::Directories(vec![clean("/usr/include/c++"), clean("/etc")])
        );
        let table = Definition::new("a", "files", &["/a+b".into(), "/c".into()]).unwrap();
        assert_eq!(
            table.content,
            LayerContent::Files(vec![clean("/a+b"), clean("/c")])
        );
        assert_eq!(
            read("c:host:/home/me/b:/etc/b+rel:/c").public_text(),
            "c:host:/etc/b+/c"
        );
        assert_eq!(
            read("app:directories:/opt/myapp/+/etc").content,
            LayerContent::Directories(vec![clean("/opt/myapp"), clean("/etc")])
        );
        assert_eq!(
            read("c:host:/a:b:/etc/b+rel:/c").content,
            LayerContent::Host(vec![
                ("/a:b".into(), clean("/etc/b")),
                ("rel".into(), clean("/c"))
            ])
        );
        assert_eq!(read("c:files:/etc/passwd").to_string(), "c:files:/etc/passwd");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, fault) in [
            ("app", "too few fields"),
            ("app:files", "too few fields"),
            (":files:/a", "is no name of a layer"),
            ("a b:files:/a", "is no name of a layer"),
            ("app:file:/a", "`file` is no type of layer"),
            ("app:files:", "no content"),
            ("app:files:+", "no content"),
            ("app:packages:+", "no content"),
            ("app:files:a", "`a` is no absolute path"),
            ("app:directories:/", "root of everything"),
            ("app:files:/../a", "/../a"),
            ("app:host:/a", "is no pair"),
            ("app:host:/a:b", "no absolute path"),
            ("app:packages:-o", "`-o` is no name of a package"),
            ("app:packages:curl-", "`curl-` is no name of a package"),
            ("app:packages:a+./b.deb", "`./b.deb` is no name of a package"),
        ] {
            let error = text.parse::<Definition>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("layer `{text}`: ")) && error.contains(fault),
                "{error}"
            );
        }
        let twice = ["a:files:/a", "a:files:/b"].map(|text| text.parse().unwrap());
        let error = check(&twice).unwrap_err().to_string();
        assert_eq!(
            error,
            "layer `a:files:/b`: there is another layer `a`: names are unique"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(text in "[a-z:+/.{}-]{0,40}|\\PC{0,60}") {
            if let Ok(definition) = text.parse::<Definition>() {
                proptest::prop_assert_eq!(definition.to_string(), text);
                let again = definition.public_text();
                proptest::prop_assert!(again.starts_with(&definition.name));
            }
        }

        #[test]
        fn names_of_packages_are_told_apart(names in proptest::collection::vec("[a-z][a-z0-9.-]{0,5}[a-z0-9](\\+\\+)?[0-9]?", 1..5)) {
            let definition = Definition::new("layer", "packages", &names).unwrap();
            proptest::prop_assert_eq!(definition.content, LayerContent::Packages(names));
        }
    }
}
