SUMMARY = "A shell and what it needs, as a container and as a base for others"
SECTION = "examples"
LICENSE = "MIT"

inherit image image-oci

IMAGE_INSTALL = "base-files base-passwd netbase busybox"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""

OCI_IMAGE_CMD = "/bin/sh"
