SUMMARY = "An application in one layer"
SECTION = "examples"
LICENSE = "MIT"

inherit image image-oci

# Another application: CONTAINER_APP = "myapp" in local.conf.
CONTAINER_APP ?= "curl"
CONTAINER_APP_CMD ?= "${CONTAINER_APP}"

IMAGE_INSTALL = "base-files base-passwd netbase busybox ${CONTAINER_APP}"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""

OCI_IMAGE_ENTRYPOINT = "${CONTAINER_APP_CMD}"
OCI_IMAGE_CMD = ""
