//! The configuration of an apt of our own. Pure.

use std::fmt::Write as _;
use std::path::Path;

use super::{Mirror, Release, Sources};

/// The line about a mirror in apt's list of sources.
pub(super) fn mirror_line(release: &Release, mirror: &Mirror) -> String {
    format!(
        "deb [signed-by={}] {} {} main\n",
        release.keyring.display(),
        mirror.address,
        release.suite
    )
}

/// The line about a directory with an index of our own, which nobody signs.
pub(super) fn feed_line(directory: &Path) -> String {
    format!(
        "deb [trusted=yes] file:{} ./\n",
        escape(&directory.to_string_lossy())
    )
}

/// Percent-encodes what would end a word or begin an option in a list of sources.
pub(super) fn escape(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'+' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte => {
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    text
}

/// Everything that could lead out of the directory is set, and nothing of the machine's own configuration is read.
pub(super) fn configuration(directory: &Path, sources: &Sources) -> String {
    let directory = directory.display();
    format!(
        "Dir::Etc \"{directory}/etc\";\n\
         Dir::Etc::Main \"{directory}/etc/none\";\n\
         Dir::Etc::Parts \"{directory}/etc/none.d\";\n\
         Dir::Etc::SourceList \"{directory}/etc/sources.list\";\n\
         Dir::Etc::SourceParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Preferences \"{directory}/etc/none\";\n\
         Dir::Etc::PreferencesParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Trusted \"{directory}/etc/none\";\n\
         Dir::Etc::TrustedParts \"{directory}/etc/none.d\";\n\
         Dir::Etc::Netrc \"/etc/apt/auth.conf\";\n\
         Dir::Etc::NetrcParts \"/etc/apt/auth.conf.d\";\n\
         Dir::State \"{directory}\";\n\
         Dir::State::Lists \"{directory}/lists\";\n\
         Dir::State::Status \"{directory}/status\";\n\
         Dir::Cache \"{directory}\";\n\
         Dir::Cache::Archives \"{directory}/archives\";\n\
         Dir::Log \"{directory}\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures \"{architecture}\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Get::Assume-Yes \"true\";\n\
         Acquire::ForceHash \"sha256\";\n\
         Acquire::Languages \"none\";\n\
         {options}\n",
        architecture = sources.architecture,
        options = sources.options.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_are_one_word() {
        assert_eq!(
            super::escape("/a b/[c]%/d-e_f.g+~"),
            "/a%20b/%5bc%5d%25/d-e_f.g+~"
        );
    }
}
