# A recipe that only installs what is there.
LICENSE ?= "MIT"
LIC_FILES_CHKSUM ?= "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
S = "${UNPACKDIR}"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
