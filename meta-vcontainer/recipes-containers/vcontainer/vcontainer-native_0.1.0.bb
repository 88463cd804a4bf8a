SUMMARY = "Puts OCI images into root filesystems, makes them, fetches them"
DESCRIPTION = "The tool that does the work of the classes of this layer: it writes the stores of engines as data, and builds and \
fetches images."
SECTION = "devel"
# The project is under MIT or Apache-2.0, as you like; series disagree about how to write that.
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# A program that is there already, in place of one that is compiled.
VCONTAINER_PREBUILT ?= ""

require ${@'vcontainer-prebuilt.inc' if d.getVar('VCONTAINER_PREBUILT') else 'vcontainer-cargo.inc'}

inherit_defer native
