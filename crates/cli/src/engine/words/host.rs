//! Values that name something of this computer: registries, paths.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Result, bail};

use super::scan::scan;

/// The port of a registry on the loopback that an image's name names: `localhost:5000/x`.
pub(super) fn loopback_port(word: &OsStr) -> Option<u16> {
    let text = word.to_str()?;
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let host = text.split('/').next()?;
    let (name, port) = host.rsplit_once(':')?;
    let loopback = name == "localhost"
        || name == "[::1]"
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback());
    // `localhost:5000` alone is an image called localhost, except for `login`; forwarding for nothing is harmless.
    loopback.then(|| port.parse().ok().filter(|port| *port != 0))?
}

pub(super) fn is_address(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"http://") || word.as_bytes().starts_with(b"https://")
}

/// Folders that the guest has itself, and that containers are often given.
const GUEST_FOLDERS: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/lib/modules"];

/// Whether the source of a bind mount would be looked for in the guest while the user means this computer.
fn check_host_path(source: &OsStr) -> Result<()> {
    let bytes = source.as_bytes();
    let is_path = bytes.starts_with(b"/") || bytes.starts_with(b".") || bytes.starts_with(b"~");
    let of_guest = GUEST_FOLDERS
        .iter()
        .any(|folder| std::path::Path::new(source).starts_with(folder));
    if is_path && !of_guest {
        bail!(
            "`{}` is a path of this computer, which containers in the machine cannot see yet: use a named volume, or bring \
             the files in with `cp - CONTAINER:PATH` from a tar stream",
            source.display()
        );
    }
    Ok(())
}

pub(super) fn check_volume(value: &OsStr) -> Result<()> {
    match value.as_bytes().split(|byte| *byte == b':').collect::<Vec<_>>()[..] {
        [source, _, ..] => check_host_path(OsStr::from_bytes(source)),
        _ => Ok(()),
    }
}

pub(super) fn check_mount(value: &OsStr) -> Result<()> {
    let fields: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b',').collect();
    if !fields.contains(&&b"type=bind"[..]) {
        return Ok(());
    }
    fields
        .iter()
        .filter_map(|field| {
            field
                .strip_prefix(b"source=")
                .or_else(|| field.strip_prefix(b"src="))
        })
        .try_for_each(|source| check_host_path(OsStr::from_bytes(source)))
}

/// Options of both engines' `build` that take no value.
const BUILD_SWITCHES: &[&str] = &[
    "all-platforms",
    "compress",
    "disable-compression",
    "disable-content-trust",
    "force-rm",
    "help",
    "identity-label",
    "inherit-labels",
    "layers",
    "load",
    "no-cache",
    "no-hostname",
    "no-hosts",
    "omit-history",
    "pull",
    "pull-always",
    "pull-never",
    "push",
    "quiet",
    "rm",
    "skip-unused-stages",
    "squash",
    "squash-all",
    "stdin",
    "tls-verify",
];

/// `build` of a folder would mean a folder of the machine: it is refused, and the way through a tar stream told.
pub(super) fn check_build(words: &[OsString], start: usize) -> Result<()> {
    let operands = scan(words, start, BUILD_SWITCHES, b"qD", false).operands;
    let Some(context) = operands.first().and_then(|at| words.get(*at)) else {
        return Ok(());
    };
    let bytes = context.as_bytes();
    let is_remote = bytes.windows(3).any(|part| part == b"://") || bytes.starts_with(b"git@");
    if bytes == b"-" || is_remote {
        return Ok(());
    }
    bail!(
        "`{}` is a folder of this computer, which the engine in the machine cannot see yet: send it as a tar stream, with \
         `tar -C {0} -c . | … build -` (`-f` names a file in it)",
        context.display()
    );
}

/// `kube play` of a file would mean a file of the machine.
pub(super) fn check_kube(words: &[OsString], start: usize) -> Result<()> {
    let file = words.get(start..).and_then(<[OsString]>::last);
    match file {
        Some(file) if !file.as_bytes().starts_with(b"-") && !is_address(file) => bail!(
            "`{}` is a file of this computer, which the engine in the machine cannot see: give it as standard input, with \
             `… kube play - < {0}`",
            file.display()
        ),
        _ => Ok(()),
    }
}

/// `cp` between a container and a path of this computer would mean a path of the machine: it is refused, and the way
/// through a tar stream told. Gives whether it reads one from standard input.
pub(super) fn check_copy(words: &[OsString], start: usize) -> Result<bool> {
    let switches = ["archive", "follow-link", "overwrite", "pause", "quiet", "help"];
    let operands = scan(words, start, &switches, b"aLq", false).operands;
    let is_host = |word: &OsStr| {
        let bytes = word.as_bytes();
        bytes != b"-" && (bytes.starts_with(b"/") || bytes.starts_with(b".") || !bytes.contains(&b':'))
    };
    match operands[..] {
        [from, _] if is_host(&words[from]) => bail!(
            "`{0}` is a path of this computer, which the machine cannot see yet: send a tar stream, such as `tar -c {0} | … \
             cp - CONTAINER:FOLDER`",
            words[from].display()
        ),
        [from, to] if is_host(&words[to]) => bail!(
            "`{}` is a path of this computer, which the machine cannot see yet: take a tar stream, such as `… cp {} - | tar \
             -x`",
            words[to].display(),
            words[from].display()
        ),
        [from, ..] => Ok(words[from] == "-"),
        [] => Ok(false),
    }
}
