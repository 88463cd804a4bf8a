SUMMARY = "A static busybox that somebody else has compiled"
inherit stand-in
VCTEST_BUSYBOX ?= "/bin/busybox"
do_install[file-checksums] += "${VCTEST_BUSYBOX}:True"
do_install() {
    install -D -m 0755 ${VCTEST_BUSYBOX} ${D}${base_bindir}/busybox
    for name in sh ls cat echo sleep; do
        ln -s busybox ${D}${base_bindir}/$name
    done
}
RDEPENDS:${PN} = "base-files"
RPROVIDES:${PN} = "/bin/sh"
INSANE_SKIP:${PN} = "already-stripped ldflags arch"
