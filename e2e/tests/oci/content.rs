//! Root filesystems to make images from.

use e2e::tarball::{Format, Meta, Tarball};

/// A root filesystem with something of every kind, as a tar file. `busybox` is its only program.
pub fn base(busybox: &[u8]) -> Vec<u8> {
    let directory = Meta::mode(0o755);
    Tarball::new(Format::Pax)
        .directory("bin", directory.clone())
        .file("bin/busybox", Meta::mode(0o4755).mtime(1_000_000_000, 0), busybox)
        .hardlink(
            "bin/sh",
            "bin/busybox",
            Meta::mode(0o4755).mtime(1_000_000_000, 0),
        )
        .symlink("bin/cat", "busybox")
        .symlink("sbin", "bin")
        .directory("etc", directory.clone())
        .file(
            "etc/passwd",
            Meta::mode(0o644).mtime(5, 0),
            "root:x:0:0::/:/bin/sh\nweb:x:65532:65532::/:/bin/sh\n",
        )
        .file("etc/old", Meta::mode(0o644).mtime(5, 0), "of the base\n")
        .directory("srv", Meta::mode(0o1777).owner(65532, 65532))
        .file(
            "srv/data",
            Meta::mode(0o600)
                .owner(65532, 3_000_000)
                .mtime(7, 0)
                .xattr("user.note", b"a\0b\n"),
            "data\n",
        )
        .char_device("srv/null", Meta::mode(0o666), (1, 3))
        .fifo("srv/pipe", Meta::mode(0o600))
        .finish(1024)
}

/// What comes on top of it.
pub fn app() -> Vec<u8> {
    let directory = Meta::mode(0o755);
    Tarball::new(Format::Pax)
        .directory("etc", directory.clone())
        .file("etc/old", Meta::mode(0o644), "of the app\n")
        .directory("opt", directory.clone())
        .directory("opt/app", Meta::mode(0o750).owner(65532, 65532))
        .file(
            "opt/app/run",
            Meta::mode(0o755).owner(65532, 65532),
            "#!/bin/sh\necho app \"$@\"; cat /etc/old\n",
        )
        // The base has a link there.
        .directory("sbin", directory)
        .symlink("sbin/tool", "busybox")
        .finish(1024)
}
