SUMMARY = "The machine's own opkg and opkg-utils, for package_ipk"
inherit native stand-in
PROVIDES += "opkg-utils-native"
# The directory that has them; no Debian package does.
VCTEST_OPKG ?= "/usr/local/bin"
do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${VCTEST_OPKG}/opkg ${VCTEST_OPKG}/opkg-build ${VCTEST_OPKG}/opkg-make-index ${D}${bindir}/
    # Modules of opkg-make-index.
    install -m 0644 ${VCTEST_OPKG}/opkg.py ${VCTEST_OPKG}/arfile.py ${D}${bindir}/
}
