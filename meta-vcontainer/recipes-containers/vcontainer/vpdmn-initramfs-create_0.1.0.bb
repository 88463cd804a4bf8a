SUMMARY = "What the machines of vpdmn boot, with Podman in them"
SECTION = "devel"
# The project is under MIT or Apache-2.0, as you like; series disagree about how to write that.
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

GUEST_TOOL = "vpdmn"
require vcontainer-guest.inc
