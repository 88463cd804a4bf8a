SUMMARY = "Prints a line every few seconds"
DESCRIPTION = "Shows that a container that starts at boot runs: what it prints is in the journal."
SECTION = "examples"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://autostart-test.sh"

S = "${UNPACKDIR}"

inherit allarch

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${UNPACKDIR}/autostart-test.sh ${D}${bindir}/autostart-test
}

RDEPENDS:${PN} = "busybox"
