SUMMARY = "An application in a layer on top of container-base"
SECTION = "examples"
LICENSE = "MIT"

inherit image image-oci

OCI_BASE_IMAGE = "container-base"

IMAGE_INSTALL = "base-files base-passwd netbase busybox curl"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""

OCI_IMAGE_ENTRYPOINT = "curl"
OCI_IMAGE_CMD = ""
