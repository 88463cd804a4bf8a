"""An example of everything that the layer puts into stores, for real engines to judge.

`python -m harness.example --top DIR --machine MACHINE --busybox FILE [--conf TEXT] IMAGE` builds one of the images in the
build folder DIR, which may be there already, and prints the path of its tar. FILE is a static busybox for the machine, TEXT
goes into local.conf. e2e/tests/yocto has in Rust what must be in the stores.
"""

import argparse
import pathlib
import shutil

from harness.build import Build

SYSTEM = r"""
SRC_URI = "file://busybox"
fakeroot do_install() {
    install -d ${D}/bin ${D}/etc ${D}/srv
    install -d -m 1777 ${D}/tmp
    install -d -m 0750 -o 33 -g 44 ${D}/srv/www
    install -m 0755 ${UNPACKDIR}/busybox ${D}/bin/busybox
    ln -s busybox ${D}/bin/cat
    ln -s busybox ${D}/bin/sh
    echo 'root:x:0:0:root:/:/bin/sh' > ${D}/etc/passwd
    echo index > ${D}/srv/www/index
    chown 33:44 ${D}/srv/www/index
    chmod 0640 ${D}/srv/www/index
    echo setuid > ${D}/bin/setuid
    chown 0:33 ${D}/bin/setuid
    chmod 4750 ${D}/bin/setuid
    echo capable > ${D}/bin/capable
    chmod 0755 ${D}/bin/capable
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 ${D}/bin/capable
    echo noted > ${D}/srv/note
    setfattr -n user.note -v 'a note' ${D}/srv/note
}
"""
APP = r"""
RDEPENDS:${PN} = "system"
fakeroot do_install() {
    install -d ${D}/bin ${D}/etc
    printf '#!/bin/sh\ncat /srv/www/index /etc/app.conf\n' > ${D}/bin/app
    chmod 0755 ${D}/bin/app
    echo app > ${D}/etc/app.conf
    chown 7:8 ${D}/etc/app.conf
    chmod 0600 ${D}/etc/app.conf
}
"""
TOOL = r"""
RDEPENDS:${PN} = "system"
fakeroot do_install() {
    install -d ${D}/bin
    printf '#!/bin/sh\necho tool\n' > ${D}/bin/tool
    chmod 0755 ${D}/bin/tool
}
"""
CONTAINER = """
inherit image image-oci
IMAGE_INSTALL = "%s"
OCI_IMAGE_CMD = "%s"
"""
LAYERS = """
OCI_LAYER_MODE = "multi"
OCI_LAYERS = "\\
system:packages:system \\
app:packages:app \\
tool:packages:tool \\
"
"""
BUNDLE = """
inherit container-bundle
CONTAINER_BUNDLE_RUNTIME = "%s"
CONTAINER_BUNDLES = "%s"
"""
HOST = """
inherit image
IMAGE_INSTALL = "%s"
IMAGE_FSTYPES = "tar"
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""
VCONTAINER_TARGET_CHECK = "0"
BUNDLED_CONTAINERS = "%s"
"""


def prepare(top: pathlib.Path, machine: str, busybox: pathlib.Path, conf: str) -> Build:
    """The build folder with all recipes of the example."""
    build = Build(top, machine=machine, conf=conf)
    files = build.layer / "recipes" / "files"
    files.mkdir(exist_ok=True)
    shutil.copyfile(busybox, files / "busybox")
    build.recipe("system_1.0", SYSTEM)
    build.recipe("app_1.0", APP)
    build.recipe("tool_1.0", TOOL)
    build.recipe("base-container", CONTAINER % ("system", "/bin/sh"))
    build.recipe("app-container", CONTAINER % ("app", "/bin/app") + 'OCI_BASE_IMAGE = "base-container"\n')
    build.recipe("tool-container", CONTAINER % ("tool", "/bin/tool") + 'OCI_BASE_IMAGE = "base-container"\n')
    build.recipe("layers-container", CONTAINER % ("", "/bin/tool") + LAYERS)
    packages = []
    for runtime in ("docker", "podman"):
        build.recipe("one-%s_1.0" % runtime, BUNDLE % (runtime, "base-container layers-container"))
        build.recipe("two-%s_1.0" % runtime, BUNDLE % (runtime, "base-container tool-container:on-failure"))
        packages += ["one-" + runtime, "two-" + runtime]
        build.recipe("host-" + runtime, HOST % ("", "app-container:%s:autostart" % runtime))
    both = " ".join("app-container:%s:autostart" % runtime for runtime in ("docker", "podman"))
    build.recipe("host", HOST % (" ".join(packages), both))
    return build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--top", type=pathlib.Path, required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--busybox", type=pathlib.Path, required=True)
    parser.add_argument("--conf", default="")
    parser.add_argument("image")
    words = parser.parse_args()
    build = prepare(words.top, words.machine, words.busybox, words.conf)
    build.bitbake(words.image)
    print(build.deploy / ("%s-%s.rootfs.tar" % (words.image, words.machine)))


if __name__ == "__main__":
    main()
