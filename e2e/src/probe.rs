//! The image that holds one of everything odd that a layer can have, and an image on top of it.

use serde_json::json;

use crate::layout::Image;
use crate::tarball::{Format, Meta, Tarball};

/// Names of busybox that the probe script uses.
const APPLETS: &[&str] = &[
    "cat", "echo", "find", "ls", "rm", "sh", "sleep", "sort", "stat", "touch",
];

/// The probe script: prints type, mode, owner, size and name of everything that the layers hold.
const SCRIPT: &str = "#!/bin/sh\n\
    cd /\n\
    for top in data deep dir-to-file file-to-dir home lib long odd opq usr; do\n\
    find $top -exec stat -c '%F %a %u:%g %n' {} ';'\n\
    done | sort\n\
    cat opq/three home/f lib/through\n";

/// A version 2 capability set with `cap_net_raw` permitted and effective (linux/capability.h, `vfs_cap_data`), and
/// the byte 0x0A in it, which some tar readers take for the end of the record.
pub const CAPABILITY: &[u8] = &[
    0x01, 0, 0, 0x02, 0x00, 0x20, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// The value of `user.note` of `odd/attribute`: looks like a record of its own, and isn't text.
pub const NOTE: &[u8] = b"line\nlinkpath=odd\0binary";

/// The probe image for an architecture. `busybox` is a static binary of that architecture; tests that don't run the
/// image may pass anything.
pub fn image(architecture: &str, busybox: &[u8]) -> Image {
    Image {
        architecture: architecture.to_owned(),
        layers: vec![base(busybox), changes(), gnu(), empty(), empty()],
        config: json!({
            "Env": ["PATH=/bin", "GREETING=hello world"],
            "Cmd": ["/bin/sh", "/probe.sh"],
            "WorkingDir": "/",
            "Labels": {"org.example.kind": "probe"},
            "ExposedPorts": {"8080/tcp": {}},
            "StopSignal": "SIGINT",
        }),
    }
}

/// The probe image with one more layer.
pub fn derived(image: &Image) -> Image {
    let mut derived = image.clone();
    let layer = Tarball::new(Format::Pax)
        .file("derived", Meta::mode(0o644), "made on top\n")
        .whiteout("data/c")
        .finish(0);
    derived.layers.push(layer);
    derived
}

/// The probe image with a layer that holds a getfattr and what it needs, all in `/getfattr`.
pub fn with_getfattr(image: &Image, files: &[(&str, Vec<u8>)]) -> Image {
    let mut image = image.clone();
    let mut layer = Tarball::new(Format::Pax).directory("getfattr/", Meta::mode(0o755));
    for (name, content) in files {
        layer = layer.file(format!("getfattr/{name}"), Meta::mode(0o755), content);
    }
    image.layers.push(layer.finish(0));
    image
}

/// A directory and a file below it, each with a name of 120 characters.
fn long_name() -> (String, String) {
    (
        format!("long/{}/", "d".repeat(120)),
        format!("long/{}/{}", "d".repeat(120), "f".repeat(120)),
    )
}

fn base(busybox: &[u8]) -> Vec<u8> {
    let directory = || Meta::mode(0o755);
    let file = || Meta::mode(0o644);
    let (long_directory, long_file) = long_name();
    let mut tarball = Tarball::new(Format::Pax)
        .directory("./", Meta::mode(0o711).owner(7, 7))
        .directory("bin/", directory())
        .file("bin/busybox", directory(), busybox);
    for applet in APPLETS {
        tarball = tarball.symlink(format!("bin/{applet}"), "busybox");
    }
    tarball
        .file("probe.sh", directory(), SCRIPT)
        .directory("etc/", directory())
        .file("etc/passwd", file(), "root:x:0:0:root:/:/bin/sh\n")
        .directory("tmp/", Meta::mode(0o1777))
        .directory("home/", Meta::mode(0o700).owner(1000, 1000))
        .file("home/old", file().owner(1000, 1000), "old\n")
        .directory("data/", Meta::mode(0o750).owner(0, 5).mtime(1_500_000_000, 0))
        .file("data/a", file(), "a of the base\n")
        .file("data/b", file(), "b\n")
        .file("data/c", file(), "c\n")
        .directory("data/sub/", directory())
        .file("data/sub/deep", file(), "deep\n")
        .directory("opq/", directory())
        .file("opq/one", file(), "one\n")
        .file("opq/two", file(), "two\n")
        .directory("opq/sub/", directory())
        .file("opq/sub/x", file(), "x\n")
        .directory("opq/gone/", directory())
        .file("opq/gone/y", file(), "y\n")
        .file("file-to-dir", file(), "a file\n")
        .directory("dir-to-file/", directory())
        .file("dir-to-file/inner", file(), "inner\n")
        .symlink("link-to-file", "data/a")
        .file("gone", file(), "gone\n")
        .directory("gone-dir/", directory())
        .file("gone-dir/inside", file(), "inside\n")
        .directory("odd/", directory())
        .file("odd/setuid", Meta::mode(0o4755).owner(1, 2), "setuid\n")
        .file("odd/setgid", Meta::mode(0o2711).owner(70000, 70001), "setgid\n")
        .directory("odd/sticky/", Meta::mode(0o1770).owner(3, 4))
        .file("odd/no-permissions", Meta::mode(0), "")
        .file(
            "odd/capability",
            directory().xattr("security.capability", CAPABILITY),
            "capable\n",
        )
        .file("odd/attribute", file().xattr("user.note", NOTE), "noted\n")
        .directory(
            "odd/attribute-dir/",
            directory().xattr("user.note", b"of a directory"),
        )
        .char_device("odd/char", Meta::mode(0o620).owner(0, 5), (1, 3))
        .block_device("odd/block", Meta::mode(0o660).owner(0, 6), (7, 300))
        .fifo("odd/fifo", Meta::mode(0o604))
        .file("odd/hard-1", Meta::mode(0o640).owner(8, 9), "linked\n")
        .hardlink("odd/hard-2", "odd/hard-1", Meta::mode(0o640).owner(8, 9))
        .symlink("odd/dangling", "/no/such/target")
        .file(
            "odd/subsecond",
            file().mtime(1_600_000_001, 123_456_789),
            "time\n",
        )
        .file("odd/na\u{ef}ve <&> \u{2028}", file(), "utf-8\n")
        .file(b"odd/latin-\xe9", file(), "not utf-8\n")
        .file("odd/big", file(), vec![b'Z'; 300_000])
        .directory("long/", directory())
        .directory(&long_directory, directory())
        .file(&long_file, file(), "long\n")
        .directory("usr/", directory())
        .directory("usr/lib/", directory())
        .symlink("lib", "usr/lib")
        .file("lib/through", file(), "through a link\n")
        .finish(0)
}

fn changes() -> Vec<u8> {
    let directory = || Meta::mode(0o755);
    let file = || Meta::mode(0o644);
    Tarball::new(Format::Pax)
        .whiteout("gone")
        .whiteout("gone-dir")
        .whiteout("data/b")
        .file("data/a", file().owner(11, 12), "a of the change\n")
        // Hides nothing: never was there, in a directory that never was.
        .whiteout("data/never")
        .whiteout("nowhere/ghost")
        .directory("opq/", Meta::mode(0o711).owner(13, 14))
        .file("opq/three", file(), "three\n")
        .opaque("opq")
        .directory("opq/sub/", directory())
        .file("opq/sub/y", file(), "y\n")
        .directory("file-to-dir/", directory())
        .file("file-to-dir/inside", file(), "inside\n")
        .file("dir-to-file", file(), "now a file\n")
        .file("link-to-file", file(), "now a file too\n")
        // Parent directories that this layer doesn't name: below, and new.
        .file("home/f", file(), "f\n")
        .file("deep/implied/parents/file", file(), "implied\n")
        .finish(0)
}

fn gnu() -> Vec<u8> {
    let name = format!("long/{}/{}", "g".repeat(120), "h".repeat(120));
    Tarball::new(Format::Gnu)
        .file(&name, Meta::mode(0o600), "gnu\n")
        .symlink("long/link", &name)
        .finish(20 * 512)
}

fn empty() -> Vec<u8> {
    Tarball::new(Format::Pax).finish(0)
}
