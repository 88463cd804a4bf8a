//! `pack` with small root filesystems: what a guest needs is there, or told.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use vcontainer_guest::{Arch, Engine, GuestFiles, Pack, pack};

/// Modules that a guest cannot do without, as `modules.builtin` names them.
const BUILT_IN: &str = "virtio_pci virtio_mmio virtio_blk virtio_net virtio-rng virtio_console squashfs overlay ext4 bridge \
                        br_netfilter veth nf_tables nft_compat nft_chain_nat xt_addrtype xt_conntrack xt_MASQUERADE \
                        nf_conntrack_netlink";

/// Where Yocto has the programs that a guest of Docker needs.
const PROGRAMS: &str = "sbin/e2fsck sbin/mke2fs sbin/modprobe bin/cat usr/bin/find usr/sbin/iptables bin/mkdir bin/mv \
                        bin/pidof bin/rm bin/sh usr/bin/skopeo bin/stat bin/tar usr/bin/containerd-shim-runc-v2 \
                        usr/bin/docker usr/bin/runc usr/bin/containerd usr/bin/dockerd";

struct Bench {
    directory: tempfile::TempDir,
    request: Pack,
}

impl Bench {
    /// All that it takes for a guest of Docker on aarch64, and no more.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().to_owned();
        let mut kernel = vec![0; 0x100];
        kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
        kernel.extend(b"Linux version 6.18.1-yocto (oe@host)");
        let request = Pack {
            engine: Engine::Docker,
            arch: Arch::Aarch64,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest"),
            agent: top.join("agent"),
            root: top.join("root"),
            kernel: top.join("Image"),
            modules: None,
            configuration: None,
            output: top.join("out"),
            tool: "test 1".into(),
        };
        let bench = Self { directory, request };
        bench.write("agent", &program(183));
        bench.write("Image", &kernel);
        for path in PROGRAMS.split_whitespace() {
            bench.write(&format!("root/{path}"), &program(183));
        }
        let builtin: String = BUILT_IN
            .split_whitespace()
            .map(|name| format!("kernel/drivers/{name}.ko\n"))
            .collect();
        bench.write(
            "root/lib/modules/6.18.1-yocto/modules.builtin",
            builtin.as_bytes(),
        );
        bench.write("root/etc/ssl/certs/ca-certificates.crt", b"certificates");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn pack(&self) -> GuestFiles {
        pack(&self.request, &mut |_| ()).unwrap()
    }

    /// What the error says, its causes included. Nothing is left behind.
    fn refused(&self) -> String {
        let error = pack(&self.request, &mut |_| ()).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let left: Vec<_> = match fs::read_dir(&self.request.output) {
            Ok(entries) => entries.map(|entry| entry.unwrap().file_name()).collect(),
            Err(_) => Vec::new(),
        };
        assert!(
            left.iter().all(|name| name == ".aarch64.lock"),
            "{text}: {left:?} is left"
        );
        text
    }
}

/// The header of a static program for a machine.
fn program(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18] = machine;
    bytes
}

/// What `unsquashfs` shows of a path: kind and mode, owner, target of a link.
fn shown(files: &GuestFiles, path: &str) -> String {
    let listed = std::process::Command::new("unsquashfs")
        .args(["-lln", "-d", ""])
        .arg(files.rootfs())
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.ends_with(&format!(" /{path}")) || line.contains(&format!(" /{path} ->")));
    let Some(line) = line else {
        return "nothing".into();
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let link = words.iter().skip_while(|word| **word != "->").nth(1);
    [&words[..2], &link.copied().into_iter().collect::<Vec<_>>()]
        .concat()
        .join(" ")
}

#[test]
fn a_root_as_yocto_makes_it_becomes_a_guest() {
    let bench = Bench::new();
    bench.write("root/usr/share/doc/docker/README", b"long");
    bench.write("root/boot/Image", b"the kernel again");
    fs::create_dir_all(bench.path("root/var/run")).unwrap();
    bench.write("root/var/lock/old", b"somebody's");
    symlink("busybox.nosuid", bench.path("root/bin/busybox")).unwrap();
    bench.write("root/bin/busybox.nosuid", &program(183));
    let files = bench.pack();
    files.verify(&bench.path("memory")).unwrap();
    let manifest = files.manifest();
    assert_eq!(
        (manifest.kernel.as_str(), manifest.engine, manifest.arch),
        ("6.18.1-yocto", Engine::Docker, Arch::Aarch64)
    );
    for (path, expected) in [
        ("bin", "lrwxrwxrwx 0/0 usr/bin"),
        ("boot", "nothing"),
        ("usr/share/doc", "nothing"),
        ("usr/bin/dockerd", "-rwxr-xr-x 0/0"),
        // The agent looks for it there.
        ("usr/sbin/dockerd", "lrwxrwxrwx 0/0 /usr/bin/dockerd"),
        ("usr/sbin/mke2fs", "-rwxr-xr-x 0/0"),
        ("usr/bin/busybox", "lrwxrwxrwx 0/0 busybox.nosuid"),
        // Names of busybox, where there is nothing.
        ("usr/bin/wget", "lrwxrwxrwx 0/0 busybox"),
        ("usr/bin/tar", "-rwxr-xr-x 0/0"),
        ("usr/sbin/rmmod", "lrwxrwxrwx 0/0 ../bin/busybox"),
        // There is no xtables-nft-multi.
        ("usr/sbin/iptables", "-rwxr-xr-x 0/0"),
        ("usr/sbin/ip6tables", "nothing"),
        ("var/run", "lrwxrwxrwx 0/0 ../run"),
        ("var/lock", "drwxr-xr-x 0/0"),
        ("etc/vcontainer/guest.conf", "-rw-r--r-- 0/0"),
        ("usr/lib/modules/6.18.1-yocto/modules.builtin", "-rwxr-xr-x 0/0"),
    ] {
        assert_eq!(shown(&files, path), expected, "{path}");
    }
    // The same again, in its place.
    let hash = files.hash().to_owned();
    assert_eq!(bench.pack().hash(), hash);
    // As a tar, with modules of their own beside it.
    let tar = |name: &str, part: &str, without: &str| {
        let done = std::process::Command::new("tar")
            .args(["--format=posix", "--owner=0", "--group=0", "--exclude"])
            .arg(without)
            .arg("-czf")
            .arg(bench.path(name))
            .arg("-C")
            .arg(bench.path("root"))
            .arg(part)
            .status()
            .unwrap();
        assert!(done.success());
        bench.path(name)
    };
    let request = Pack {
        root: tar("root.tar.gz", ".", "./lib/modules"),
        modules: Some(tar("modules.tgz", "./lib/modules", "none")),
        ..bench.request.clone()
    };
    assert_eq!(pack(&request, &mut |_| ()).unwrap().hash(), hash);
    let request = Pack {
        modules: None,
        ..request
    };
    let error = pack(&request, &mut |_| ()).unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        error.contains("kernel-base") && error.contains("--modules"),
        "{error}"
    );
}

