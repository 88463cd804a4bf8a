SUMMARY = "Puts OCI images into root filesystems, makes them, fetches them"
DESCRIPTION = "The tool that does the work of the classes of this layer."
HOMEPAGE = "https://example.org/vcontainer"
SECTION = "devel"
# The project is under MIT or Apache-2.0, as you like; series disagree about how to write that.
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

# A program that is there already, in place of one that is compiled.
VCONTAINER_PREBUILT ?= ""

S = "${UNPACKDIR}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[file-checksums] += "${@'%s:True' % d.getVar('VCONTAINER_PREBUILT') if d.getVar('VCONTAINER_PREBUILT') else ''}"
do_install() {
    install -D -m 0755 "${VCONTAINER_PREBUILT}" ${D}${bindir}/vcontainer
}

python () {
    if not d.getVar("VCONTAINER_PREBUILT"):
        raise bb.parse.SkipRecipe('set VCONTAINER_PREBUILT = "/path/to/vcontainer" in local.conf')
}
