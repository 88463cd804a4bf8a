//! Into a directory under fakeroot and under pseudo; an image made in the same session holds what root writes.

use anyhow::Result;
use e2e::tree::Tree;
use e2e::trials::Trials;
use e2e::{privilege, tree};

use crate::bench::Bench;
use crate::unprivileged::{Store, coarse, probes, program, same};
use crate::who::Who;

pub fn add(trials: &mut Trials) {
    let root = || {
        if privilege::is_root() {
            Ok(())
        } else {
            Err("needs root to unpack and compare")
        }
    };
    for (who, wrapper, missing) in [
        (Who::Fakeroot, "fakeroot", "needs fakeroot"),
        (Who::Pseudo, "pseudo", "needs pseudo"),
    ] {
        for (form, maker, lacks) in [
            (Form::Tar, "tar", "needs tar"),
            (Form::Squashfs, "mksquashfs", "needs mksquashfs"),
            (Form::Ext4, "mke2fs", "needs mke2fs"),
        ] {
            for store in Store::ALL {
                let possible = root().and(program(wrapper, missing)).and(program(maker, lacks));
                let name = format!("pretended::{wrapper}_{maker}_{}", store.name());
                trials.when(possible, &name, move || session(who, form, store));
            }
        }
    }
}

/// What is made of the directory in the session.
#[derive(Clone, Copy)]
enum Form {
    Tar,
    Squashfs,
    Ext4,
}

impl Form {
    /// Makes `out/image` of `root`, in the session.
    fn make(self) -> &'static str {
        match self {
            Self::Tar => {
                "tar --format=posix --xattrs --xattrs-include='*' --directory root --create --file out/image ."
            }
            Self::Squashfs => "mksquashfs root out/image -quiet -no-progress",
            Self::Ext4 => "mke2fs -q -t ext4 -d root out/image 64M",
        }
    }

    /// Unpacks it into `unpacked`, as root.
    fn unpack(self) -> &'static str {
        match self {
            Self::Tar => {
                "tar --extract --xattrs --xattrs-include='*' --numeric-owner --directory unpacked --file out/image"
            }
            Self::Squashfs => "unsquashfs -quiet -no-progress -force -dest unpacked out/image",
            Self::Ext4 => {
                "mkdir mounted && unshare --mount sh -c 'mount -o loop,ro out/image mounted && \
                 tar --format=posix --xattrs --xattrs-include=\"*\" --exclude ./lost+found --directory mounted --create . | \
                 tar --extract --xattrs --xattrs-include=\"*\" --numeric-owner --directory unpacked'"
            }
        }
    }
}

fn session(who: Who, form: Form, store: Store) -> Result<()> {
    let bench = probes()?;
    let bundle = "./vcontainer bundle --no-sync --quiet --images deploy --rootfs root \"$@\"";
    bench.copy("root", "by-root")?;
    bench.give("root")?;
    // What is there belongs to root, as if the session had made it.
    let script = format!("chown -hR 0:0 root && {bundle} && {}", form.make());
    let words = [&["sh", "-c", &script, "sh"], store.words()].concat();
    bench.command(who, &words).output()?;
    std::fs::create_dir(bench.path("unpacked"))?;
    bench
        .command(Who::Tester, &["sh", "-c", form.unpack()])
        .output()?;
    bench
        .bundle(Who::Tester, &[&["--rootfs", "by-root"], store.words()].concat())?
        .success()?;
    let expected = read(&bench, "by-root")?;
    same(&expected, &read(&bench, "unpacked")?)
}

/// The tree, but for what is the tester's and not the tool's: the directory itself and fractions of seconds, which
/// file systems other than ext4 made of a directory don't have.
fn read(bench: &Bench, name: &str) -> Result<Tree> {
    let mut tree = coarse(tree::read_with_directory_times(&bench.path(name))?);
    tree.remove(".");
    Ok(tree)
}