#[test]
fn programs_that_are_missing_or_wrong_are_told_at_once() {
    let bench = Bench::new();
    bench.remove("root/usr/bin/dockerd");
    bench.remove("root/usr/bin/skopeo");
    bench.write("root/usr/bin/runc", &program(62));
    bench.remove("root/bin/tar");
    bench.write("root/bin/busybox", &program(183));
    symlink("busybox", bench.path("root/bin/tar")).unwrap();
    assert_eq!(
        bench.refused(),
        "the root filesystem lacks what a guest of docker on aarch64 needs: there is no `runc` for aarch64, only \
         `/usr/bin/runc` for another architecture; there is no `skopeo`; `/usr/bin/tar` is busybox's, which keeps no \
         extended attributes; there is no `dockerd`. Install the packages that have them"
    );
}

#[test]
fn kernels_that_do_not_fit_are_told() {
    let mut bench = Bench::new();
    let builtin = bench.path("root/lib/modules/6.18.1-yocto/modules.builtin");
    let text = fs::read_to_string(&builtin).unwrap();
    fs::write(&builtin, text.replace("virtio_blk", "x").replace("veth", "y")).unwrap();
    let told = bench.refused();
    assert!(
        told.contains("kernel 6.18.1-yocto has no virtio_blk, veth, neither")
            && told.contains("guest/kernel.cfg"),
        "{told}"
    );
    fs::write(&builtin, &text).unwrap();
    bench.write("root/lib/modules/6.12/modules.builtin", text.as_bytes());
    assert!(bench.refused().contains("modules of 2 kernels"));
    fs::remove_dir_all(bench.path("root/lib/modules/6.18.1-yocto")).unwrap();
    let told = bench.refused();
    assert!(
        told.contains("Image` is 6.18.1-yocto, and the modules are those of 6.12"),
        "{told}"
    );
    bench.write("Image", b"\x1f\x8b compressed");
    let told = bench.refused();
    assert!(
        told.contains("no kernel that QEMU boots on aarch64: expected is the Image"),
        "{told}"
    );
    bench.request.kernel = bench.path("none");
    assert!(bench.refused().contains("cannot read the kernel `"));
}

#[test]
fn the_configuration_is_checked_where_it_is_known() {
    let mut bench = Bench::new();
    let data = bench.request.data.clone();
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap();
    let whole = read("kernel.cfg") + &read("kernel-aarch64.cfg");
    bench.write("root/boot/config-6.18.1-yocto", whole.as_bytes());
    bench.pack();
    fs::remove_dir_all(&bench.request.output).unwrap();
    let lacking = whole.replace("CONFIG_SECCOMP=y", "# CONFIG_SECCOMP is not set");
    bench.write("config", lacking.as_bytes());
    bench.request.configuration = Some(bench.path("config"));
    let told = bench.refused();
    assert!(
        told.contains("lacks what a guest needs: CONFIG_SECCOMP. Add"),
        "{told}"
    );
}

#[test]
fn modules_need_lists_that_their_modprobe_reads() {
    let bench = Bench::new();
    bench.write("root/lib/modules/6.18.1-yocto/kernel/tun.ko", b"a module");
    bench.write("root/lib/modules/6.18.1-yocto/modules.dep", b"kernel/tun.ko:\n");
    let told = bench.refused();
    assert!(told.contains("depmod -b ROOT 6.18.1-yocto"), "{told}");
    bench.write("root/lib/modules/6.18.1-yocto/modules.dep.bin", b"index");
    let files = bench.pack();
    // All that depmod knows stays.
    for name in ["kernel/tun.ko", "modules.dep", "modules.dep.bin"] {
        let path = format!("usr/lib/modules/6.18.1-yocto/{name}");
        assert_eq!(shown(&files, &path), "-rwxr-xr-x 0/0", "{path}");
    }
}

#[test]
fn an_agent_must_start_by_itself() {
    let mut bench = Bench::new();
    bench.write("agent", &program(62));
    assert!(bench.refused().contains("is no program for aarch64"));
    // One program header, of the kind PT_INTERP.
    let mut dynamic = program(183);
    dynamic[32] = 64;
    dynamic[54] = 56;
    dynamic[56] = 1;
    dynamic.resize(120, 0);
    dynamic[64] = 3;
    bench.write("agent", &dynamic);
    assert!(bench.refused().contains("linked dynamically"));
    bench.request.root = bench.path("none");
    bench.write("agent", &program(183));
    assert!(bench.refused().contains("the root filesystem `"));
}
