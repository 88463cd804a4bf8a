//! What is in the containers of the example: what its recipes install.

use anyhow::Result;
use e2e::tarball::{Format, Meta, Tarball};
use e2e::tree::{self, Tree};

/// When everything was made, for containers: the stub's SOURCE_DATE_EPOCH.
const TIME: i64 = 1_520_598_896;

/// `cap_net_raw`, permitted and effective.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A container of the example.
pub struct Container {
    pub name: &'static str,
    /// The packages of each of its layers.
    pub layers: &'static [&'static str],
    /// What it prints when it is run with these words.
    pub prints: (&'static [&'static str], &'static str),
}

/// All of them, by name.
pub const ALL: [Container; 4] = [
    APP,
    Container {
        name: "base-container",
        layers: &["system"],
        prints: (&["/bin/cat", "/srv/www/index"], "index\n"),
    },
    Container {
        name: "layers-container",
        layers: &["system", "app", "tool"],
        prints: (&[], "tool\n"),
    },
    Container {
        name: "tool-container",
        layers: &["system", "tool"],
        prints: (&[], "tool\n"),
    },
];

/// The one that BUNDLED_CONTAINERS has.
pub const APP: Container = Container {
    name: "app-container",
    layers: &["system", "app"],
    prints: (&[], "index\napp\n"),
};

impl Container {
    /// What it sees.
    ///
    /// # Errors
    /// None, but for a mistake in this file.
    pub fn tree(&self, busybox: &[u8]) -> Result<Tree> {
        let mut tarball = Tarball::new(Format::Pax);
        for package in self.layers {
            tarball = match *package {
                "system" => system(tarball, busybox),
                "app" => app(tarball),
                _ => tarball.file("bin/tool", mode(0o755), "#!/bin/sh\necho tool\n"),
            };
        }
        tree::read_archive(tarball.finish(0).as_slice())
    }
}

fn mode(mode: u32) -> Meta {
    Meta::mode(mode).mtime(TIME, 0)
}

fn system(tarball: Tarball, busybox: &[u8]) -> Tarball {
    tarball
        .directory("bin/", mode(0o755))
        .directory("etc/", mode(0o755))
        .directory("srv/", mode(0o755))
        .directory("tmp/", mode(0o1777))
        .directory("srv/www/", mode(0o750).owner(33, 44))
        // Left behind by the stub's package manager.
        .directory("var/", mode(0o755))
        .directory("var/lib/", mode(0o755))
        .file("bin/busybox", mode(0o755), busybox)
        .entry(b'2', b"bin/cat", &mode(0o777), b"busybox", (0, 0), b"")
        .entry(b'2', b"bin/sh", &mode(0o777), b"busybox", (0, 0), b"")
        .file("etc/passwd", mode(0o644), "root:x:0:0:root:/:/bin/sh\n")
        .file("srv/www/index", mode(0o640).owner(33, 44), "index\n")
        .file("bin/setuid", mode(0o4750).owner(0, 33), "setuid\n")
        .file(
            "bin/capable",
            mode(0o755).xattr("security.capability", CAPABILITY),
            "capable\n",
        )
        .file("srv/note", mode(0o644).xattr("user.note", b"a note"), "noted\n")
}

fn app(tarball: Tarball) -> Tarball {
    let script = "#!/bin/sh\ncat /srv/www/index /etc/app.conf\n";
    tarball
        .file("bin/app", mode(0o755), script)
        .file("etc/app.conf", mode(0o600).owner(7, 8), "app\n")
}
