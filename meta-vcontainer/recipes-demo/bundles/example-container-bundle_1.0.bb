SUMMARY = "Containers of this build as a package"
SECTION = "examples"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit container-bundle

CONTAINER_BUNDLES = "\
    container-base \
    autostart-test-container:autostart \
"
