SUMMARY = "A container that prints a line every few seconds"
SECTION = "examples"
LICENSE = "MIT"

inherit image image-oci

IMAGE_INSTALL = "base-files base-passwd busybox autostart-test"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""

OCI_IMAGE_ENTRYPOINT = "${bindir}/autostart-test"
OCI_IMAGE_ENV_VARS = "INTERVAL=5"
OCI_IMAGE_CMD = ""
