"""Stand-ins for what guest files are made of in a build: a layer of meta-virtualization's name, packages that have the
names of programs, a kernel, the agent. Nothing is compiled; the tool that makes the set is the real one."""

import pathlib
import textwrap
from typing import Dict

from .build import Build

RELEASE = "6.18.2-yocto-standard"
# As linux-yocto, as far as an image and the recipes of this layer see it.
KERNEL = """\
    PROVIDES = "virtual/kernel"
    inherit deploy
    S = "${UNPACKDIR}"
    do_deploy() {
        # The magic number and the banner of an Image.
        head -c 56 /dev/zero > ${DEPLOYDIR}/${KERNEL_IMAGETYPE}
        printf 'ARMd Linux version %s (oe@host)' >> ${DEPLOYDIR}/${KERNEL_IMAGETYPE}
    }
    addtask deploy after do_install before do_build
    """ % RELEASE
# The header of a static program for aarch64.
AGENT = """\
    SRC_URI = ""
    do_install() {
        install -d ${D}${bindir}
        { printf '\\177ELF\\002\\001'; head -c 12 /dev/zero; printf '\\267'; head -c 45 /dev/zero; } > ${D}${bindir}/vcontainer-agent
    }
    """
BUILT_IN = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio-rng", "virtio_console", "squashfs", "overlay", "ext4",
            "bridge", "br_netfilter", "veth", "nf_tables", "nft_compat", "nft_chain_nat", "xt_addrtype", "xt_conntrack", "xt_MASQUERADE",
            "nf_conntrack_netlink")
# Packages, and the files that a guest needs of them, where openembedded-core and meta-virtualization put them.
PACKAGES = {
    "base-files": "/etc/issue",
    "busybox": "/bin/busybox /bin/cat /bin/mkdir /bin/mv /bin/pidof /bin/rm /bin/sh /bin/stat /usr/bin/find",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "e2fsprogs-e2fsck": "/sbin/e2fsck",
    "e2fsprogs-mke2fs": "/sbin/mke2fs",
    "iptables": "/usr/sbin/iptables /usr/sbin/xtables-nft-multi",
    "kmod": "/sbin/modprobe",
    "skopeo": "/usr/bin/skopeo",
    "tar": "/bin/tar",
    "containerd": "/usr/bin/containerd /usr/bin/containerd-shim-runc-v2",
    "docker-moby": "/usr/bin/docker /usr/bin/dockerd",
    "runc": "/usr/bin/runc",
    "aardvark-dns": "/usr/libexec/podman/aardvark-dns",
    "conmon": "/usr/bin/conmon",
    "crun": "/usr/bin/crun",
    "netavark": "/usr/libexec/podman/netavark",
    "podman": "/usr/bin/podman",
}


def meta_virtualization(place: pathlib.Path, files: Dict[str, str]) -> pathlib.Path:
    """A layer of its collection with these files."""
    layer = place / "meta-virtualization"
    files = {**files, "conf/layer.conf": """\
        BBPATH .= ":${LAYERDIR}"
        BBFILES += "${LAYERDIR}/recipes-*/*/*.bb ${LAYERDIR}/recipes-*/*/*.bbappend"
        BBFILE_COLLECTIONS += "virtualization-layer"
        BBFILE_PATTERN_virtualization-layer = "^${LAYERDIR}/"
        BBFILE_PRIORITY_virtualization-layer = "8"
        LAYERSERIES_COMPAT_virtualization-layer = "wrynose blacksail"
        """}
    for path, text in files.items():
        file = layer / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return layer


def add_packages(build: Build) -> None:
    """All that guests for aarch64 are made of."""
    build.recipe("linux-yocto_6.18", KERNEL)
    build.recipe("squashfs-tools-native_1.0", "inherit native\n")
    for name, files in PACKAGES.items():
        build.package(name, {path: "%s of %s" % (path, name) for path in files.split()})
    modules = "".join("kernel/drivers/%s.ko\n" % name for name in BUILT_IN)
    build.package("kernel-base", {"/lib/modules/%s/modules.builtin" % RELEASE: modules})
