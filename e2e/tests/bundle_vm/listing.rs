//! What a container prints about all the files that it sees, and what it must print.

use std::collections::BTreeSet;

use e2e::tree::Tree;

/// The directories of the probe image that hold something to look at.
const TOPS: [&str; 13] = [
    "bin",
    "data",
    "deep",
    "derived",
    "dir-to-file",
    "file-to-dir",
    "home",
    "lib",
    "long",
    "nowhere",
    "odd",
    "opq",
    "usr",
];

/// Prints mode, owner, size, links, device, time and digest of everything, and extended attributes as getfattr does.
pub const SCRIPT: &str = r#"
uname -m
cd /
all() { find bin data deep derived dir-to-file file-to-dir home lib long nowhere odd opq usr "$@" -print0; }
all -type d | xargs -0 stat -c '%f %u:%g %n'
all ! -type d | xargs -0 stat -c '%f %u:%g %s %h %t:%T %Y %n'
all -type f | xargs -0 sha256sum
all -type l | xargs -0 -n1 sh -c 'echo "$0 -> $(readlink "$0")"'
echo attributes
all | xargs -0 /getfattr/ld.so --library-path /getfattr /getfattr/getfattr -h -d -m - -e hex
"#;

/// The lines that [`SCRIPT`] prints in a container that sees `tree`; the architecture and the word are left out.
pub fn expected(tree: &Tree) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (name, entry) in tree {
        let top = name.split('/').next().unwrap_or_default();
        if !TOPS.contains(&top) {
            continue;
        }
        let (uid, gid) = entry.owner;
        let first = entry.kind.strip_prefix("hard link to ").unwrap_or(name);
        let kind = &tree[first].kind;
        let others = tree
            .values()
            .filter(|other| other.kind == format!("hard link to {first}"));
        let links = 1 + others.count();
        let mut words = kind.split(' ');
        let (bits, size, device) = match (words.next().unwrap_or_default(), words.next()) {
            ("directory", _) => (0o40000, 0, String::new()),
            ("file", Some(size)) => {
                lines.insert(format!("{}  {name}", words.next().unwrap_or_default()));
                (0o100_000, size.parse().unwrap_or(0), "0:0".into())
            }
            ("symlink", Some(target)) => {
                lines.insert(format!("{name} -> {target}"));
                (0o120_000, target.len(), "0:0".into())
            }
            ("char", Some(device)) => (0o20000, 0, hexadecimal(device)),
            ("block", Some(device)) => (0o60000, 0, hexadecimal(device)),
            _ => (0o10000, 0, "0:0".into()),
        };
        let mode = bits | entry.mode;
        lines.insert(if kind == "directory" {
            format!("{mode:x} {uid}:{gid} {name}")
        } else {
            let time = entry.mtime.unwrap_or_default().0;
            format!("{mode:x} {uid}:{gid} {size} {links} {device} {time} {name}")
        });
        if !entry.xattrs.is_empty() {
            let values = entry
                .xattrs
                .iter()
                .map(|(name, value)| format!("\\n{name}=0x{value}"));
            lines.insert(format!("# file: {name}{}", values.collect::<String>()));
        }
    }
    lines
}

/// `1:3` as stat prints it.
fn hexadecimal(device: &str) -> String {
    let numbers = device.split(':').map(|number| number.parse().unwrap_or(0_u32));
    numbers
        .map(|number| format!("{number:x}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// The lines that [`SCRIPT`] has printed, each escaped as names of trees are.
pub fn printed(output: &[u8]) -> BTreeSet<String> {
    let separator = b"\nattributes\n";
    let at = output
        .windows(separator.len())
        .position(|bytes| bytes == separator);
    let (lines, attributes) = at.map_or((output, &[][..]), |at| {
        (&output[..at], &output[at + separator.len()..])
    });
    let attributes = String::from_utf8_lossy(attributes);
    lines
        .split(|byte| *byte == b'\n')
        .map(|line| line.escape_ascii().to_string())
        .chain(
            attributes
                .split("\n\n")
                .map(|block| block.trim().as_bytes().escape_ascii().to_string())
                .filter(|block| !block.is_empty()),
        )
        .collect()
}
